// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/damon/features.h"
#include "engine/damon/reclaim.h"
#include "engine/damon/regions.h"
#include "engine/damon/tree.h"
#include "engine/damon/validate.h"
#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/kernels.h"
#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

namespace {

const std::vector<Region> k_two_ranges = {{Address(0x100000), Address(0x7ffe0000)},
                                          {Address(0x100000000), Address(0x180000000)}};

Kdamond typical_reclaim(const Features& features) {
    const Intervals intervals{.sample = Micros(5'000), .aggr = Micros(100'000)};
    ReclaimSettings settings;
    settings.bytes = 10_MiB;
    settings.time = Millis(5);
    Kdamond kdamond = reclaim_kdamond(k_two_ranges, intervals, settings);
    auto& schemes = kdamond.contexts[0].schemes;
    schemes[k_reclaim_scheme].stats.max_nr_snapshots =
        features.has(Feature::max_nr_snapshots) ? 40 : 0;
    schemes[k_reclaim_scheme].watermarks = {.metric = WatermarkMetric::free_mem_rate,
                                            .interval = settings.apply_interval,
                                            .high = Permil(300),
                                            .mid = Permil(300)};
    schemes.push_back({.action = Action::stat, .pattern = k_any_pattern});
    return kdamond;
}

Plan must_plan(const Kdamonds& desired, const Tree& current, const Features& features) {
    const Result<Plan> result = plan(desired, current, features);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return result.ok() ? *result : Plan{};
}

Plan must_update(const Kdamonds& previous, const Kdamonds& next, const Features& features) {
    const Result<Plan> result = plan_update(previous, next, features);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return result.ok() ? *result : Plan{};
}

}  // namespace

class PlanOnKernel : public OnKernel {};
ON_ALL_KERNELS(PlanOnKernel);

TEST_P(PlanOnKernel, ATypicalReclaimSchemeIsTheGoldenListOfWrites) {
    const Kdamond desired = typical_reclaim(features_);
    ASSERT_TRUE(validate({desired}, features_).ok())
        << validate({desired}, features_).error().message;
    const Plan writes = must_plan({desired}, sysfs_.tree(), features_);
    expect_golden(kernel_.dir / "reclaim_plan.tsv", to_tsv(writes));
    EXPECT_EQ(sysfs_.apply(writes), "ok");
    EXPECT_EQ(sysfs_.write(state_write(0, StateCommand::on)), "ok");
}

TEST_P(PlanOnKernel, AnAppliedPlanParsesBackAndNeedsNothingMore) {
    const Kdamond desired = typical_reclaim(features_);
    ASSERT_EQ(sysfs_.apply(must_plan({desired}, sysfs_.tree(), features_)), "ok");
    const Result<Kdamonds> parsed = parse(sysfs_.tree());
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, Kdamonds{desired});
    EXPECT_EQ(must_plan({desired}, sysfs_.tree(), features_), Plan{});
}

TEST_P(PlanOnKernel, ANewQuotaIsOneWriteAndACommit) {
    const Kdamond before = typical_reclaim(features_);
    Kdamond after = before;
    after.contexts[0].schemes[0].quota.bytes = 20_MiB;
    const Plan writes = plan_commit(must_update({before}, {after}, features_), 0);
    EXPECT_EQ(writes, (Plan{{"kdamonds/0/contexts/0/schemes/0/quotas/bytes", "20971520"},
                            {"kdamonds/0/state", "commit"}}));
}

TEST_P(PlanOnKernel, NothingNewIsNoWriteAndNoCommit) {
    const Kdamond same = typical_reclaim(features_);
    EXPECT_EQ(plan_commit(must_update({same}, {same}, features_), 0), Plan{});
}

TEST_P(PlanOnKernel, AnEqualNumberIsNeverWrittenSinceThatDestroysChildren) {
    ASSERT_EQ(kernel_.answer("write an equal nr_schemes"), "ok");
    ASSERT_EQ(kernel_.answer("action after an equal nr_schemes"), "stat");
    const Kdamond before = typical_reclaim(features_);
    ASSERT_EQ(sysfs_.apply(must_plan({before}, sysfs_.tree(), features_)), "ok");
    Kdamond after = before;
    after.contexts[0].schemes[0].pattern.age.min = AggrIntervals(7);
    after.contexts[0].targets[0].regions[1].end = Address(0x170000000);
    for (const Write& write : must_plan({after}, sysfs_.tree(), features_)) {
        EXPECT_EQ(write.path.find("/nr_"), std::string::npos) << write.path;
    }
}

TEST_P(PlanOnKernel, AChangedNumberIsFollowedByEverythingBelowIt) {
    const Kdamond before = typical_reclaim(features_);
    ASSERT_EQ(sysfs_.apply(must_plan({before}, sysfs_.tree(), features_)), "ok");
    Kdamond after = before;
    after.contexts[0].schemes.push_back({.action = Action::lru_prio, .pattern = k_any_pattern});
    const Plan writes = must_plan({after}, sysfs_.tree(), features_);
    ASSERT_FALSE(writes.empty());
    EXPECT_EQ(writes.front(), (Write{"kdamonds/0/contexts/0/schemes/nr_schemes", "3"}));
    ASSERT_EQ(sysfs_.apply(writes), "ok");
    EXPECT_EQ(*parse(sysfs_.tree()), Kdamonds{after});
}

