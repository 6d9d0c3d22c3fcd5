// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/damon/tree.h"
#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/kernels.h"
#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

namespace {

Error error_of(const Tree& tree) {
    const Result<Kdamonds> result = parse(tree);
    return result.ok() ? Error{ErrorCode::io, "(no error)"} : result.error();
}

Tree with(Tree tree, const std::string& path, const std::string& content) {
    tree[path] = content;
    return tree;
}
Tree without(Tree tree, const std::string& path) {
    EXPECT_EQ(tree.erase(path), 1U) << path;
    return tree;
}

}  // namespace

class ParseOnKernel : public OnKernel {};
ON_ALL_KERNELS(ParseOnKernel);

TEST_P(ParseOnKernel, ACapturedTreeOfDefaultsIsTheDefaultModel) {
    Result<Kdamonds> parsed = parse(kernel_.tree);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    Context context;
    context.targets.emplace_back().regions.emplace_back();
    Scheme& scheme = context.schemes.emplace_back();
    scheme.quota.goals.emplace_back();
    scheme.filters.push_back({.layer = FilterLayer::both});
    if (features_.has(Feature::layered_filters)) {
        scheme.filters = {{.layer = FilterLayer::core},
                          {.layer = FilterLayer::ops},
                          {.layer = FilterLayer::both}};
    }
    if (features_.has(Feature::dests)) {
        scheme.dests.emplace_back();
    }
    if (features_.has(Feature::probes)) {
        context.attrs.probes.emplace_back().filters.emplace_back();
    }
    EXPECT_EQ(*parsed, (Kdamonds{{.contexts = {context}}}));
}

TEST_P(ParseOnKernel, EveryFileThatAKernelHasIsNeededOrAFeature) {
    for (const auto& [path, content] : kernel_.tree) {
        const Result<Kdamonds> parsed = parse(without(kernel_.tree, path));
        if (!parsed) {
            EXPECT_EQ(parsed.error().code, ErrorCode::not_found);
            EXPECT_EQ(parsed.error().message, path + " is missing");
        }
    }
}

TEST_P(ParseOnKernel, ATruncatedTreeNamesTheMissingFile) {
    const Tree truncated = without(kernel_.tree, "kdamonds/0/contexts/0/operations");
    EXPECT_EQ(error_of(truncated),
              (Error{ErrorCode::not_found, "kdamonds/0/contexts/0/operations is missing"}));
}

TEST_P(ParseOnKernel, MoreChildrenAnnouncedThanThereAreNamesTheFirstMissingOne) {
    const Error error =
        error_of(with(kernel_.tree, "kdamonds/0/contexts/0/schemes/nr_schemes", "4000000000\n"));
    EXPECT_EQ(error.code, ErrorCode::not_found);
    EXPECT_EQ(error.message, "kdamonds/0/contexts/0/schemes/1/action is missing");
}

TEST_P(ParseOnKernel, AnUnknownWordNamesTheKnownOnes) {
    EXPECT_EQ(error_of(with(kernel_.tree, "kdamonds/0/contexts/0/operations", "taddr\n")),
              (Error{ErrorCode::invalid,
                     "kdamonds/0/contexts/0/operations: 'taddr' is not one of vaddr, fvaddr, "
                     "paddr"}));
}

TEST_P(ParseOnKernel, WrongTypesNameTheFile) {
    const std::string quotas = "kdamonds/0/contexts/0/schemes/0/quotas/";
    EXPECT_EQ(error_of(with(kernel_.tree, quotas + "bytes", "4K\n")).message,
              quotas + "bytes: '4K' is not a number");
    EXPECT_EQ(error_of(with(kernel_.tree, quotas + "bytes", "-1\n")).message,
              quotas + "bytes: '-1' is not a number");
    EXPECT_EQ(error_of(with(kernel_.tree, quotas + "bytes", "\n")).message,
              quotas + "bytes: '' is not a number");
    EXPECT_EQ(error_of(with(kernel_.tree, quotas + "bytes", " 1\n")).message,
              quotas + "bytes: ' 1' is not a number");
    const std::string matching = "kdamonds/0/contexts/0/schemes/0/filters/0/matching";
    EXPECT_EQ(error_of(with(kernel_.tree, matching, "yes\n")).message,
              matching + ": 'yes' is not Y or N");
}

