// SPDX-License-Identifier: Apache-2.0
// What the code relies on, in the words of the kernels themselves, and that the fake answers alike.
#include <cstdlib>
#include <sstream>

#include <gtest/gtest.h>

#include "engine/damon/model.h"
#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/kernels.h"
#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

namespace {

// A runnable kdamond, as capture.sh stages it.
const Plan k_runnable = {
    {"kdamonds/nr_kdamonds", "1"},
    {"kdamonds/0/contexts/nr_contexts", "1"},
    {"kdamonds/0/contexts/0/operations", "paddr"},
    {"kdamonds/0/contexts/0/targets/nr_targets", "1"},
    {"kdamonds/0/contexts/0/targets/0/regions/nr_regions", "1"},
    {"kdamonds/0/contexts/0/targets/0/regions/0/start", "1048576"},
    {"kdamonds/0/contexts/0/targets/0/regions/0/end", "536870912"},
    {"kdamonds/0/contexts/0/schemes/nr_schemes", "1"},
    {"kdamonds/0/contexts/0/schemes/0/action", "stat"},
};

// The words of `what` that the kernel took.
template <typename E>
std::vector<E> taken(const Captured& kernel, const std::string& what) {
    std::vector<E> values;
    for (const Word<E>& word : Words<E>::k_table) {
        if (kernel.answer("word " + what + " " + std::string(word.text)) == "ok") {
            values.push_back(word.value);
        }
    }
    return values;
}

// Those that our table of features says it takes.
template <typename E>
std::vector<E> expected(const Features& features) {
    std::vector<E> values;
    for (const Word<E>& word : Words<E>::k_table) {
        if constexpr (requires { needed_by(word.value); }) {
            const std::optional<Feature> feature = needed_by(word.value);
            if (feature && !features.has(*feature)) {
                continue;
            }
        }
        values.push_back(word.value);
    }
    return values;
}

}  // namespace

class BehaviourOfKernel : public OnKernel {};
ON_ALL_KERNELS(BehaviourOfKernel);

TEST_P(BehaviourOfKernel, TakesTheWordsThatItsFeaturesSay) {
    EXPECT_EQ(taken<Action>(kernel_, "action"), expected<Action>(features_));
    EXPECT_EQ(taken<GoalMetric>(kernel_, "target_metric"), expected<GoalMetric>(features_));
    EXPECT_EQ(taken<FilterType>(kernel_, "filters type"), expected<FilterType>(features_));
    EXPECT_EQ(taken<Operations>(kernel_, "operations"), expected<Operations>(features_));
    EXPECT_EQ(taken<WatermarkMetric>(kernel_, "watermarks metric"),
              expected<WatermarkMetric>(features_));
    if (features_.has(Feature::goal_tuner)) {
        EXPECT_EQ(taken<GoalTuner>(kernel_, "goal_tuner"), expected<GoalTuner>(features_));
    }
}

TEST_P(BehaviourOfKernel, TheTargetFilterFileIsCalledDamonTargetIdx) {
    EXPECT_EQ(kernel_.answer("file damon_target_idx"), "yes");
    EXPECT_EQ(kernel_.answer("file target_idx"), "no");
}

TEST_P(BehaviourOfKernel, ANewlineEmptiesAMemcgPath) {
    EXPECT_EQ(kernel_.answer("memcg_path read"), "/a");
    EXPECT_EQ(kernel_.answer("memcg_path after a newline"), "");
}

TEST_P(BehaviourOfKernel, StateAndNumbersAreBusyWhileACommandIsPending) {
    EXPECT_EQ(kernel_.answer("read state while a command is pending"), "EBUSY");
    EXPECT_EQ(kernel_.answer("read pid while a command is pending"), "EBUSY");
    EXPECT_EQ(kernel_.answer("commit while a command is pending"), "EBUSY");
    EXPECT_EQ(kernel_.answer("nr_goals while a command is pending"), "EBUSY");
    EXPECT_EQ(kernel_.answer("bytes while a command is pending"), "ok");
}

TEST_P(BehaviourOfKernel, AGoalWithoutATargetIsDroppedSilently) {
    EXPECT_EQ(kernel_.answer("commit of target_value 0"), "ok");
    EXPECT_EQ(kernel_.answer("effective_bytes with target_value 0"), "0");
}

TEST_P(BehaviourOfKernel, TheKernelsOwnTunerDoublesFromNothingEachSecond) {
    std::istringstream series(
        kernel_.answer("effective_bytes with some_mem_psi_us and no pressure, each second"));
    uint64_t last = 0;
    while (series >> last) {
    }
    EXPECT_LT(last, 4096U) << "no page in eight seconds";
}

