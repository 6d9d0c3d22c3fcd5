// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/regions.h"

#include <gtest/gtest.h>

#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/kernels.h"

namespace acma::damon::test {

namespace {

std::vector<Region> must_parse(std::string_view text) {
    const Result<std::vector<Region>> result = parse_iomem(text);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return result.ok() ? *result : std::vector<Region>{};
}

Error error_of(std::string_view text) {
    const Result<std::vector<Region>> result = parse_iomem(text);
    return result.ok() ? Error{ErrorCode::io, "(no error)"} : result.error();
}

Region region(uint64_t start, uint64_t end) {
    return {Address(start), Address(end)};
}

}  // namespace

class RegionsOnKernel : public OnKernel {};
ON_ALL_KERNELS(RegionsOnKernel);

TEST_P(RegionsOnKernel, FindsRamBelowAndAboveThePciHole) {
    const std::vector<Region> ram = must_parse(kernel_.text("iomem.txt"));
    EXPECT_EQ(ram, (std::vector<Region>{region(0x1000, 0x9fc00), region(0x100000, 0x7ffe0000),
                                        region(0x100000000, 0x180000000)}));
    const Result<std::vector<Region>> targets = target_regions(ram);
    ASSERT_TRUE(targets.ok());
    EXPECT_EQ(*targets, (std::vector<Region>{region(0x100000, 0x7ffe0000),
                                             region(0x100000000, 0x180000000)}));
    EXPECT_EQ(size_of(*targets), 4_GiB - 1_MiB - 128_KiB);
}

TEST_P(RegionsOnKernel, SaysThatRootIsNeededWhenTheKernelShowsZeros) {
    const Error error = error_of(kernel_.text("iomem_user.txt"));
    EXPECT_EQ(error.code, ErrorCode::permission);
    EXPECT_NE(error.message.find("it takes root"), std::string::npos);
}

TEST(ParseIomem, CountsRamThatADriverAdded) {
    EXPECT_EQ(must_parse("00100000-0fffffff : System RAM\n"
                         "240000000-43fffffff : virtio1\n"
                         "  240000000-247ffffff : System RAM (virtio_mem)\n"
                         "  248000000-24fffffff : System RAM (virtio_mem)\n"
                         "1080000000-17ffffffff : Persistent Memory\n"
                         "  1080000000-10ffffffff : dax0.0\n"
                         "    1080000000-10ffffffff : System RAM (kmem)\n"),
              (std::vector<Region>{region(0x100000, 0x10000000), region(0x240000000, 0x250000000),
                                   region(0x1080000000, 0x1100000000)}));
}

TEST(ParseIomem, JoinsOverlapsAndSorts) {
    EXPECT_EQ(must_parse("00002000-00003fff : System RAM\n"
                         "00000000-00001fff : System RAM\n"
                         "00003000-00004fff : System RAM\n"),
              std::vector<Region>{region(0, 0x5000)});
}

TEST(ParseIomem, IgnoresEverythingElseAlsoWhenItIsMalformed) {
    EXPECT_EQ(must_parse("nonsense\n\n : \nzz-yy : Reserved\n"
                         "00001000-00001fff : System ROM\n"
                         "00002000-00002fff : System RAMP\n"
                         "00003000-00003fff : System RAM"),
              std::vector<Region>{region(0x3000, 0x4000)});
}

TEST(ParseIomem, MalformedRamNamesTheLine) {
    for (const std::string bad :
         {"zz-1000 : System RAM", "1000 : System RAM", "1000-zz : System RAM",
          "2000-1000 : System RAM", "1000-2000: x : System RAM",
          "1000-10000000000000000 : System RAM", "0-ffffffffffffffff : System RAM"}) {
        const Error error = error_of("00000000-00000fff : Reserved\n" + bad + "\n");
        EXPECT_EQ(error.code, ErrorCode::invalid) << bad;
        EXPECT_EQ(error.message, "iomem line 2: '" + bad + "' is not START-END : NAME");
    }
}

TEST(ParseIomem, ALineWithoutAnEndIsMalformed) {
    EXPECT_EQ(error_of("00001000-00").code, ErrorCode::not_found) << "not even a name";
    EXPECT_EQ(error_of("1000- : System RAM").code, ErrorCode::invalid);
}

TEST(ParseIomem, NoRamIsAnError) {
    EXPECT_EQ(error_of("").code, ErrorCode::not_found);
    EXPECT_EQ(error_of("00000000-00000fff : Reserved\n").code, ErrorCode::not_found);
}

TEST(ParseIomem, TooMuchIsAnError) {
    EXPECT_EQ(error_of(std::string(5'000'000, '\n')).code, ErrorCode::too_large);
    std::string many;
    for (int i = 1; i < 17'000; i++) {
        many += std::to_string(i) + "000-" + std::to_string(i) + "0ff : System RAM\n";
    }
    EXPECT_EQ(error_of(many).code, ErrorCode::too_large);
}

TEST(TargetRegions, AreAlignedInwardsToPages) {
    const Result<std::vector<Region>> regions =
        target_regions({region(0x100001, 0x300fff)}, Bytes(4096));
    ASSERT_TRUE(regions.ok());
    EXPECT_EQ(*regions, std::vector<Region>{region(0x101000, 0x300000)});
}

TEST(TargetRegions, JoinNeighboursAndSkipTinyRanges) {
    const Result<std::vector<Region>> regions =
        target_regions({region(0x1000, 0x9f000), region(0x100000, 0x180000),
                        region(0x180000, 0x400000), region(0x500000, 0x500800)});
    ASSERT_TRUE(regions.ok());
    EXPECT_EQ(*regions, std::vector<Region>{region(0x100000, 0x400000)});
}

TEST(TargetRegions, NothingLeftIsAnError) {
    for (const std::vector<Region>& ram :
         {std::vector<Region>{}, {region(0x1000, 0x9f000)}, {region(0x1001, 0x1fff)}}) {
        const Result<std::vector<Region>> regions = target_regions(ram);
        ASSERT_FALSE(regions.ok());
        EXPECT_EQ(regions.error().code, ErrorCode::not_found);
        EXPECT_EQ(regions.error().message, "no System RAM range has at least 1 MiB");
    }
    EXPECT_FALSE(target_regions({region(0x1001, 0x1fff)}, Bytes(0)).ok());
}

TEST(TargetRegions, DoNotOverflowAtTheEndOfTheAddressSpace) {
    const uint64_t top = Address::max().count();
    EXPECT_FALSE(target_regions({region(top - 10, top)}, Bytes(1)).ok());
}

}  // namespace acma::damon::test
