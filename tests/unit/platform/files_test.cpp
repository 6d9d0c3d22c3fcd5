// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <linux/kernel-page-flags.h>

#include "platform/damon_sysfs.h"
#include "platform/file.h"
#include "platform/page_map.h"
#include "platform/psi_trigger.h"
#include "platform/virtio_port.h"
#include "tests/unit/temp_dir.h"

namespace acma::platform {
namespace {

using acma::testing::TempDir;

TEST(ReadFile, GivesTheWholeTextAndNamesWhatIsMissing) {
    const TempDir dir;
    const std::string long_text(100'000, 'x');
    EXPECT_EQ(read_file(dir.write("long", long_text)).value(), long_text);
    const auto missing = read_file(dir.path("none"));
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().code, ErrorCode::not_found);
    EXPECT_NE(missing.error().message.find("none"), std::string::npos);
}

// Whoever keeps a whole tree of small files keeps their bytes, not a buffer for each.
TEST(ReadFile, KeepsNoMoreMemoryThanTheText) {
    const TempDir dir;
    EXPECT_LT(read_file(dir.write("small", "4096\n")).value().capacity(), 64);
}

TEST(ReadFile, RefusesMoreThanAMebibyte) {
    const TempDir dir;
    const auto text = read_file(dir.write("huge", std::string(k_max_file_bytes + 1, 'x')));
    ASSERT_FALSE(text.ok());
    EXPECT_EQ(text.error().code, ErrorCode::too_large);
}

TEST(PolledFile, ReadsTheFileAsItIsNow) {
    const TempDir dir;
    auto file = PolledFile::open(dir.write("f", "one"));
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->read().value(), "one");
    dir.write("f", "twotwo");
    EXPECT_EQ(file->read().value(), "twotwo");
    dir.write("f", "3");
    EXPECT_EQ(file->read().value(), "3");
}

TEST(WriteFile, NamesTheValueAndTheFile) {
    const TempDir dir;
    const Status status = write_file(dir.path("none/state"), "on");
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("none/state"), std::string::npos);
}

TEST(FindVirtioPort, PrefersUdevsNameAndElseLooksThroughSysfs) {
    const TempDir dir;
    dir.write("sys/class/virtio-ports/vport1p1/name", "other\n");
    dir.write("sys/class/virtio-ports/vport1p2/name", "org.acma.agent.0\n");
    EXPECT_EQ(find_virtio_port("org.acma.agent.0", dir.path("dev"), dir.path("sys")).value(),
              dir.path("dev/vport1p2"));
    dir.write("dev/virtio-ports/org.acma.agent.0", "");
    EXPECT_EQ(find_virtio_port("org.acma.agent.0", dir.path("dev"), dir.path("sys")).value(),
              dir.path("dev/virtio-ports/org.acma.agent.0"));
}

TEST(FindVirtioPort, SaysWhichChannelTheVmLacks) {
    const TempDir dir;
    const auto port = find_virtio_port("org.acma.agent.0", dir.path("dev"), dir.path("sys"));
    ASSERT_FALSE(port.ok());
    EXPECT_EQ(port.error().code, ErrorCode::not_found);
    EXPECT_NE(port.error().message.find("org.acma.agent.0"), std::string::npos);
}

TEST(PsiTrigger, FailsWithAnErrorWhereThereIsNoPsi) {
    const TempDir dir;
    EXPECT_FALSE(open_psi_trigger(dir.path("memory"), Millis(50), Millis(500)).ok());
}

// A /proc/kpageflags of our own: 8 bytes a page.
class PageFlags {
  public:
    explicit PageFlags(Bytes ram) : flags_(ram.count() / 4096, 0) {}
    void set(Bytes start, Bytes end, uint64_t flags) {
        for (uint64_t pfn = start.count() / 4096; pfn < end.count() / 4096; ++pfn) {
            flags_.at(pfn) = flags;
        }
    }
    [[nodiscard]] std::string text() const {
        return {reinterpret_cast<const char*>(flags_.data()), flags_.size() * sizeof(uint64_t)};
    }

  private:
    std::vector<uint64_t> flags_;
};
constexpr uint64_t k_lru = uint64_t{1} << KPF_LRU;
constexpr uint64_t k_unevictable = uint64_t{1} << KPF_UNEVICTABLE;

TEST(PageMap, CountsOnlyWhatReclaimCouldTake) {
    const TempDir dir;
    PageFlags flags(16_MiB);
    flags.set(2_MiB, 4_MiB, k_lru);
    flags.set(4_MiB, 5_MiB, k_lru);
    flags.set(6_MiB, 8_MiB, k_lru | k_unevictable);
    const auto pieces =
        probe_page_map(dir.write("kpageflags", flags.text()), {{.start = 1_MiB, .end = 9_MiB}}, 1);
    ASSERT_TRUE(pieces.ok());
    ASSERT_EQ(pieces->size(), 5U);
    EXPECT_EQ((*pieces)[0], (Piece{.start = 1_MiB, .size = 1_MiB, .evictable = 0}));
    EXPECT_EQ((*pieces)[1], (Piece{.start = 2_MiB, .size = 2_MiB, .evictable = 4}));
    EXPECT_EQ((*pieces)[2], (Piece{.start = 4_MiB, .size = 2_MiB, .evictable = 2}));
    EXPECT_EQ((*pieces)[3], (Piece{.start = 6_MiB, .size = 2_MiB, .evictable = 0}));
    EXPECT_EQ((*pieces)[4], (Piece{.start = 8_MiB, .size = 1_MiB, .evictable = 0}));
}

