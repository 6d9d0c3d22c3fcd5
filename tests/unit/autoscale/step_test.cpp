// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/autoscale/autoscale.h"

namespace acma::autoscale {
namespace {

// The loop in a guest of 2 GiB that has free memory.
struct Loop {
    Policy policy{.min_mem = 256_MiB, .max_mem = 2_GiB, .psi = 10_bp};
    Sample sample{.mem_total = 2_GiB, .mem_free = 1_GiB};
    State state;
    Time now{Seconds(100)};

    // Takes `number` steps. Since the one before, each finds DAMON to have used up so many windows
    // of a block each.
    Decision steps(int number, uint64_t full_windows = 0) {
        Decision decision;
        for (int i = 0; i < number; ++i) {
            now += k_quick_step;
            sample.full_windows_total += full_windows;
            sample.tried_total += k_block * full_windows;
            sample.counted_at = now;
            decision = step(policy, sample, state, now);
        }
        return decision;
    }
};

// A look in which nothing is written to swap any more, but what was written before gets free.
TEST(Step, EmptiesPerCpuListsAlsoWhenPagesWereOnlyFreed) {
    Loop loop;
    loop.sample.swap_out_total = 5_GiB;
    const auto looks = [&loop](int number) {
        uint64_t drain = 0;
        for (int i = 0; i < number; ++i) {
            loop.sample.aggregations_total += 5;
            drain = loop.steps(1).drain;
        }
        return drain;
    };
    EXPECT_EQ(looks(1), 0U);
    loop.sample.applied_total = k_drain_after - Bytes(1);
    EXPECT_EQ(looks(60), 0U) << "too little";
    EXPECT_EQ(loop.state.pace, Pace::calm);

    loop.state = State{};
    EXPECT_EQ(looks(1), 0U);
    loop.sample.applied_total += 300_MiB;
    const auto after = looks(60);
    EXPECT_EQ(loop.state.pace, Pace::calm);
    EXPECT_GE(after, 1U);
    EXPECT_EQ(looks(200), after) << "nothing more was freed";
}

// DAMON counts samples: where they take longer than they should, fewer of them are a second and a
// half.
TEST(Step, AsksForAnAgeByTheClock) {
    Loop loop;
    const auto age_where_an_interval_takes = [&loop](Micros aggregation) {
        loop.sample.aggregation = aggregation;
        return loop.steps(1).min_age;
    };
    EXPECT_EQ(age_where_an_interval_takes(Micros(0)), k_quick_min_age) << "not known yet";
    EXPECT_EQ(age_where_an_interval_takes(k_quick_aggr / 2), k_quick_min_age);
    EXPECT_EQ(age_where_an_interval_takes(k_quick_aggr * 2), k_quick_min_age / 2);
    EXPECT_EQ(age_where_an_interval_takes(Seconds(60)), k_quick_min_age / k_most_stretch);
    for (int i = 0; i < 400 && loop.state.pace == Pace::quick; ++i) {
        loop.sample.aggregations_total += 5;
        loop.steps(1);
    }
    EXPECT_EQ(loop.steps(1).min_age, k_calm_min_age) << "its samples take what they should";
}

// Totals count since the guest's boot: what happened before the agent came is nothing to it.
TEST(Step, StartsAtItsOwnBeginningInAGuestThatHasBeenUpForMonths) {
    const Policy policy{.min_mem = 256_MiB, .max_mem = 2_GiB, .psi = 10_bp};
    constexpr Micros k_month = Seconds(30 * 86'400);
    Sample sample{.psi_some_total = k_month,
                  .swap_in_total = 900_GiB,
                  .swap_out_total = 1000_GiB,
                  .refault_file_total = 900_GiB,
                  .mem_total = 2_GiB,
                  .mem_free = 1_GiB,
                  .oom_kills_total = 1000};
    State state;
    Time now{k_month * 3};
    for (int i = 0; i < 20; ++i) {  // the first five seconds, in which nothing more happens
        const Decision decision = step(policy, sample, state, now);
        EXPECT_EQ(decision.state, AgentState::ramping) << decision.reason;
        EXPECT_TRUE(decision.page_out);
        EXPECT_EQ(decision.pace, Pace::quick);
        EXPECT_EQ(decision.rate_per_s, k_start_rate) << decision.reason;
        EXPECT_EQ(decision.min_age, k_quick_min_age);
        EXPECT_EQ(decision.drain, 0U);
        EXPECT_EQ(state.patience, 1U);
        EXPECT_EQ(state.debt, Micros(0));
        EXPECT_EQ(psi_share(state, Seconds(10)), 0_bp);
        now += k_quick_step;
    }
}

// At a low target the same stall takes longer to pay off; at any it is forgotten when it is old.
TEST(Step, ForgetsStallsOfFourHoursAgoAtAnyTarget) {
    for (const BasisPoints psi : {1_bp, 10_bp, 1'000_bp}) {
        const Policy policy{.min_mem = 256_MiB, .max_mem = 2_GiB, .psi = psi};
        Sample sample{.mem_total = 2_GiB, .mem_free = 1_GiB};
        State state;
        Time now{Seconds(1'000'000)};
        (void)step(policy, sample, state, now);
        sample.psi_some_total += Seconds(100'000);
        now += Seconds(1);
        (void)step(policy, sample, state, now);
        EXPECT_GT(state.debt, Micros(0));
        now += k_debt_forgotten_after - Seconds(1);
        (void)step(policy, sample, state, now);
        EXPECT_GT(state.debt, Micros(0)) << human(psi);
        now += Seconds(1);
        (void)step(policy, sample, state, now);
        EXPECT_EQ(state.debt, Micros(0)) << human(psi);
    }
}

// PSI says nothing of file pages that are read again, and yet they were wanted.
TEST(Step, SlowsDownWhenOnlyFilePagesComeBack) {
    const auto rate_after = [](Bytes refaults_a_step) {
        Loop loop;
        Decision decision;
        for (int i = 0; i < 10; ++i) {
            loop.sample.refault_file_total += refaults_a_step;
            decision = loop.steps(1, 25);
        }
        return decision.rate_per_s;
    };
    EXPECT_GT(rate_after(Bytes(0)), k_start_rate);
    EXPECT_LT(rate_after(1_MiB), k_start_rate);
}

TEST(Step, DoesNotGrowBecauseOfOneWindowThatWasUsedUp) {
    const auto rate_after = [](uint64_t full_windows_a_step) {
        Loop loop;
        loop.state.rate_per_s = k_floor_rate;
        return loop.steps(10, full_windows_a_step).rate_per_s;
    };
    EXPECT_EQ(rate_after(1), k_floor_rate);
    EXPECT_GT(rate_after(25), k_floor_rate);
}

// Fast swap: windows of 10 ms are used up as soon as they begin. What was there before page-out
// found anything to take must not make its steps look long.
TEST(Step, GrowsWithinASecondOnceWindowsAreUsedUp) {
    Loop loop;
    EXPECT_EQ(loop.steps(6).rate_per_s, k_start_rate);
    (void)loop.steps(1, 5);  // it began in the middle
    EXPECT_GT(loop.steps(1, 22).rate_per_s, k_start_rate * 3 / 2);
    EXPECT_GT(loop.steps(1, 22).rate_per_s, k_start_rate * 2);
}

TEST(Step, TriesNoMoreThanTheHostAllows) {
    Loop loop;
    loop.sample.rate_most = 32_MiB;
    EXPECT_EQ(loop.steps(10, 22).rate_per_s, 32_MiB);
    loop.sample.rate_most.reset();
    EXPECT_GT(loop.steps(20, 22).rate_per_s, k_start_rate);
}

TEST(Step, KeepsItsRateWhereSlowSwapMakesEveryStepLong) {
    Loop loop;
    EXPECT_EQ(loop.steps(4).rate_per_s, k_start_rate);
    EXPECT_EQ(loop.steps(6, 4).rate_per_s, k_start_rate);
}

// DAMON takes a new rate over an aggregation interval later, which is a second where swap is slow.
TEST(Step, DoesNotGrowOnAndOnWhileALargerWindowIsNotYetInForce) {
    Loop loop;
    // One window in 21 ms, 17 of them page-out: the rate ends at what takes 52 ms from window to
    // window.
    EXPECT_EQ(loop.steps(10, 12).rate_per_s, (k_block * 12 * 4) * 52 / 10);
}

// The reading of DAMON's totals waits for the end of an aggregation interval.
TEST(Step, TakesTheTimeBetweenTwoReadingsOfDamonNotBetweenTwoSteps) {
    Loop loop;
    Decision decision;
    for (int i = 0; i < 12; ++i) {
        loop.now += k_quick_step;
        if (i % 4 == 3) {
            loop.sample.full_windows_total += 40;
            loop.sample.tried_total += k_block * 40;
            loop.sample.counted_at = loop.now;
        }
        decision = step(loop.policy, loop.sample, loop.state, loop.now);
    }
    EXPECT_EQ(decision.rate_per_s, (k_block * 40) * 52 / 10);
}

}  // namespace
}  // namespace acma::autoscale
