// SPDX-License-Identifier: Apache-2.0
// plan, apply and parse for any model, on each captured kernel.
#include <algorithm>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "engine/damon/features.h"
#include "engine/damon/ownership.h"
#include "engine/damon/tree.h"
#include "engine/damon/validate.h"
#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

namespace {

// Small numbers often, so that models share values, and the ends of the range.
rc::Gen<uint64_t> any_number() {
    return rc::gen::weightedOneOf<uint64_t>(
        {{6, rc::gen::inRange<uint64_t>(0, 5)},
         {2, rc::gen::arbitrary<uint64_t>()},
         {1, rc::gen::just(std::numeric_limits<uint64_t>::max())}});
}
uint64_t number() {
    return *any_number();
}
uint64_t below(uint64_t end) {
    return *rc::gen::inRange<uint64_t>(0, end);
}
bool flag() {
    return *rc::gen::arbitrary<bool>();
}
template <typename Duration>
Duration duration() {
    return Duration(static_cast<int64_t>(number() >> 1));
}
NodeId node() {
    return NodeId(static_cast<int>(below(4)) - 1);
}
std::string path() {
    return *rc::gen::element<std::string>("", "/", "/a", "/machine.slice/vm 1");
}
template <typename T>
Range<T> range() {
    return {T(number()), T(number())};
}
template <typename Make>
auto list(uint64_t most, Make make) {
    std::vector<decltype(make())> items;
    const uint64_t count = below(most + 1);
    for (uint64_t i = 0; i < count; i++) {
        items.push_back(make());
    }
    return items;
}

// A word that the kernel takes.
template <Worded E>
E word(const Features& features) {
    std::vector<E> values;
    for (const Word<E>& entry : Words<E>::k_table) {
        if constexpr (requires { needed_by(entry.value); }) {
            const std::optional<Feature> feature = needed_by(entry.value);
            if (feature && !features.has(*feature)) {
                continue;
            }
        }
        values.push_back(entry.value);
    }
    return *rc::gen::elementOf(values);
}

Filter filter(const Features& features) {
    Filter made;
    made.type = word<FilterType>(features);
    made.matching = flag();
    made.allow = features.has(Feature::filter_allow) && flag();
    made.memcg_path = path();
    made.addr_start = Address(number());
    made.addr_end = Address(number());
    made.target_idx = static_cast<int>(below(3));
    if (features.has(Feature::filter_hugepage_size)) {
        made.sz_min = Bytes(number());
        made.sz_max = Bytes(number());
    }
    return made;
}

QuotaGoal goal(const Features& features) {
    QuotaGoal made{
        .metric = word<GoalMetric>(features), .target_value = number(), .current_value = number()};
    if (features.has(Feature::goal_nid)) {
        made.nid = node();
    }
    if (features.has(Feature::goal_path)) {
        made.path = path();
    }
    return made;
}

Quota quota(const Features& features) {
    Quota made;
    made.time = duration<Millis>();
    made.bytes = Bytes(number());
    made.reset_interval = duration<Millis>();
    made.weights = {Permil(below(1001)), Permil(below(1001)), Permil(below(1001))};
    made.goals = list(2, [&] { return goal(features); });
    if (features.has(Feature::goal_tuner)) {
        made.goal_tuner = word<GoalTuner>(features);
    }
    if (features.has(Feature::fail_charge)) {
        made.fail_charge_num = static_cast<uint32_t>(below(3));
        made.fail_charge_denom = static_cast<uint32_t>(below(3));
    }
    return made;
}

Scheme scheme(const Features& features) {
    Scheme made;
    made.action = word<Action>(features);
    made.target_nid = node();
    made.apply_interval = duration<Micros>();
    made.pattern = {range<Bytes>(), range<SampleCount>(), range<AggrIntervals>()};
    made.quota = quota(features);
    made.watermarks = {word<WatermarkMetric>(features), duration<Micros>(), Permil(number()),
                       Permil(number()), Permil(number())};
    made.filters = list(3, [&] { return filter(features); });
    if (features.has(Feature::dests)) {
        made.dests = list(2, [] {
            return Dest{NodeId(static_cast<int>(below(4))), Weight(below(1000))};
        });
    }
    if (features.has(Feature::max_nr_snapshots)) {
        made.stats.max_nr_snapshots = number();
    }
    return made;
}

Target target(const Features& features) {
    Target made;
    made.pid = static_cast<int>(below(3));
    made.regions = list(3, [] { return Region{Address(number()), Address(number())}; });
    made.obsolete = features.has(Feature::obsolete_target) && flag();
    return made;
}

Probe probe() {
    return {.weight = Weight(below(3)),
            .filters = list(2, [] {
                return ProbeFilter{flag() ? ProbeFilterType::anon : ProbeFilterType::memcg, path(),
                                   flag(), flag()};
            })};
}

Context context(const Features& features) {
    Context made;
    made.operations = word<Operations>(features);
    made.attrs.intervals.sample = duration<Micros>();
    made.attrs.intervals.aggr = duration<Micros>();
    made.attrs.intervals.update = duration<Micros>();
    made.attrs.nr_regions = {number(), number()};
    if (features.has(Feature::intervals_goal)) {
        made.attrs.intervals.goal = {BasisPoints(number()), number(), duration<Micros>(),
                                     duration<Micros>()};
    }
    if (features.has(Feature::probes)) {
        made.attrs.probes = list(2, probe);
    }
    if (features.has(Feature::addr_unit)) {
        made.addr_unit = 1 + below(4096);
        made.pause = flag();
    }
    made.targets = list(2, [&] { return target(features); });
    made.schemes = list(2, [&] { return scheme(features); });
    return made;
}

Kdamonds any_model(const Features& features) {
    return list(2, [&] {
        Kdamond made;
        made.contexts = list(1, [&] { return context(features); });
        if (features.has(Feature::refresh_ms)) {
            made.refresh = Millis(static_cast<int64_t>(below(5000)));
        }
        return made;
    });
}

// What parse() says of a model that was written: filters have a layer, core ones first.
Kdamonds as_parsed(Kdamonds model, const Features& features) {
    for (Kdamond& kdamond : model) {
        for (Context& each : kdamond.contexts) {
            for (Scheme& one : each.schemes) {
                const Result<FilterDirs> dirs = filter_dirs(one.filters, features);
                RC_ASSERT(dirs.ok());
                one.filters = dirs->core;
                one.filters.insert(one.filters.end(), dirs->ops.begin(), dirs->ops.end());
                one.filters.insert(one.filters.end(), dirs->both.begin(), dirs->both.end());
            }
        }
    }
    return model;
}

Plan must(const Result<Plan>& plan) {
    if (!plan) {
        RC_FAIL(plan.error().message);
    }
    return *plan;
}

// A model that differs from `model` in few places: what an update is like.
Kdamonds changed(Kdamonds model, const Features& features) {
    for (Kdamond& kdamond : model) {
        for (Context& each : kdamond.contexts) {
            if (flag()) {
                each.attrs.intervals.sample = duration<Micros>();
            }
            for (Scheme& one : each.schemes) {
                if (flag()) {
                    one.quota.bytes = Bytes(number());
                }
                if (flag()) {
                    one.filters = list(2, [&] { return filter(features); });
                }
                if (flag()) {
                    one.quota.goals = list(2, [&] { return goal(features); });
                }
            }
        }
    }
    return model;
}

bool is_count(const Write& write) {
    return write.path.substr(write.path.rfind('/') + 1).starts_with("nr_");
}

const Captured& any_kernel() {
    return captured(*rc::gen::elementOf(all_series()));
}

// What each kernel's features are does not change while the test runs.
const Features& features_of_cached(const Captured& kernel) {
    static std::map<std::string, Features> cache;
    const auto found = cache.find(kernel.release);
    return found != cache.end() ? found->second
                                : cache.emplace(kernel.release, features_of(kernel)).first->second;
}

}  // namespace