TEST_P(ParseOnKernel, OutOfRangeNumbersNameTheFile) {
    const std::string bytes = "kdamonds/0/contexts/0/schemes/0/quotas/bytes";
    EXPECT_EQ(error_of(with(kernel_.tree, bytes, "18446744073709551616\n")).message,
              bytes + ": '18446744073709551616' is too large");
    const std::string nid = "kdamonds/0/contexts/0/schemes/0/target_nid";
    EXPECT_EQ(error_of(with(kernel_.tree, nid, "2147483648\n")).message,
              nid + ": '2147483648' is too large");
    const std::string sample = "kdamonds/0/contexts/0/monitoring_attrs/intervals/sample_us";
    EXPECT_EQ(error_of(with(kernel_.tree, sample, "9223372036854775808\n")).message,
              sample + ": '9223372036854775808' is too large");
}

TEST_P(ParseOnKernel, AnOverlongValueIsCutInTheError) {
    const Error error = error_of(
        with(kernel_.tree, "kdamonds/0/contexts/0/operations", std::string(4096, 'x') + "\n"));
    EXPECT_EQ(error.code, ErrorCode::invalid);
    EXPECT_LT(error.message.size(), 200U);
}

TEST_P(ParseOnKernel, UnknownFilesAreIgnored) {
    EXPECT_EQ(*parse(with(kernel_.tree, "kdamonds/0/contexts/0/from_the_future/0/x", "1\n")),
              *parse(kernel_.tree));
}

TEST_P(ParseOnKernel, AStateThatCannotBeReadIsUnknown) {
    const Tree tree = without(without(kernel_.tree, "kdamonds/0/state"), "kdamonds/0/pid");
    const Result<Kdamonds> parsed = parse(tree);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ((*parsed)[0].state, State::unknown);
    EXPECT_EQ((*parsed)[0].pid, -1);
}

TEST_P(ParseOnKernel, TriedRegionsAreReadUntilTheFirstMissingOne) {
    Tree tree = kernel_.tree;
    const std::string tried = "kdamonds/0/contexts/0/schemes/0/tried_regions/";
    tree[tried + "total_bytes"] = "8192\n";
    for (const std::string index : {"0", "1"}) {
        tree[tried + index + "/start"] = index + "000000\n";
        tree[tried + index + "/end"] = index + "004096\n";
        tree[tried + index + "/nr_accesses"] = "3\n";
        tree[tried + index + "/age"] = "12\n";
    }
    tree[tried + "1/sz_filter_passed"] = "4096\n";
    tree[tried + "1/probes/0/hits"] = "7\n";
    const Result<Kdamonds> parsed = parse(tree);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ((*parsed)[0].contexts[0].schemes[0].tried,
              (TriedRegions{Bytes(8192),
                            {{Address(0), Address(4096), SampleCount(3), AggrIntervals(12)},
                             {Address(1'000'000),
                              Address(1'004'096),
                              SampleCount(3),
                              AggrIntervals(12),
                              Bytes(4096),
                              {{7}}}}}));
    tree.erase(tried + "1/end");
    EXPECT_EQ(error_of(tree).message, tried + "1/end is missing");
}

TEST_P(ParseOnKernel, StatsAreRead) {
    Tree tree = kernel_.tree;
    const std::string stats = "kdamonds/0/contexts/0/schemes/0/stats/";
    tree[stats + "nr_tried"] = "5\n";
    tree[stats + "sz_applied"] = "4096\n";
    tree[stats + "qt_exceeds"] = "2\n";
    const Stats parsed = (*parse(tree))[0].contexts[0].schemes[0].stats;
    EXPECT_EQ(parsed, (Stats{.nr_tried = 5, .sz_applied = Bytes(4096), .qt_exceeds = 2}));
}

TEST(Parse, AnEmptyTreeHasNoDamon) {
    EXPECT_EQ(error_of({}), (Error{ErrorCode::not_found, "kdamonds/nr_kdamonds is missing"}));
}

TEST(Parse, AnUntouchedKernelHasNoKdamonds) {
    const Result<Kdamonds> parsed = parse({{"kdamonds/nr_kdamonds", "0\n"}});
    ASSERT_TRUE(parsed.ok());
    EXPECT_TRUE(parsed->empty());
}

TEST(Parse, ANumberWithoutTheFinalNewlineIsTheSame) {
    EXPECT_TRUE(parse({{"kdamonds/nr_kdamonds", "0"}}).ok());
}

}  // namespace acma::damon::test