TEST_P(BehaviourOfKernel, AOneByteQuotaStopsAScheme) {
    EXPECT_EQ(kernel_.answer("sz_applied in 2 s after the first, quota 1"), "0");
}

TEST_P(BehaviourOfKernel, TheFakeAnswersCommandsAsTheKernelDid) {
    ASSERT_EQ(sysfs_.apply(k_runnable), "ok");
    const auto state = [this](std::string_view word) {
        return sysfs_.write("kdamonds/0/state", word);
    };
    const std::string least = "kdamonds/0/contexts/0/monitoring_attrs/nr_regions/min";
    EXPECT_EQ(state("off"), kernel_.answer("off, never started"));
    EXPECT_EQ(state("commit"), kernel_.answer("commit, never started"));
    EXPECT_EQ(state("nonsense"), kernel_.answer("nonsense word"));
    EXPECT_EQ(sysfs_.write(least, "2"), "ok");
    EXPECT_EQ(state("on"), kernel_.answer("on with nr_regions/min 2"));
    EXPECT_EQ(sysfs_.write(least, "10"), "ok");
    EXPECT_EQ(state("on"), kernel_.answer("on"));
    EXPECT_EQ(state("on"), kernel_.answer("on when on"));
    EXPECT_EQ(sysfs_.write("kdamonds/nr_kdamonds", "2"), kernel_.answer("nr_kdamonds when on"));
    EXPECT_EQ(state("commit"), kernel_.answer("good commit"));
    EXPECT_EQ(state("update_tuned_intervals"), kernel_.answer("update_tuned_intervals"));
    EXPECT_EQ(sysfs_.write(least, "2"), "ok");
    EXPECT_EQ(state("commit"), kernel_.answer("bad commit nr_regions_min"));
    EXPECT_EQ(sysfs_.tree().at("kdamonds/0/state"),
              kernel_.answer("state after bad commit nr_regions_min") + "\n");
    state("off");
    EXPECT_EQ(state("off"), kernel_.answer("off, already ended"));
    EXPECT_EQ(state("commit"), kernel_.answer("commit, already ended"));
}

TEST(BehaviourOf612, ABadCommitSucceedsAndEndsTheKdamond) {
    const Captured& kernel = captured("6.12");
    for (const std::string bad :
         {"nr_regions_min", "sample_above_aggr", "region_reversed", "no_such_memcg"}) {
        EXPECT_EQ(kernel.answer("bad commit " + bad), "ok");
        EXPECT_EQ(kernel.answer("state after bad commit " + bad), "off");
    }
}

TEST(BehaviourOf73, ABadCommitIsRefusedAndTheKdamondSurvives) {
    const Captured& kernel = captured("7.3");
    for (const std::string bad :
         {"nr_regions_min", "sample_above_aggr", "region_reversed", "no_such_memcg"}) {
        EXPECT_NE(kernel.answer("bad commit " + bad), "ok");
        EXPECT_EQ(kernel.answer("state after bad commit " + bad), "on");
    }
}

TEST(BehaviourOf73, DamonStatHoldsDamonFromBootUntilItIsCleared) {
    const Captured& kernel = captured("7.3");
    EXPECT_EQ(kernel.answer("damon_stat enabled at boot"), "Y");
    EXPECT_EQ(kernel.answer("on before DAMON_STAT is cleared"), "EBUSY");
    EXPECT_EQ(kernel.answer("clear DAMON_STAT"), "ok");
    EXPECT_EQ(kernel.answer("on"), "ok");
    EXPECT_EQ(kernel.answer("damon_stat enabled after restoring"), "Y");
}

TEST(BehaviourOf73, MaxNrSnapshotsDoesNotStopASchemeThatUsesUpItsQuota) {
    const Captured& kernel = captured("7.3");
    EXPECT_EQ(kernel.answer("still applied after 3 s, quota 0"), "no");
    EXPECT_EQ(kernel.answer("nr_snapshots of at most 5 after 4 s of 50 ms, quota 4096"), "0");
    EXPECT_EQ(kernel.answer("still applied after 3 s, quota 4096"), "yes");
}

TEST(BehaviourOf612, TheFirstChargeWindowHasNoLimit) {
    EXPECT_NE(captured("6.12").answer("sz_applied in the first second, quota 1"), "0");
    EXPECT_EQ(captured("7.3").answer("sz_applied in the first second, quota 1"), "0");
}

}  // namespace acma::damon::test