RC_GTEST_PROP(PlanProperty, AppliedToAnUntouchedTreeParsesBackToTheDesiredModel, ()) {
    const Captured& kernel = any_kernel();
    const Features& features = features_of_cached(kernel);
    const Kdamonds desired = any_model(features);
    SimulatedTree sysfs(kernel);
    RC_ASSERT(sysfs.apply(must(plan(desired, sysfs.tree(), features))) == "ok");
    RC_ASSERT(*parse(sysfs.tree()) == as_parsed(desired, features));
    RC_ASSERT(must(plan(desired, sysfs.tree(), features)).empty());
}

RC_GTEST_PROP(PlanProperty, LeadsFromAnyModelToAnyOther, ()) {
    const Captured& kernel = any_kernel();
    const Features& features = features_of_cached(kernel);
    const Kdamonds before = any_model(features);
    const Kdamonds after = flag() ? any_model(features) : changed(before, features);
    SimulatedTree sysfs(kernel);
    RC_ASSERT(sysfs.apply(must(plan(before, sysfs.tree(), features))) == "ok");
    const Plan update = must(plan_update(before, after, features));
    RC_ASSERT(update == must(plan(after, sysfs.tree(), features)));
    RC_ASSERT(sysfs.apply(update) == "ok");
    RC_ASSERT(*parse(sysfs.tree()) == as_parsed(after, features));
}

