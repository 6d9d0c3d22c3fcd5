// SPDX-License-Identifier: Apache-2.0
#include "engine/feedback/feedback.h"

#include <gtest/gtest.h>

namespace acma::feedback {
namespace {

constexpr Bounds k_bounds{.floor = 1000, .ceiling = 1'000'000};

struct Row {
    uint64_t last;
    uint64_t score_bp;
    uint64_t expected;
};

TEST(FeedbackNext, FollowsTheFormulaOfTheTalk) {
    for (const Row& row : {Row{10'000, 10'000, 10'000},  // on target: stays
                           Row{10'000, 0, 20'000},       // no pressure: doubles
                           Row{10'000, 5'000, 15'000},   // half of the target: half more
                           Row{10'000, 15'000, 5'000},   // half over: half less
                           Row{10'000, 20'000, 1'000},   // twice: the floor at once
                           Row{10'000, 900'000, 1'000},  // any worse: the floor
                           Row{900'000, 0, 1'000'000},   // the ceiling holds
                           Row{0, 10'000, 1'000}}) {     // and so does the floor
        EXPECT_EQ(next(row.last, Score{row.score_bp}, k_bounds, true), row.expected)
            << row.last << " at " << row.score_bp;
    }
}

TEST(FeedbackNext, DoesNotWindUpWhileTheOutputIsNotWhatLimits) {
    EXPECT_EQ(next(10'000, Score{0}, k_bounds, false), 10'000U);
    EXPECT_EQ(next(10'000, Score{15'000}, k_bounds, false), 5'000U) << "it may always fall";
}

TEST(FeedbackNext, TurnsRoundForScaleUp) {
    EXPECT_EQ(next(10'000, Score{20'000}, k_bounds, true, Direction::inverse), 20'000U);
    EXPECT_EQ(next(10'000, Score{0}, k_bounds, true, Direction::inverse), 1'000U);
    EXPECT_EQ(next(10'000, Score{10'000}, k_bounds, true, Direction::inverse), 10'000U);
}

TEST(FeedbackNext, ReachesAnyRateInTensOfStepsWhereTheKernelNeedsAMinute) {
    uint64_t rate = 32ULL << 20;
    int steps = 0;
    while (rate < 200'000'000) {
        rate = next(rate, Score{0}, Bounds{.floor = 1 << 20, .ceiling = 1ULL << 30}, true);
        ++steps;
    }
    EXPECT_LE(steps, 3);
}

TEST(FeedbackNext, SaturatesAtTheEndsOfTheNumberRange) {
    EXPECT_EQ(next(UINT64_MAX, Score{0}, Bounds{.floor = 1}, true), UINT64_MAX);
    EXPECT_EQ(next(UINT64_MAX, Score{UINT64_MAX}, Bounds{.floor = 1}, true), 1U);
}

TEST(FeedbackScore, ReadsATargetOfZeroAsNever) {
    EXPECT_EQ(score(0, 0).bp, 10'000U);
    EXPECT_EQ(score(1, 0).bp, 20'000U);
    EXPECT_EQ(score(500, 1000).bp, 5'000U);
    EXPECT_EQ(score(UINT64_MAX, 1).bp, UINT64_MAX);
}

TEST(FeedbackScore, LeastAggressiveGoalWins) {
    EXPECT_EQ(least_aggressive(Score{1}, Score{9'999}).bp, 9'999U);
}

}  // namespace
}  // namespace acma::feedback
