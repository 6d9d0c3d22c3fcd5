// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/autoscale.h"

#include <gtest/gtest.h>

namespace acma::autoscale {
namespace {

// A look in which nothing is written to swap any more, but what was written before gets free.
TEST(Step, EmptiesPerCpuListsAlsoWhenPagesWereOnlyFreed) {
    const Policy policy{.min_mem = 256_MiB, .max_mem = 2_GiB, .psi = 10_bp};
    Sample sample{.swap_out_total = 5_GiB, .mem_total = 2_GiB, .mem_free = 1_GiB};
    State state;
    Time now{Seconds(100)};
    const auto steps = [&](int number) {
        Decision decision;
        for (int i = 0; i < number; ++i) {
            now += k_quick_step;
            sample.aggregations_total += 5;
            decision = step(policy, sample, state, now);
        }
        return decision;
    };
    EXPECT_EQ(steps(1).drain, 0U);
    sample.applied_total = k_drain_after - Bytes(1);
    EXPECT_EQ(steps(60).drain, 0U) << "too little";
    EXPECT_EQ(state.pace, Pace::calm);

    state = State{};
    EXPECT_EQ(steps(1).drain, 0U);
    sample.applied_total += 300_MiB;
    const Decision after = steps(60);
    EXPECT_EQ(after.pace, Pace::calm);
    EXPECT_GE(after.drain, 1U);
    EXPECT_EQ(steps(200).drain, after.drain) << "nothing more was freed";
}

}  // namespace
}  // namespace acma::autoscale
