// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/validate.h"

#include <limits>
#include <optional>

#include "engine/damon/text.h"

namespace acma::damon {

namespace {

constexpr uint32_t k_32_bits = std::numeric_limits<uint32_t>::max();

// Problems are found bottom up: a check names its file, every caller puts its directory in front.
using Problem = std::optional<std::string>;

template <typename T>
std::string problem(std::string_view file, const T& value, std::string_view why) {
    return std::string(file) + " is " + to_text(value) + "; " + std::string(why);
}
std::string problem(std::string_view what, std::string_view why) {
    return std::string(what) + ": " + std::string(why);
}

Problem under(std::string_view dir, Problem found) {
    if (found) {
        found->insert(0, std::string(dir) + "/");
    }
    return found;
}

template <typename T, typename Check>
Problem each(std::string_view dir, const std::vector<T>& children, const Check& check) {
    for (size_t i = 0; i < children.size(); i++) {
        if (Problem found = check(children[i])) {
            return under(std::string(dir) + "/" + std::to_string(i), std::move(found));
        }
    }
    return {};
}

// The kernel keeps whatever bytes it gets, and no cgroup has a newline at the end of its name.
Problem check_memcg_path(std::string_view file, const std::string& path) {
    if (!path.starts_with('/') || path.find('\n') != std::string::npos) {
        return problem(file, "'" + path.substr(0, 64) +
                                 "' is not the path of a memory cgroup below the cgroup mount "
                                 "point, such as /machine.slice");
    }
    return {};
}

Problem check_goal(const IntervalsGoal& goal, Micros sample) {
    if (goal.aggrs == 0) {
        return {};
    }
    if (goal.access.count() == 0 || goal.access > k_full_bp) {
        return problem("access_bp", goal.access, "it must be 1 to 10000");
    }
    if (goal.min_sample > goal.max_sample) {
        return problem("min_sample_us", goal.min_sample,
                       "above max_sample_us (" + to_text(goal.max_sample) + ")");
    }
    if (sample < goal.min_sample || sample > goal.max_sample) {
        return problem("min_sample_us", goal.min_sample,
                       "sample_us (" + to_text(sample) +
                           ") must lie between it and max_sample_us (" + to_text(goal.max_sample) +
                           ")");
    }
    return {};
}

Problem check_intervals(const Intervals& intervals) {
    // 6.12 divides by it (damon_max_nr_accesses).
    if (intervals.sample < Micros(1)) {
        return problem("sample_us", intervals.sample, "it must be at least 1");
    }
    if (intervals.sample > intervals.aggr) {
        return problem("sample_us", intervals.sample,
                       "above aggr_us (" + to_text(intervals.aggr) + ")");
    }
    if (intervals.aggr % intervals.sample != Micros(0)) {
        return problem("aggr_us", intervals.aggr,
                       "not a multiple of sample_us (" + to_text(intervals.sample) +
                           "), so access rates would be off");
    }
    if (intervals.aggr / intervals.sample > k_32_bits) {
        return problem("aggr_us", intervals.aggr, "more than 2^32 samples");
    }
    if (intervals.update < intervals.sample) {
        return problem("update_us", intervals.update,
                       "below sample_us (" + to_text(intervals.sample) + ")");
    }
    return under("intervals_goal", check_goal(intervals.goal, intervals.sample));
}

Problem check_probes(const MonitoringAttrs& attrs) {
    constexpr size_t k_max_probes = 4;  // DAMON_MAX_PROBES
    if (attrs.probes.size() > k_max_probes) {
        return problem("probes/nr_probes", attrs.probes.size(), "DAMON takes at most 4");
    }
    uint64_t sum = 0;
    for (const Probe& probe : attrs.probes) {
        sum += probe.weight.count();
    }
    const auto samples = static_cast<uint64_t>(attrs.intervals.aggr / attrs.intervals.sample);
    // damon_valid_probe_params(): hits are counted in a byte, their weighted sum in 32 bits.
    if (sum > 0 && (samples > std::numeric_limits<uint8_t>::max() || sum > k_32_bits / samples)) {
        return problem("probes",
                       "weights need at most 255 samples an aggregation, and their sum "
                       "times the samples must stay below 2^32");
    }
    return each("probes", attrs.probes, [](const Probe& probe) {
        return each("filters", probe.filters, [](const ProbeFilter& filter) {
            return filter.type == ProbeFilterType::memcg ? check_memcg_path("path", filter.path)
                                                         : Problem{};
        });
    });
}

Problem check_attrs(const MonitoringAttrs& attrs) {
    if (Problem found = under("intervals", check_intervals(attrs.intervals))) {
        return found;
    }
    constexpr uint64_t k_least = 3;  // damon_set_attrs()
    if (attrs.nr_regions.min < k_least) {
        return problem("nr_regions/min", attrs.nr_regions.min, "DAMON needs at least 3");
    }
    if (attrs.nr_regions.min > attrs.nr_regions.max) {
        return problem("nr_regions/min", attrs.nr_regions.min,
                       "above nr_regions/max (" + to_text(attrs.nr_regions.max) + ")");
    }
    return check_probes(attrs);
}

// In units of addr_unit, which only paddr respects.
uint64_t min_region(const Context& context) {
    const bool scaled = context.operations == Operations::paddr && context.addr_unit > 0;
    const uint64_t size = k_min_region.count() / (scaled ? context.addr_unit : 1);
    return size > 0 ? size : 1;
}

Problem check_regions(const std::vector<Region>& regions, uint64_t alignment) {
    uint64_t last_end = 0;
    for (size_t i = 0; i < regions.size(); i++) {
        const uint64_t start = regions[i].start.count();
        const uint64_t end = regions[i].end.count();
        const std::string dir = "regions/" + std::to_string(i);
        if (start >= end) {
            return under(dir, problem("end", end, "not above start (" + to_text(start) + ")"));
        }
        // The kernel aligns outwards (damon_set_regions), which can make neighbours overlap;
        // last_end is aligned, so aligning start down makes no difference.
        if (i > 0 && start < last_end) {
            return under(dir, problem("start", start,
                                      "regions must be sorted and must not overlap, also when "
                                      "aligned to " +
                                          to_text(alignment) + "; the one before ends at " +
                                          to_text(regions[i - 1].end)));
        }
        last_end = detail::add_saturating(end, alignment - 1);
        last_end -= last_end % alignment;
    }
    return {};
}

Problem check_targets(const Context& context) {
    const bool physical = context.operations == Operations::paddr;
    if (physical && context.targets.size() != 1) {
        return problem("targets/nr_targets", context.targets.size(),
                       "paddr takes exactly one target");
    }
    if (context.targets.empty()) {
        return problem("targets/nr_targets", context.targets.size(), "nothing would be monitored");
    }
    return each("targets", context.targets, [&](const Target& target) -> Problem {
        if (!physical && target.pid <= 0) {
            return problem("pid_target", target.pid, "it must be the pid of a process");
        }
        if (physical && target.regions.empty()) {
            return problem("regions/nr_regions", target.regions.size(),
                           "paddr monitors nothing without regions");
        }
        return check_regions(target.regions, min_region(context));
    });
}

template <typename T>
Problem check_order(std::string_view dir, const Range<T>& range) {
    if (range.min > range.max) {
        return problem(std::string(dir) + "/min", range.min,
                       "above max (" + to_text(range.max) + "), so nothing can match");
    }
    return {};
}

// The kernel keeps these in 32 bits and cuts the rest off.
template <typename T>
Problem check_32_bits(std::string_view dir, const Range<T>& range) {
    constexpr T k_limit(k_32_bits);
    if (range.min > k_limit) {
        return problem(std::string(dir) + "/min", range.min, "the kernel keeps only 32 bits");
    }
    if (range.max > k_limit && range.max != T::max()) {
        return problem(std::string(dir) + "/max", range.max,
                       "the kernel keeps only 32 bits; for no limit use " + to_text(T::max()));
    }
    return {};
}

Problem check_pattern(const AccessPattern& pattern, const Context& context) {
    for (const Problem& found :
         {check_order("sz", pattern.sz), check_order("nr_accesses", pattern.nr_accesses),
          check_order("age", pattern.age), check_32_bits("nr_accesses", pattern.nr_accesses),
          check_32_bits("age", pattern.age)}) {
        if (found) {
            return found;
        }
    }
    if (pattern.sz.max.count() < min_region(context)) {
        return problem("sz/max", pattern.sz.max,
                       "no region is that small, so nothing can match (the kernel's default)");
    }
    const Intervals& intervals = context.attrs.intervals;
    const auto most = static_cast<uint64_t>(intervals.aggr / intervals.sample);
    if (pattern.nr_accesses.min.count() > most) {
        return problem("nr_accesses/min", pattern.nr_accesses.min,
                       "an aggregation has only " + to_text(most) + " samples");
    }
    return {};
}

bool is_node_metric(GoalMetric metric) {
    switch (metric) {
        case GoalMetric::node_mem_used_bp:
        case GoalMetric::node_mem_free_bp:
        case GoalMetric::node_memcg_used_bp:
        case GoalMetric::node_memcg_free_bp:
        case GoalMetric::node_eligible_mem_bp:
            return true;
        case GoalMetric::user_input:
        case GoalMetric::some_mem_psi_us:
        case GoalMetric::active_mem_bp:
        case GoalMetric::inactive_mem_bp:
            return false;
    }
    return false;
}

bool is_share(GoalMetric metric) {
    return metric != GoalMetric::user_input && metric != GoalMetric::some_mem_psi_us;
}

Problem check_goal(const QuotaGoal& goal, const Quota& quota, const Context& context) {
    if (goal.target_value == 0) {
        return problem("target_value", goal.target_value, "the kernel drops such a goal silently");
    }
    if (is_share(goal.metric) && goal.target_value > k_full_bp.count()) {
        return problem("target_value", goal.target_value, "basis points end at 10000");
    }
    const auto window = static_cast<uint64_t>(Micros(quota.reset_interval).count());
    if (goal.metric == GoalMetric::some_mem_psi_us && goal.target_value > window) {
        return problem(
            "target_value", goal.target_value,
            "more stall than reset_interval_ms has microseconds (" + to_text(window) + ")");
    }
    if (is_node_metric(goal.metric) && static_cast<int>(goal.nid) < 0) {
        return problem("nid", goal.nid, "the metric is one of a NUMA node");
    }
    if (goal.metric == GoalMetric::node_memcg_used_bp ||
        goal.metric == GoalMetric::node_memcg_free_bp) {
        return check_memcg_path("path", goal.path);
    }
    if (goal.metric == GoalMetric::node_eligible_mem_bp &&
        context.operations != Operations::paddr) {
        return problem("target_metric", goal.metric, "only paddr has it");
    }
    return {};
}

Problem check_weight(std::string_view file, Permil weight) {
    constexpr Permil k_whole(1000);
    return weight > k_whole ? problem(file, weight, "permil end at 1000") : Problem{};
}

Problem check_quota(const Quota& quota, const Context& context) {
    if (quota.time < Millis(0)) {
        return problem("ms", quota.time, "it must not be negative");
    }
    // Without a window every apply step has the whole quota: useful for bytes, not for a share of
    // time or a goal, which is looked at once a window.
    const bool needs_window = quota.time != Millis(0) || !quota.goals.empty();
    if (quota.reset_interval < Millis(0) || (needs_window && quota.reset_interval == Millis(0))) {
        return problem("reset_interval_ms", quota.reset_interval,
                       "this limit needs the time in which it holds");
    }
    const QuotaWeights& weights = quota.weights;
    for (const Problem& found : {check_weight("weights/sz_permil", weights.sz),
                                 check_weight("weights/nr_accesses_permil", weights.nr_accesses),
                                 check_weight("weights/age_permil", weights.age)}) {
        if (found) {
            return found;
        }
    }
    const bool limited = needs_window || quota.bytes != Bytes(0);
    if (!limited && weights != QuotaWeights{}) {
        return problem("weights", "they only order what a limit (bytes, ms or a goal) leaves out");
    }
    if (quota.fail_charge_num != 0 && quota.fail_charge_denom == 0) {
        return problem("fail_charge_denom", quota.fail_charge_denom,
                       "fail_charge_num (" + to_text(quota.fail_charge_num) + ") has no effect");
    }
    return each("goals", quota.goals,
                [&](const QuotaGoal& goal) { return check_goal(goal, quota, context); });
}

Problem check_watermarks(const Watermarks& marks) {
    if (marks.metric == WatermarkMetric::none) {
        return {};
    }
    if (marks.interval <= Micros(0)) {
        return problem("interval_us", marks.interval, "the metric would never be looked at");
    }
    if (Problem found = check_weight("high", marks.high)) {
        return found;
    }
    if (marks.mid > marks.high) {
        return problem("mid", marks.mid, "above high (" + to_text(marks.high) + ")");
    }
    if (marks.low > marks.mid) {
        return problem("low", marks.low, "above mid (" + to_text(marks.mid) + ")");
    }
    return {};
}

Problem check_filter(const Filter& filter, const Context& context) {
    switch (filter.type) {
        case FilterType::memcg:
            return check_memcg_path("memcg_path", filter.memcg_path);
        case FilterType::addr:
            if (filter.addr_start >= filter.addr_end) {
                return problem("addr_end", filter.addr_end,
                               "not above addr_start (" + to_text(filter.addr_start) + ")");
            }
            return {};
        case FilterType::target:
            if (filter.target_idx < 0 ||
                static_cast<size_t>(filter.target_idx) >= context.targets.size()) {
                return problem("damon_target_idx", filter.target_idx,
                               "there are " + to_text(context.targets.size()) + " targets");
            }
            return {};
        case FilterType::hugepage_size:
            if (filter.sz_min > filter.sz_max) {
                return problem("min", filter.sz_min, "above max (" + to_text(filter.sz_max) + ")");
            }
            return {};
        case FilterType::anon:
        case FilterType::active:
        case FilterType::young:
        case FilterType::unmapped:
            return {};
    }
    return {};
}

bool is_migration(Action action) {
    return action == Action::migrate_hot || action == Action::migrate_cold;
}

// The kernel takes every word for every operations set, and some then do nothing.
bool does_something(Action action, Operations operations, const Features& features) {
    switch (action) {
        case Action::stat:
        case Action::pageout:
            return true;
        case Action::lru_prio:
        case Action::lru_deprio:
            return operations == Operations::paddr;
        case Action::migrate_hot:
        case Action::migrate_cold:
            // vaddr learnt it together with dests (6.17).
            return operations == Operations::paddr || features.has(Feature::dests);
        case Action::willneed:
        case Action::cold:
        case Action::hugepage:
        case Action::nohugepage:
        case Action::collapse:
            return operations != Operations::paddr;
    }
    return false;
}

Problem check_action(const Scheme& scheme, const Context& context, const Features& features) {
    if (!does_something(scheme.action, context.operations, features)) {
        return problem("action", scheme.action,
                       "it does nothing with " + to_text(context.operations) + " on this kernel");
    }
    if (!scheme.dests.empty() &&
        (!is_migration(scheme.action) || context.operations == Operations::paddr)) {
        return problem("dests/nr_dests", scheme.dests.size(),
                       "only migrate_hot and migrate_cold of vaddr look at it");
    }
    for (size_t i = 0; i < scheme.dests.size(); i++) {
        const Dest& dest = scheme.dests[i];
        const std::string dir = "dests/" + std::to_string(i);
        if (static_cast<int>(dest.id) < 0) {
            return under(dir, problem("id", dest.id, "it must be the number of a node"));
        }
        if (dest.weight.count() > k_32_bits) {
            return under(dir, problem("weight", dest.weight, "the kernel keeps only 32 bits"));
        }
    }
    if (is_migration(scheme.action) && scheme.dests.empty() &&
        static_cast<int>(scheme.target_nid) < 0) {
        return problem("target_nid", scheme.target_nid, "a migration needs a node to go to");
    }
    if (scheme.apply_interval < Micros(0)) {
        return problem("apply_interval_us", scheme.apply_interval, "it must not be negative");
    }
    return {};
}

Problem check_scheme(const Scheme& scheme, const Context& context, const Features& features) {
    if (Problem found = check_action(scheme, context, features)) {
        return found;
    }
    if (Problem found = under("access_pattern", check_pattern(scheme.pattern, context))) {
        return found;
    }
    if (Problem found = under("quotas", check_quota(scheme.quota, context))) {
        return found;
    }
    if (Problem found = under("watermarks", check_watermarks(scheme.watermarks))) {
        return found;
    }
    return each("filters", scheme.filters,
                [&context](const Filter& filter) { return check_filter(filter, context); });
}

Problem check_context(const Context& context, const Features& features) {
    const uint64_t unit = context.addr_unit;
    if (unit == 0 || (unit & (unit - 1)) != 0) {
        return problem("addr_unit", unit, "it must be a power of two");
    }
    if (Problem found = under("monitoring_attrs", check_attrs(context.attrs))) {
        return found;
    }
    if (Problem found = check_targets(context)) {
        return found;
    }
    return each("schemes", context.schemes,
                [&](const Scheme& scheme) { return check_scheme(scheme, context, features); });
}

Problem check_kdamond(const Kdamond& kdamond, const Features& features) {
    if (kdamond.refresh < Millis(0) || kdamond.refresh > Millis(k_32_bits)) {
        return problem("refresh_ms", kdamond.refresh, "it must be 0 to 4294967295");
    }
    if (kdamond.contexts.size() != 1) {
        return problem("contexts/nr_contexts", kdamond.contexts.size(),
                       "a kdamond runs exactly one");
    }
    return each("contexts", kdamond.contexts,
                [&features](const Context& context) { return check_context(context, features); });
}

}  // namespace

Status validate(const Kdamonds& desired, const Features& features) {
    Problem found = each("kdamonds", desired, [&features](const Kdamond& kdamond) {
        return check_kdamond(kdamond, features);
    });
    if (found) {
        return Error{ErrorCode::invalid, *std::move(found)};
    }
    return {};
}

}  // namespace acma::damon
