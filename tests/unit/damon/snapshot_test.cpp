// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/snapshot.h"

#include <gtest/gtest.h>

namespace acma::damon::test {

namespace {

constexpr uint64_t k_mib = 1'048'576;

TriedRegion tried(uint64_t start_mib, uint64_t end_mib, uint64_t accesses, uint64_t age) {
    return {Address(start_mib * k_mib), Address(end_mib * k_mib), SampleCount(accesses),
            AggrIntervals(age)};
}

// 20 samples an aggregation.
const Intervals k_intervals{.sample = Micros(5'000), .aggr = Micros(100'000)};

const TriedRegions k_tried{.regions = {tried(1, 101, 0, 600), tried(101, 111, 20, 3),
                                       tried(111, 131, 0, 4), tried(131, 132, 1, 0)}};

}  // namespace

TEST(Snapshot, TurnsCountsIntoSharesAndTimes) {
    const Snapshot snapshot = take_snapshot(k_tried, k_intervals);
    ASSERT_EQ(snapshot.regions.size(), 4U);
    EXPECT_EQ(snapshot.total, 131_MiB);
    EXPECT_EQ(snapshot.regions[0].size, 100_MiB);
    EXPECT_EQ(snapshot.regions[0].access_rate, 0_bp);
    EXPECT_EQ(snapshot.regions[0].age, Seconds(60));
    EXPECT_EQ(snapshot.regions[1].access_rate, 10'000_bp);
    EXPECT_EQ(snapshot.regions[1].age, Millis(300));
    EXPECT_EQ(snapshot.regions[3].access_rate, 500_bp);
}

TEST(Snapshot, WorkingSetIsWhatWasAccessedOrNotLeftAloneForTheWindow) {
    const Snapshot snapshot = take_snapshot(k_tried, k_intervals);
    EXPECT_EQ(working_set(snapshot), 11_MiB);
    EXPECT_EQ(working_set(snapshot, Seconds(1)), 31_MiB);
    EXPECT_EQ(cold(snapshot, Seconds(1)), 100_MiB);
    EXPECT_EQ(cold(snapshot, Seconds(60)), 100_MiB);
    EXPECT_EQ(cold(snapshot, Seconds(61)), 0_MiB);
    EXPECT_EQ(working_set(snapshot, Seconds(61)), snapshot.total);
}

TEST(Snapshot, OfNothingIsEmpty) {
    EXPECT_EQ(take_snapshot({}, k_intervals), Snapshot{});
    EXPECT_EQ(working_set({}), Bytes(0));
}

TEST(Snapshot, SurvivesIntervalsThatCannotBe) {
    for (const Intervals& intervals : {Intervals{.sample = Micros(0), .aggr = Micros(0)},
                                       Intervals{.sample = Micros(-1), .aggr = Micros(-1)},
                                       Intervals{.sample = Micros(1), .aggr = Micros::max()}}) {
        TriedRegions one{.regions = {tried(0, 1, 5, AggrIntervals::max().count())}};
        const Snapshot snapshot = take_snapshot(one, intervals);
        EXPECT_GE(snapshot.regions[0].access_rate, 1_bp);
        EXPECT_LE(snapshot.regions[0].access_rate, k_full_bp);
        EXPECT_GE(snapshot.regions[0].age, Micros(0));
    }
}

TEST(Snapshot, AReversedRegionHasNoSize) {
    const Snapshot snapshot = take_snapshot({.regions = {tried(2, 1, 0, 0)}}, k_intervals);
    EXPECT_EQ(snapshot.total, Bytes(0));
}

TEST(Snapshot, RespectsTheAddressUnit) {
    TriedRegion region{Address(256), Address(512), SampleCount(1), AggrIntervals(0), Bytes(1)};
    const Snapshot snapshot = take_snapshot({.regions = {region}}, k_intervals, 4096);
    EXPECT_EQ(snapshot.regions[0].region, (Region{Address(k_mib), Address(2 * k_mib)}));
    EXPECT_EQ(snapshot.total, 1_MiB);
    EXPECT_EQ(snapshot.regions[0].filter_passed, 4_KiB);
}

TEST(PatternLimits, MatchLessRatherThanMore) {
    EXPECT_EQ(age_at_least(Micros(5'000'000), k_intervals), AggrIntervals(50));
    EXPECT_EQ(age_at_least(Micros(5'000'001), k_intervals), AggrIntervals(51));
    EXPECT_EQ(age_at_least(Micros(-1), k_intervals), AggrIntervals(0));
    EXPECT_EQ(accesses_at_least(500_bp, k_intervals), SampleCount(1));
    EXPECT_EQ(accesses_at_least(501_bp, k_intervals), SampleCount(2));
    EXPECT_EQ(accesses_at_least(0_bp, k_intervals), SampleCount(0));
    EXPECT_EQ(accesses_at_most(999_bp, k_intervals), SampleCount(1));
    EXPECT_EQ(accesses_at_most(k_full_bp, k_intervals), SampleCount(20));
}

}  // namespace acma::damon::test