TEST_P(PlanOnKernel, AGoalsCurrentValueOnlyNeedsTheGoalsCommitted) {
    Kdamond before = typical_reclaim(features_);
    before.contexts[0].schemes[0].quota.goals = {{.target_value = 100}};
    Kdamond after = before;
    after.contexts[0].schemes[0].quota.goals[0].current_value = 50;
    const Plan writes = must_update({before}, {after}, features_);
    EXPECT_EQ(commit_for(writes), StateCommand::commit_schemes_quota_goals);

    after.contexts[0].schemes[0].quota.goals.push_back({.target_value = 5});
    EXPECT_EQ(commit_for(must_update({before}, {after}, features_)), StateCommand::commit);
}

TEST_P(PlanOnKernel, TheNumberOfKdamondsCannotChangeWhileOneRuns) {
    const Kdamond desired = typical_reclaim(features_);
    ASSERT_EQ(sysfs_.apply(must_plan({desired}, sysfs_.tree(), features_)), "ok");
    ASSERT_EQ(sysfs_.write(state_write(0, StateCommand::on)), "ok");
    const Result<Plan> result = plan({desired, desired}, sysfs_.tree(), features_);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::busy);
    EXPECT_EQ(result.error().message,
              "nr_kdamonds cannot change from 1 to 2: kdamonds/0 is on (pid 100)");
    EXPECT_EQ(sysfs_.write("kdamonds/nr_kdamonds", "2"), "EBUSY");
}

TEST_P(PlanOnKernel, TheNumberOfKdamondsCannotChangeWhileTheStateCannotBeRead) {
    ASSERT_EQ(sysfs_.write("kdamonds/nr_kdamonds", "1"), "ok");
    sysfs_.set_command_pending(true);
    const Result<Plan> result = plan({Kdamond{}, Kdamond{}}, sysfs_.tree(), features_);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::busy);
}

TEST_P(PlanOnKernel, AMemcgPathIsEmptiedByANewline) {
    Kdamond before = typical_reclaim(features_);
    before.contexts[0].schemes[0].filters = {{.type = FilterType::memcg, .memcg_path = "/a"}};
    ASSERT_EQ(sysfs_.apply(must_plan({before}, sysfs_.tree(), features_)), "ok");
    Kdamond after = before;
    after.contexts[0].schemes[0].filters = {{.type = FilterType::young}};
    ASSERT_EQ(sysfs_.apply(must_plan({after}, sysfs_.tree(), features_)), "ok");
    EXPECT_EQ(must_plan({after}, sysfs_.tree(), features_), Plan{});
}

TEST_P(PlanOnKernel, AddressesAbove32BitsArriveWhole) {
    ASSERT_EQ(sysfs_.apply(must_plan({typical_reclaim(features_)}, sysfs_.tree(), features_)),
              "ok");
    EXPECT_EQ(sysfs_.tree().at("kdamonds/0/contexts/0/targets/0/regions/1/end"), "6442450944\n");
}

TEST(Plan, NamesTheFeatureTheFirstKernelAndTheReplacementWhenItIsMissing) {
    const Captured& kernel = captured("6.12");
    const Features features = features_of(kernel);
    Kdamond desired = typical_reclaim(features);
    desired.contexts[0].schemes[0].quota.goal_tuner = GoalTuner::temporal;
    const Result<Plan> result = plan({desired}, SimulatedTree(kernel).tree(), features);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(
        result.error(),
        (Error{ErrorCode::unsupported,
               "kdamonds/0/contexts/0/schemes/0/quotas/goal_tuner: this kernel has no "
               "goal_tuner (since Linux 7.1); without it, the engine's own loop sets bytes"}));
}

TEST(Plan, NamesAMissingMetricActionAndFilterType) {
    const Captured& kernel = captured("6.12");
    const Features features = features_of(kernel);
    const auto message = [&](auto change) {
        Kdamond desired = typical_reclaim(features);
        change(desired.contexts[0].schemes[0]);
        const Result<Plan> result = plan({desired}, SimulatedTree(kernel).tree(), features);
        return result.ok() ? std::string() : result.error().message;
    };
    EXPECT_NE(message([](Scheme& scheme) {
                  scheme.quota.goals = {{.metric = GoalMetric::node_mem_free_bp}};
              }).find("no metrics node_mem_used_bp and node_mem_free_bp (since Linux 6.16)"),
              std::string::npos);
    EXPECT_NE(message([](Scheme& scheme) {
                  scheme.action = Action::collapse;
              }).find("no action collapse (since Linux 7.2)"),
              std::string::npos);
    EXPECT_NE(message([](Scheme& scheme) {
                  scheme.filters = {{.type = FilterType::unmapped}};
              }).find("no filter type unmapped (since Linux 6.15)"),
              std::string::npos);
}

TEST(Plan, WritesOnlyWhatDiffersFromTheDefaultsIntoANewTree) {
    const Captured& kernel = captured("7.3");
    const Plan writes = must_plan({Kdamond{.contexts = {Context{}}}}, SimulatedTree(kernel).tree(),
                                  features_of(kernel));
    EXPECT_EQ(writes,
              (Plan{{"kdamonds/nr_kdamonds", "1"}, {"kdamonds/0/contexts/nr_contexts", "1"}}));
}

TEST(StateWrite, UsesTheKernelsWords) {
    EXPECT_EQ(state_write(3, StateCommand::update_schemes_tried_bytes),
              (Write{"kdamonds/3/state", "update_schemes_tried_bytes"}));
}

}  // namespace acma::damon::test
