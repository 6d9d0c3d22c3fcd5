// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/validate.h"

#include <functional>

#include <gtest/gtest.h>

#include "engine/damon/reclaim.h"
#include "tests/unit/damon/captured.h"

namespace acma::damon::test {

namespace {

const Features k_all = Features::all();

Kdamond good() {
    ReclaimSettings settings;
    settings.bytes = 10_MiB;
    return reclaim_kdamond({{Address(0x100000), Address(0x40000000)}}, Intervals{}, settings);
}

std::string problem_with(const std::function<void(Kdamond&)>& change,
                         const Features& features = k_all) {
    Kdamond kdamond = good();
    change(kdamond);
    const Status status = validate({kdamond}, features);
    if (status) {
        return "";
    }
    EXPECT_EQ(status.error().code, ErrorCode::invalid);
    return status.error().message;
}
std::string problem_with_context(const std::function<void(Context&)>& change,
                                 const Features& features = k_all) {
    std::string text =
        problem_with([&](Kdamond& kdamond) { change(kdamond.contexts[0]); }, features);
    constexpr std::string_view k_prefix = "kdamonds/0/contexts/0/";
    return text.starts_with(k_prefix) ? text.substr(k_prefix.size()) : text;
}
std::string problem_with_scheme(const std::function<void(Scheme&)>& change,
                                const Features& features = k_all) {
    std::string text =
        problem_with_context([&](Context& context) { change(context.schemes[0]); }, features);
    constexpr std::string_view k_prefix = "schemes/0/";
    return text.starts_with(k_prefix) ? text.substr(k_prefix.size()) : text;
}

}  // namespace

TEST(Validate, AcceptsATypicalReclaimSchemeOnEveryKernel) {
    for (const std::string& series : all_series()) {
        const Features features = features_of(captured(series));
        const Kdamond kdamond = reclaim_kdamond({{Address(0x100000), Address(0x40000000)}},
                                                Intervals{}, ReclaimSettings{});
        EXPECT_TRUE(validate({kdamond}, features).ok());
    }
    EXPECT_TRUE(validate({}, k_all).ok());
}

TEST(Validate, NamesThePathTheValueAndTheReason) {
    EXPECT_EQ(problem_with([](Kdamond& k) { k.contexts[0].attrs.nr_regions.min = 2; }),
              "kdamonds/0/contexts/0/monitoring_attrs/nr_regions/min is 2; DAMON needs at least 3");
}

TEST(Validate, AKdamondRunsExactlyOneContext) {
    EXPECT_EQ(problem_with([](Kdamond& k) { k.contexts.clear(); }),
              "kdamonds/0/contexts/nr_contexts is 0; a kdamond runs exactly one");
    EXPECT_EQ(problem_with([](Kdamond& k) { k.refresh = Millis(-1); }),
              "kdamonds/0/refresh_ms is -1; it must be 0 to 4294967295");
}

TEST(Validate, RegionsHaveBounds) {
    EXPECT_EQ(problem_with_context([](Context& c) {
                  c.attrs.nr_regions = {10, 9};
              }),
              "monitoring_attrs/nr_regions/min is 10; above nr_regions/max (9)");
}

TEST(Validate, IntervalsFitIntoEachOther) {
    const auto problem = [](Micros sample, Micros aggr, Micros update = Micros(60'000'000)) {
        return problem_with_context([&](Context& c) {
            c.attrs.intervals.sample = sample;
            c.attrs.intervals.aggr = aggr;
            c.attrs.intervals.update = update;
        });
    };
    const std::string dir = "monitoring_attrs/intervals/";
    EXPECT_EQ(problem(Micros(0), Micros(100'000)), dir + "sample_us is 0; it must be at least 1");
    EXPECT_EQ(problem(Micros(-5), Micros(100'000)), dir + "sample_us is -5; it must be at least 1");
    EXPECT_EQ(problem(Micros(200'000), Micros(100'000)),
              dir + "sample_us is 200000; above aggr_us (100000)");
    EXPECT_EQ(problem(Micros(3'000), Micros(100'000)),
              dir +
                  "aggr_us is 100000; not a multiple of sample_us (3000), so access rates would "
                  "be off");
    EXPECT_EQ(problem(Micros(1), Micros(5'000'000'000), Micros(5'000'000'000)),
              dir + "aggr_us is 5000000000; more than 2^32 samples");
    EXPECT_EQ(problem(Micros(5'000), Micros(100'000), Micros(1)),
              dir + "update_us is 1; below sample_us (5000)");
    EXPECT_EQ(problem(Micros(5'000), Micros(5'000)), "");
}

TEST(Validate, TheIntervalsGoalHoldsTheSamplingInterval) {
    const auto problem = [](const IntervalsGoal& goal) {
        return problem_with_context([&](Context& c) { c.attrs.intervals.goal = goal; });
    };
    const std::string dir = "monitoring_attrs/intervals/intervals_goal/";
    EXPECT_EQ(problem({4_bp * 100, 3, Micros(5'000), Micros(10'000'000)}), "");
    EXPECT_EQ(problem({0_bp, 3, Micros(5'000), Micros(10'000'000)}),
              dir + "access_bp is 0; it must be 1 to 10000");
    EXPECT_EQ(problem({400_bp, 3, Micros(9'000), Micros(8'000)}),
              dir + "min_sample_us is 9000; above max_sample_us (8000)");
    EXPECT_EQ(problem({400_bp, 3, Micros(6'000), Micros(8'000)}),
              dir +
                  "min_sample_us is 6000; sample_us (5000) must lie between it and max_sample_us "
                  "(8000)");
    EXPECT_EQ(problem({400_bp, 0, Micros(6'000), Micros(8'000)}), "") << "off";
}

TEST(Validate, ProbesAreFewAndTheirSumFits) {
    EXPECT_EQ(problem_with_context([](Context& c) { c.attrs.probes.resize(5); }),
              "monitoring_attrs/probes/nr_probes is 5; DAMON takes at most 4");
    EXPECT_NE(problem_with_context([](Context& c) {
                  c.attrs.probes.push_back({.weight = Weight(0xffffffff)});
              }).find("monitoring_attrs/probes: weights need"),
              std::string::npos);
    EXPECT_NE(problem_with_context([](Context& c) {
                  c.attrs.intervals.aggr = Micros(5'000 * 256);
                  c.attrs.probes.push_back({.weight = Weight(1)});
              }).find("at most 255 samples"),
              std::string::npos);
    EXPECT_NE(problem_with_context([](Context& c) {
                  c.attrs.probes.push_back({.filters = {{.type = ProbeFilterType::memcg}}});
              }).find("monitoring_attrs/probes/0/filters/0/path: ''"),
              std::string::npos);
    EXPECT_EQ(
        problem_with_context([](Context& c) { c.attrs.probes.push_back({.weight = Weight(1)}); }),
        "");
}

TEST(Validate, PaddrTakesOneTargetWithRegions) {
    EXPECT_EQ(problem_with_context([](Context& c) { c.targets.push_back(c.targets[0]); }),
              "targets/nr_targets is 2; paddr takes exactly one target");
    EXPECT_EQ(problem_with_context([](Context& c) { c.targets.clear(); }),
              "targets/nr_targets is 0; paddr takes exactly one target");
    EXPECT_EQ(problem_with_context([](Context& c) { c.targets[0].regions.clear(); }),
              "targets/0/regions/nr_regions is 0; paddr monitors nothing without regions");
}

TEST(Validate, VaddrTakesProcesses) {
    const auto problem = [](int pid) {
        return problem_with_context([pid](Context& c) {
            c.operations = Operations::vaddr;
            c.targets = {{.pid = pid}};
        });
    };
    EXPECT_EQ(problem(17), "");
    EXPECT_EQ(problem(0), "targets/0/pid_target is 0; it must be the pid of a process");
    EXPECT_EQ(problem_with_context([](Context& c) {
                  c.operations = Operations::vaddr;
                  c.targets.clear();
              }),
              "targets/nr_targets is 0; nothing would be monitored");
}

TEST(Validate, RegionsAreSortedAndDoNotOverlapAlsoWhenAligned) {
    const auto problem = [](std::vector<Region> regions) {
        return problem_with_context([&](Context& c) { c.targets[0].regions = regions; });
    };
    EXPECT_EQ(problem({{Address(8192), Address(8192)}}),
              "targets/0/regions/0/end is 8192; not above start (8192)");
    EXPECT_EQ(problem({{Address(8192), Address(4096)}}),
              "targets/0/regions/0/end is 4096; not above start (8192)");
    const std::string overlap =
        "; regions must be sorted and must not overlap, also when aligned to 4096; the one before "
        "ends at ";
    EXPECT_EQ(problem({{Address(8192), Address(16384)}, {Address(12288), Address(20480)}}),
              "targets/0/regions/1/start is 12288" + overlap + "16384");
    EXPECT_EQ(problem({{Address(8192), Address(16384)}, {Address(0), Address(4096)}}),
              "targets/0/regions/1/start is 0" + overlap + "16384");
    EXPECT_EQ(problem({{Address(8192), Address(12289)}, {Address(12290), Address(20480)}}),
              "targets/0/regions/1/start is 12290" + overlap + "12289");
    EXPECT_EQ(problem({{Address(8192), Address(12288)}, {Address(12288), Address(20480)}}), "");
    EXPECT_EQ(problem({{Address(0), Address::max()}}), "");
}

TEST(Validate, AddrUnitIsAPowerOfTwo) {
    for (const uint64_t unit : {0U, 3U}) {
        EXPECT_EQ(problem_with_context([unit](Context& c) { c.addr_unit = unit; }),
                  "addr_unit is " + std::to_string(unit) + "; it must be a power of two");
    }
    EXPECT_EQ(problem_with_context([](Context& c) { c.addr_unit = 4096; }), "");
}

TEST(Validate, AccessPatternsCanMatch) {
    const auto problem = [](const std::function<void(AccessPattern&)>& change) {
        return problem_with_scheme([&](Scheme& s) { change(s.pattern); });
    };
    EXPECT_EQ(problem([](AccessPattern& p) { p = AccessPattern{}; }),
              "access_pattern/sz/max is 0; no region is that small, so nothing can match (the "
              "kernel's default)");
    EXPECT_EQ(problem([](AccessPattern& p) {
                  p.sz = {Bytes(8192), Bytes(4096)};
              }),
              "access_pattern/sz/min is 8192; above max (4096), so nothing can match");
    EXPECT_EQ(problem([](AccessPattern& p) {
                  p.age = {AggrIntervals(5), AggrIntervals(0)};
              }),
              "access_pattern/age/min is 5; above max (0), so nothing can match");
    EXPECT_EQ(problem([](AccessPattern& p) {
                  p.nr_accesses = {SampleCount(2), SampleCount(1)};
              }),
              "access_pattern/nr_accesses/min is 2; above max (1), so nothing can match");
    EXPECT_EQ(problem([](AccessPattern& p) {
                  p.nr_accesses = {SampleCount(21), SampleCount(30)};
              }),
              "access_pattern/nr_accesses/min is 21; an aggregation has only 20 samples");
    EXPECT_EQ(problem([](AccessPattern& p) {
                  p.nr_accesses = {SampleCount(20), SampleCount(30)};
              }),
              "");
}

TEST(Validate, CountsFitIntoTheKernels32Bits) {
    const auto problem = [](uint64_t max) {
        return problem_with_scheme([max](Scheme& s) { s.pattern.age.max = AggrIntervals(max); });
    };
    EXPECT_EQ(problem(0x1'0000'0000),
              "access_pattern/age/max is 4294967296; the kernel keeps only 32 bits; for no limit "
              "use 18446744073709551615");
    EXPECT_EQ(problem(0xffff'ffff), "");
    EXPECT_EQ(problem(AggrIntervals::max().count()), "");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) {
                  s.pattern.age = {AggrIntervals(0x1'0000'0000), AggrIntervals::max()};
              }),
              "access_pattern/age/min is 4294967296; the kernel keeps only 32 bits");
}

TEST(Validate, ActionsDoSomethingWithTheirOperations) {
    const auto problem = [](Action action, Operations operations, const Features& features) {
        return problem_with_context(
            [&](Context& c) {
                c.operations = operations;
                c.targets[0].pid = 1;
                c.schemes[0].action = action;
                c.schemes[0].target_nid = NodeId(0);
            },
            features);
    };
    EXPECT_EQ(problem(Action::willneed, Operations::paddr, k_all),
              "schemes/0/action is willneed; it does nothing with paddr on this kernel");
    EXPECT_EQ(problem(Action::lru_prio, Operations::vaddr, k_all),
              "schemes/0/action is lru_prio; it does nothing with vaddr on this kernel");
    EXPECT_EQ(problem(Action::migrate_hot, Operations::vaddr, Features{}),
              "schemes/0/action is migrate_hot; it does nothing with vaddr on this kernel");
    EXPECT_EQ(problem(Action::migrate_hot, Operations::vaddr, k_all), "");
    EXPECT_EQ(problem(Action::migrate_cold, Operations::paddr, Features{}), "");
    EXPECT_EQ(problem(Action::hugepage, Operations::vaddr, Features{}), "");
    EXPECT_EQ(problem(Action::lru_deprio, Operations::paddr, Features{}), "");
}

TEST(Validate, MigrationsHaveANodeToGoTo) {
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.action = Action::migrate_cold; }),
              "target_nid is -1; a migration needs a node to go to");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.dests.resize(2); }),
              "dests/nr_dests is 2; only migrate_hot and migrate_cold of vaddr look at it");
    const auto problem_with_dest = [](const Dest& dest) {
        return problem_with_context([&](Context& c) {
            c.operations = Operations::vaddr;
            c.targets[0].pid = 1;
            c.schemes[0].action = Action::migrate_hot;
            c.schemes[0].dests = {dest};
        });
    };
    EXPECT_EQ(problem_with_dest({NodeId(1), Weight(3)}), "");
    EXPECT_EQ(problem_with_dest({k_no_node, Weight(3)}),
              "schemes/0/dests/0/id is -1; it must be the number of a node");
    EXPECT_EQ(problem_with_dest({NodeId(1), Weight(0x1'0000'0000)}),
              "schemes/0/dests/0/weight is 4294967296; the kernel keeps only 32 bits");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.apply_interval = Micros(-1); }),
              "apply_interval_us is -1; it must not be negative");
}

TEST(Validate, QuotasHaveAWindowAndGoalsATarget) {
    EXPECT_EQ(problem_with_scheme([](Scheme& s) {
                  s.quota.time = Millis(5);
                  s.quota.reset_interval = Millis(0);
              }),
              "quotas/reset_interval_ms is 0; this limit needs the time in which it holds");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.quota.reset_interval = Millis(0); }), "");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.quota.time = Millis(-1); }),
              "quotas/ms is -1; it must not be negative");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.quota.goals.emplace_back(); }),
              "quotas/goals/0/target_value is 0; the kernel drops such a goal silently");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) {
                  s.quota.goals = {{.metric = GoalMetric::some_mem_psi_us, .target_value = 50'001}};
              }),
              "quotas/goals/0/target_value is 50001; more stall than reset_interval_ms has "
              "microseconds (50000)");
    EXPECT_EQ(
        problem_with_scheme([](Scheme& s) {
            s.quota.goals = {{.metric = GoalMetric::node_mem_free_bp, .target_value = 10'001}};
        }),
        "quotas/goals/0/target_value is 10001; basis points end at 10000");
    EXPECT_EQ(
        problem_with_scheme([](Scheme& s) {
            s.quota.goals = {
                {.metric = GoalMetric::node_mem_free_bp, .target_value = 50, .nid = k_no_node}};
        }),
        "quotas/goals/0/nid is -1; the metric is one of a NUMA node");
    EXPECT_NE(problem_with_scheme([](Scheme& s) {
                  s.quota.goals = {{.metric = GoalMetric::node_memcg_used_bp, .target_value = 50}};
              }).find("quotas/goals/0/path: '' is not the path"),
              std::string::npos);
    EXPECT_EQ(problem_with_context([](Context& c) {
                  c.operations = Operations::vaddr;
                  c.targets[0].pid = 1;
                  c.schemes[0].quota.goals = {
                      {.metric = GoalMetric::node_eligible_mem_bp, .target_value = 50}};
              }),
              "schemes/0/quotas/goals/0/target_metric is node_eligible_mem_bp; only paddr has it");
}

TEST(Validate, WeightsArePermilAndOfALimitedScheme) {
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.quota.weights.age = Permil(1001); }),
              "quotas/weights/age_permil is 1001; permil end at 1000");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) {
                  s.quota = {};
                  s.quota.weights.age = Permil(1);
              }),
              "quotas/weights: they only order what a limit (bytes, ms or a goal) leaves out");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.quota = {}; }), "");
    EXPECT_EQ(problem_with_scheme([](Scheme& s) { s.quota.fail_charge_num = 1; }),
              "quotas/fail_charge_denom is 0; fail_charge_num (1) has no effect");
}