RC_GTEST_PROP(PlanProperty, HasNoWriteThatCouldBeLeftOut, ()) {
    const Captured& kernel = any_kernel();
    const Features& features = features_of_cached(kernel);
    Kdamonds before = {Kdamond{.contexts = {context(features)}}};
    before[0].contexts[0].schemes = {scheme(features)};
    const Kdamonds after = changed(before, features);
    SimulatedTree sysfs(kernel);
    RC_ASSERT(sysfs.apply(must(plan(before, sysfs.tree(), features))) == "ok");
    Plan update = must(plan_update(before, after, features));
    // Without an nr_* the writes below it may have nowhere to go, which is no news.
    const bool comparable = !update.empty() && std::ranges::none_of(update, is_count);
    RC_CLASSIFY(comparable);
    if (comparable) {
        update.erase(update.begin() + static_cast<std::ptrdiff_t>(below(update.size())));
        RC_ASSERT(sysfs.apply(update) == "ok");
        RC_ASSERT(*parse(sysfs.tree()) != as_parsed(after, features));
    }
}

// Hostile or broken trees: files gone, contents torn or replaced, counts that nothing backs.
RC_GTEST_PROP(ParseProperty, SurvivesAnyTreeAndWhatItReadsNeedsNoWrites, ()) {
    const Captured& kernel = any_kernel();
    Tree tree = kernel.tree;
    for (uint64_t changes = below(6); changes > 0; changes--) {
        auto file = tree.begin();
        std::advance(file, static_cast<std::ptrdiff_t>(below(tree.size())));
        switch (below(4)) {
            case 0:
                tree.erase(file);
                break;
            case 1:
                file->second = *rc::gen::arbitrary<std::string>();
                break;
            case 2:
                file->second = std::to_string(number());
                break;
            default:
                file->second = file->second.substr(0, below(file->second.size() + 1));
        }
    }
    const Result<Kdamonds> parsed = parse(tree);
    RC_CLASSIFY(parsed.ok());
    if (parsed) {
        RC_ASSERT(must(plan(*parsed, tree, Features::all())).empty());
        RC_ASSERT(decide_ownership(tree, {}, {}).ok());
    } else {
        RC_ASSERT(!parsed.error().message.empty());
    }
}

RC_GTEST_PROP(ValidateProperty, WhatItAcceptsTheKernelStarts, ()) {
    const Captured& kernel = any_kernel();
    const Features& features = features_of_cached(kernel);
    Kdamonds desired = {Kdamond{.contexts = {context(features)}}};
    Context& only = desired[0].contexts[0];
    // Random numbers are hardly ever valid together: keep those whose mix is of interest.
    only.addr_unit = 1;
    only.attrs.intervals = {};
    only.attrs.nr_regions = {2 + below(6), 4 + below(6)};
    only.attrs.probes.clear();
    for (Target& each : only.targets) {
        each.pid = 1;
        each.regions = list(3, [] { return Region{}; });
        uint64_t last = 0;
        for (Region& region : each.regions) {
            region.start = Address(last + below(3) * 4096);
            region.end = region.start + Address(below(3) * 4096 + below(2));
            last = region.end.count();
        }
    }
    for (Scheme& one : only.schemes) {
        one = {.action = Action::stat, .pattern = k_any_pattern, .filters = one.filters};
        for (Filter& each : one.filters) {
            each.addr_end = each.addr_start + Address(below(5));
            each.memcg_path = flag() ? "/a" : "";
            each.target_idx = 0;
            each.sz_max = each.sz_min;
        }
    }
    const bool accepted = validate(desired, features).ok();
    RC_CLASSIFY(accepted);
    SimulatedTree sysfs(kernel);
    RC_ASSERT(sysfs.apply(must(plan(desired, sysfs.tree(), features))) == "ok");
    const bool starts = sysfs.write(state_write(0, StateCommand::on)) == "ok";
    RC_ASSERT(!accepted || starts);
}

RC_GTEST_PROP(OwnershipProperty, NothingThatSomebodySetUpIsEverNobodys, ()) {
    const Captured& kernel = any_kernel();
    const Features& features = features_of_cached(kernel);
    const Kdamonds foreign = any_model(features);
    SimulatedTree sysfs(kernel);
    const Plan writes = must(plan(foreign, sysfs.tree(), features));
    RC_ASSERT(sysfs.apply(writes) == "ok");
    const bool touched = !std::ranges::all_of(writes, is_count);
    const Result<Ownership> ownership = decide_ownership(sysfs.tree(), {}, {});
    RC_ASSERT(ownership.ok());
    RC_ASSERT(ownership->claim == (touched ? Claim::foreign : Claim::none));
}

}  // namespace acma::damon::test
