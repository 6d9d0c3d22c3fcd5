// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/page_out.h"

#include <gtest/gtest.h>

#include "engine/damon/regions.h"
#include "engine/damon/validate.h"

namespace acma::autoscale {
namespace {

PieceOfRam piece(uint64_t mib, unsigned evictable) {
    return {
        .region = {.start = damon::Address((mib << 20)), .end = damon::Address(((mib + 2) << 20))},
        .evictable = evictable,
        .probes = 4};
}

TEST(WorthMonitoring, LeavesOutWhatPageOutCannotTakeAndJoinsNeighbours) {
    const auto regions =
        worth_monitoring({piece(0, 4), piece(2, 4), piece(4, 0), piece(6, 4)}, Pace::quick, {});
    ASSERT_EQ(regions.size(), 2U);
    EXPECT_EQ(regions[0].end.count(), 4U << 20);
    EXPECT_EQ(regions[1].start.count(), 6U << 20);
}

TEST(WorthMonitoring, StartsWithDensePiecesAtTheQuickPaceOnly) {
    const std::vector<PieceOfRam> pieces{piece(0, 4), piece(2, 1), piece(4, 3)};
    EXPECT_EQ(worth_monitoring(pieces, Pace::quick, {}).size(), 2U);
    EXPECT_EQ(worth_monitoring(pieces, Pace::calm, {}).size(), 1U) << "all three, joined";
}

TEST(WorthMonitoring, TakesThinPiecesAtOnceWhereTheyAreMostOfWhatThereIs) {
    const std::vector<PieceOfRam> pieces{piece(0, 4), piece(4, 1), piece(8, 2), piece(12, 1)};
    EXPECT_EQ(worth_monitoring(pieces, Pace::quick, {}).size(), 4U);
}

TEST(WorthMonitoring, KeepsTheNumberOfRegionsBoundedAndLosesNothing) {
    std::vector<PieceOfRam> pieces;
    for (uint64_t i = 0; i < 1000; ++i) {
        pieces.push_back(piece(i * 4, 4));
    }
    const auto regions = worth_monitoring(pieces, Pace::quick, {});
    EXPECT_LE(regions.size(), k_most_regions);
    EXPECT_EQ(regions.front().start.count(), 0U);
    EXPECT_EQ(regions.back().end.count(), pieces.back().region.end.count());
}

TEST(WorthMonitoring, GoesOnWhereItBeganAlthoughMostOfThatIsFreeNow) {
    const auto before = worth_monitoring({piece(0, 4), piece(2, 4), piece(4, 1)}, Pace::quick, {});
    const auto after =
        worth_monitoring({piece(0, 4), piece(2, 0), piece(4, 1)}, Pace::quick, before);
    EXPECT_EQ(before, after);
}

TEST(WorthMonitoring, SurvivesAGuestWithNothingToTake) {
    EXPECT_TRUE(worth_monitoring({piece(0, 0)}, Pace::quick, {}).empty());
    EXPECT_TRUE(worth_monitoring({}, Pace::calm, {}).empty());
}

const std::vector<damon::Region> k_regions{
    {.start = damon::Address(1 << 20), .end = damon::Address(3U << 30)},
    {.start = damon::Address(uint64_t{4} << 30), .end = damon::Address(uint64_t{5} << 30)}};

// On 6.12 a quota that is no multiple of a page is never full: docs/design.md.
TEST(PageOutKdamond, AsksForWholePagesAtAnyRate) {
    for (uint64_t rate = 1; rate < (uint64_t{2} << 30); rate = rate * 3 + 12345) {
        for (const Pace pace : {Pace::quick, Pace::calm}) {
            const Decision decision{
                .page_out = true, .pace = pace, .rate_per_s = Bytes(rate), .min_age = Seconds(1)};
            const auto kdamond = page_out_kdamond(decision, k_regions, Permil(30));
            const Bytes bytes = kdamond.contexts[0].schemes[0].quota.bytes;
            EXPECT_TRUE(bytes.count() % 4096 == 0 || bytes == damon::k_no_bytes) << bytes.count();
            EXPECT_GT(bytes.count(), 0U) << "0 would mean without limit";
            EXPECT_TRUE(damon::validate({kdamond}, {}).ok());
        }
    }
}

TEST(PageOutKdamond, TakesOnlyWhatWasNotAccessedForTheAgeAskedFor) {
    const Decision decision{.page_out = true, .rate_per_s = 100_MiB, .min_age = Seconds(4)};
    const auto kdamond = page_out_kdamond(decision, k_regions, Permil(30));
    const auto& context = kdamond.contexts[0];
    EXPECT_EQ(context.schemes[0].pattern.nr_accesses.max, SampleCount(0));
    EXPECT_GE(context.attrs.intervals.aggr *
                  static_cast<int64_t>(context.schemes[0].pattern.age.min.count()),
              Seconds(4));
}

TEST(PageOutKdamond, PausesWhileTheKernelItselfReclaimsButGoesOnCounting) {
    const Decision decision{.page_out = true, .rate_per_s = 100_MiB, .min_age = Seconds(4)};
    const auto kdamond = page_out_kdamond(decision, k_regions, Permil(30));
    const auto& schemes = kdamond.contexts[0].schemes;
    const auto& marks = schemes[k_page_out_scheme].watermarks;
    EXPECT_EQ(marks.metric, damon::WatermarkMetric::free_mem_rate);
    EXPECT_EQ(marks.low, Permil(30));
    EXPECT_EQ(marks.mid, Permil(1000)) << "it goes on as soon as there is that much again";
    EXPECT_EQ(schemes[k_accessed_scheme].watermarks.metric, damon::WatermarkMetric::none);
    EXPECT_TRUE(damon::validate({kdamond}, {}).ok());
    const auto unknown = page_out_kdamond(decision, k_regions, Permil(0));
    EXPECT_EQ(unknown.contexts[0].schemes[k_page_out_scheme].watermarks, damon::Watermarks{});
}

// 6.12 splits up to half of max, 7.3 some up to max; two neighbours are merged up to a min-th of
// all, and 7.3 cuts what is larger than that.
TEST(PageOutKdamond, GivesTheQuickPaceAGridThatDamonLeavesAsItIs) {
    const Decision decision{.page_out = true, .rate_per_s = 100_MiB, .min_age = Seconds(4)};
    for (const auto& kdamond :
         {page_out_kdamond(decision, k_regions, Permil(30)), clearing_kdamond(k_regions)}) {
        const auto& grid = kdamond.contexts[0].targets[0].regions;
        const auto& bounds = kdamond.contexts[0].attrs.nr_regions;
        EXPECT_GT(grid.size(), bounds.max / 2);
        EXPECT_LE(grid.size(), bounds.max);
        EXPECT_LE(bounds.max - grid.size(), 16U);
        Bytes all;
        for (const auto& region : grid) {
            all += damon::size_of(region);
        }
        EXPECT_GT((damon::size_of(grid[0]) * 2).count(), all.count() / bounds.min);
        for (const auto& region : grid) {
            EXPECT_LE(damon::size_of(region).count(), all.count() / bounds.min);
        }
        EXPECT_EQ(all, 4_GiB - 1_MiB) << "the whole of what was asked for";
        const auto& intervals = kdamond.contexts[0].attrs.intervals;
        EXPECT_EQ(intervals.update, intervals.aggr) << "when 6.12 looks at these bounds";
        EXPECT_TRUE(damon::validate({kdamond}, {}).ok());
    }
}

TEST(PageOutKdamond, CountsWhatIsAccessedAndWhatHasJustBecomeIdle) {
    const Decision decision{.page_out = true, .rate_per_s = 100_MiB, .min_age = Seconds(4)};
    const auto kdamond = page_out_kdamond(decision, k_regions, Permil(30));
    const auto& schemes = kdamond.contexts[0].schemes;
    ASSERT_EQ(schemes.size(), k_schemes);
    for (const size_t counting : {k_accessed_scheme, k_idled_scheme, k_monitored_scheme}) {
        EXPECT_EQ(schemes[counting].action, damon::Action::stat);
        EXPECT_EQ(schemes[counting].apply_interval, Micros(0)) << "once an aggregation interval";
    }
    EXPECT_EQ(schemes[k_accessed_scheme].pattern.nr_accesses.min, SampleCount(1));
    EXPECT_EQ(schemes[k_idled_scheme].pattern.nr_accesses.max, SampleCount(0));
    EXPECT_EQ(schemes[k_idled_scheme].pattern.age.max, AggrIntervals(0));
}

TEST(ClearingKdamond, LetsNoPageThrough) {
    const auto kdamond = clearing_kdamond(k_regions);
    EXPECT_TRUE(damon::validate({kdamond}, {}).ok())
        << damon::validate({kdamond}, {}).error().message;
    const auto& filters = kdamond.contexts[0].schemes[0].filters;
    ASSERT_EQ(filters.size(), 3U);
    EXPECT_EQ(filters[0].type, damon::FilterType::young) << "the first one clears the bit";
    // anon and not anon: everything is rejected.
    EXPECT_EQ(filters[1].type, filters[2].type);
    EXPECT_NE(filters[1].matching, filters[2].matching);
    for (const auto& filter : filters) {
        EXPECT_FALSE(filter.allow);
    }
}

// 6.12 does not limit the first window of a quota, unless every step is a window of its own.
TEST(ClearingKdamond, LooksAtSoMuchInAStepThatCannotBeInterrupted) {
    const auto quota = clearing_kdamond(k_regions).contexts[0].schemes[0].quota;
    EXPECT_EQ(quota.bytes, k_clearing_step);
    EXPECT_EQ(quota.reset_interval, Millis(0));
}

}  // namespace
}  // namespace acma::autoscale