TEST(Validate, WatermarksAreInOrder) {
    const auto problem = [](const Watermarks& marks) {
        return problem_with_scheme([&](Scheme& s) { s.watermarks = marks; });
    };
    const WatermarkMetric rate = WatermarkMetric::free_mem_rate;
    const Micros interval(5'000'000);
    EXPECT_EQ(problem({rate, interval, Permil(500), Permil(400), Permil(200)}), "");
    EXPECT_EQ(problem({rate, Micros(0), Permil(500), Permil(400), Permil(200)}),
              "watermarks/interval_us is 0; the metric would never be looked at");
    EXPECT_EQ(problem({rate, interval, Permil(1001), Permil(400), Permil(200)}),
              "watermarks/high is 1001; permil end at 1000");
    EXPECT_EQ(problem({rate, interval, Permil(500), Permil(501), Permil(200)}),
              "watermarks/mid is 501; above high (500)");
    EXPECT_EQ(problem({rate, interval, Permil(500), Permil(400), Permil(401)}),
              "watermarks/low is 401; above mid (400)");
}

TEST(Validate, FiltersSayWhatTheyFilter) {
    const auto problem = [](const Filter& filter) {
        return problem_with_scheme([&](Scheme& s) { s.filters = {filter}; });
    };
    EXPECT_EQ(problem({.type = FilterType::memcg, .memcg_path = "machine"}),
              "filters/0/memcg_path: 'machine' is not the path of a memory cgroup below the cgroup "
              "mount point, such as /machine.slice");
    EXPECT_NE(problem({.type = FilterType::memcg, .memcg_path = "/a\n"}), "");
    EXPECT_EQ(problem({.type = FilterType::memcg, .memcg_path = "/a"}), "");
    EXPECT_EQ(problem({.type = FilterType::addr, .addr_start = Address(5), .addr_end = Address(5)}),
              "filters/0/addr_end is 5; not above addr_start (5)");
    EXPECT_EQ(problem({.type = FilterType::target, .target_idx = 1}),
              "filters/0/damon_target_idx is 1; there are 1 targets");
    EXPECT_EQ(problem({.type = FilterType::target, .target_idx = -1}),
              "filters/0/damon_target_idx is -1; there are 1 targets");
    EXPECT_EQ(problem({.type = FilterType::hugepage_size, .sz_min = Bytes(2), .sz_max = Bytes(1)}),
              "filters/0/min is 2; above max (1)");
    EXPECT_EQ(problem({.type = FilterType::young}), "");
}

}  // namespace acma::damon::test