TEST(PageMap, SeesMemoryThatIsUsedInAPattern) {
    const TempDir dir;
    PageFlags flags(64_MiB);
    for (Bytes page; page < 64_MiB; page += 8_KiB) {
        flags.set(page, page + 4_KiB, k_lru);
    }
    const std::string file = dir.write("kpageflags", flags.text());
    for (const uint32_t seed : {1U, 2U, 3U}) {
        unsigned evictable = 0;
        for (const auto& piece :
             probe_page_map(file, {{.start = Bytes(0), .end = 64_MiB}}, seed).value()) {
            evictable += piece.evictable;
        }
        EXPECT_GT(evictable, 40U) << "of 128 places, of which half hold such pages";
        EXPECT_LT(evictable, 88U);
    }
}

TEST(PageMap, LooksAtABoundedNumberOfPlacesWhateverTheSizeOfTheGuest) {
    const TempDir dir;
    const std::string file = dir.write("kpageflags", "");
    for (const Bytes ram : {1_GiB, 64_GiB, Bytes(1) * (uint64_t{1} << 44)}) {
        const auto pieces = probe_page_map(
            file, {{.start = Bytes(0), .end = 3_GiB}, {.start = 4_GiB, .end = 4_GiB + ram}}, 1);
        ASSERT_TRUE(pieces.ok());
        EXPECT_LE(pieces->size() * k_probes_per_piece, k_page_map_probes + 16);
        Bytes sum;
        for (const auto& piece : *pieces) {
            sum += piece.size;
        }
        EXPECT_EQ(sum, 3_GiB + ram) << "nothing is left out";
    }
}

TEST(PageMap, SaysWhatItCouldNotOpen) {
    EXPECT_FALSE(probe_page_map("/nonexistent/kpageflags", {}, 1).ok());
}

TEST(DamonSysfs, ReadsATreeAndAppliesAPlan) {
    const TempDir dir;
    dir.write("kdamonds/nr_kdamonds", "0\n");
    const DamonSysfs sysfs(dir.path());
    EXPECT_TRUE(sysfs.present());
    EXPECT_EQ(sysfs.read_tree().value().at("kdamonds/nr_kdamonds"), "0\n");
    EXPECT_TRUE(sysfs.apply({{"kdamonds/nr_kdamonds", "1"}}).ok());
    EXPECT_EQ(dir.read("kdamonds/nr_kdamonds"), "1\n")
        << "a sysfs file takes a value, keeps its end";
    const Status status = sysfs.apply({{"kdamonds/0/state", "on"}});
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("kdamonds/0/state"), std::string::npos);
    EXPECT_FALSE(DamonSysfs(dir.path("none")).present());
}

TEST(DamonSysfs, ReadsStatePidAndWhatASchemeDid) {
    const TempDir dir;
    dir.write("kdamonds/0/state", "on\n");
    dir.write("kdamonds/0/pid", "-1\n");
    for (const auto* name : {"sz_tried", "sz_applied", "qt_exceeds"}) {
        dir.write(std::string("kdamonds/0/contexts/0/schemes/0/stats/") + name, "4096\n");
    }
    const DamonSysfs sysfs(dir.path());
    EXPECT_EQ(sysfs.state(0).value(), damon::State::on);
    EXPECT_EQ(sysfs.pid(0).value(), -1);
    EXPECT_EQ(sysfs.scheme_done(0, 0).value().applied, 4_KiB);
    for (const auto* region : {"0", "10", "2"}) {
        const std::string files =
            std::string("kdamonds/0/contexts/0/schemes/3/tried_regions/") + region + "/";
        const std::string first = std::to_string(std::stoi(region) * 4096);
        dir.write(files + "start", first + "\n");
        dir.write(files + "end", std::to_string(std::stoi(region) * 4096 + 8192) + "\n");
        dir.write(files + "nr_accesses", "3\n");
        dir.write(files + "age", "7\n");
    }
    dir.write("kdamonds/0/contexts/0/schemes/3/tried_regions/total_bytes", "24576\n");
    const auto tried = sysfs.tried_regions(0, 3).value();
    EXPECT_EQ(tried.total, 24_KiB);
    ASSERT_EQ(tried.regions.size(), 3U);
    EXPECT_EQ(tried.regions[2].start, damon::Address(40'960)) << "by address, not by name";
    EXPECT_EQ(tried.regions[2].age, AggrIntervals(7));
    EXPECT_FALSE(sysfs.tried_regions(0, 4).ok());
    EXPECT_FALSE(sysfs.scheme_done(0, 1).ok());
    dir.write("kdamonds/0/contexts/0/schemes/0/stats/sz_tried", "many\n");
    EXPECT_FALSE(sysfs.scheme_done(0, 0).ok());
}

}  // namespace
}  // namespace acma::platform
