// SPDX-License-Identifier: Apache-2.0
// The DAMON/DAMOS model: what the sysfs tree below /sys/kernel/mm/damon/admin says, as passive
// structs. A default-constructed struct equals a directory that the kernel has just created, so
// "what has to be written into a new directory" is "what differs from the default".
// Words, units and defaults are the kernel's (mm/damon/sysfs.c, mm/damon/sysfs-schemes.c).
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "engine/base/units.h"
#include "engine/damon/words.h"

namespace acma::damon {

// An address of the monitored space: physical for paddr (in units of addr_unit), virtual otherwise.
using Address = Quantity<struct AddressTag>;
using Weight = Quantity<struct WeightTag>;  // relative, no unit

enum class NodeId : int {};
constexpr NodeId k_no_node{-1};  // NUMA_NO_NODE

template <typename T>
struct Range {
    T min;
    T max;

    bool operator==(const Range&) const = default;
};
// What an access pattern needs to let everything through; the kernel's default is 0..0.
template <typename T>
constexpr Range<T> k_any{T{}, T::max()};

enum class Operations { vaddr, fvaddr, paddr };
template <>
struct Words<Operations> {
    static constexpr std::array<Word<Operations>, 3> k_table{{
        {Operations::vaddr, "vaddr"},
        {Operations::fvaddr, "fvaddr"},
        {Operations::paddr, "paddr"},
    }};
};

enum class Action {
    willneed,
    cold,
    pageout,
    hugepage,
    nohugepage,
    collapse,
    lru_prio,
    lru_deprio,
    migrate_hot,
    migrate_cold,
    stat,
};
template <>
struct Words<Action> {
    static constexpr std::array<Word<Action>, 11> k_table{{
        {Action::willneed, "willneed"},
        {Action::cold, "cold"},
        {Action::pageout, "pageout"},
        {Action::hugepage, "hugepage"},
        {Action::nohugepage, "nohugepage"},
        {Action::collapse, "collapse"},
        {Action::lru_prio, "lru_prio"},
        {Action::lru_deprio, "lru_deprio"},
        {Action::migrate_hot, "migrate_hot"},
        {Action::migrate_cold, "migrate_cold"},
        {Action::stat, "stat"},
    }};
};

enum class GoalMetric {
    user_input,
    some_mem_psi_us,
    node_mem_used_bp,
    node_mem_free_bp,
    node_memcg_used_bp,
    node_memcg_free_bp,
    active_mem_bp,
    inactive_mem_bp,
    node_eligible_mem_bp,
};
template <>
struct Words<GoalMetric> {
    static constexpr std::array<Word<GoalMetric>, 9> k_table{{
        {GoalMetric::user_input, "user_input"},
        {GoalMetric::some_mem_psi_us, "some_mem_psi_us"},
        {GoalMetric::node_mem_used_bp, "node_mem_used_bp"},
        {GoalMetric::node_mem_free_bp, "node_mem_free_bp"},
        {GoalMetric::node_memcg_used_bp, "node_memcg_used_bp"},
        {GoalMetric::node_memcg_free_bp, "node_memcg_free_bp"},
        {GoalMetric::active_mem_bp, "active_mem_bp"},
        {GoalMetric::inactive_mem_bp, "inactive_mem_bp"},
        {GoalMetric::node_eligible_mem_bp, "node_eligible_mem_bp"},
    }};
};

enum class GoalTuner {
    consist,   // steps toward the goal and stays there
    temporal,  // everything until the goal is met, then nothing
};
template <>
struct Words<GoalTuner> {
    static constexpr std::array<Word<GoalTuner>, 2> k_table{{
        {GoalTuner::consist, "consist"},
        {GoalTuner::temporal, "temporal"},
    }};
};

enum class WatermarkMetric { none, free_mem_rate };
template <>
struct Words<WatermarkMetric> {
    static constexpr std::array<Word<WatermarkMetric>, 2> k_table{{
        {WatermarkMetric::none, "none"},
        {WatermarkMetric::free_mem_rate, "free_mem_rate"},
    }};
};

enum class FilterType { anon, active, memcg, young, hugepage_size, unmapped, addr, target };
template <>
struct Words<FilterType> {
    static constexpr std::array<Word<FilterType>, 8> k_table{{
        {FilterType::anon, "anon"},
        {FilterType::active, "active"},
        {FilterType::memcg, "memcg"},
        {FilterType::young, "young"},
        {FilterType::hugepage_size, "hugepage_size"},
        {FilterType::unmapped, "unmapped"},
        {FilterType::addr, "addr"},
        {FilterType::target, "target"},
    }};
};

enum class ProbeFilterType { anon, memcg };
template <>
struct Words<ProbeFilterType> {
    static constexpr std::array<Word<ProbeFilterType>, 2> k_table{{
        {ProbeFilterType::anon, "anon"},
        {ProbeFilterType::memcg, "memcg"},
    }};
};

// What `state` reads as.
enum class State {
    unknown,  // could not be read: another program holds the DAMON sysfs lock (EBUSY)
    off,
    on,
};
template <>
struct Words<State> {
    static constexpr std::array<Word<State>, 3> k_table{{
        {State::unknown, ""},
        {State::off, "off"},
        {State::on, "on"},
    }};
};

// What can be written to `state`.
enum class StateCommand {
    on,
    off,
    commit,
    commit_schemes_quota_goals,
    update_schemes_stats,
    update_schemes_tried_bytes,
    update_schemes_tried_regions,
    clear_schemes_tried_regions,
    update_schemes_effective_quotas,
    update_tuned_intervals,
};
template <>
struct Words<StateCommand> {
    static constexpr std::array<Word<StateCommand>, 10> k_table{{
        {StateCommand::on, "on"},
        {StateCommand::off, "off"},
        {StateCommand::commit, "commit"},
        {StateCommand::commit_schemes_quota_goals, "commit_schemes_quota_goals"},
        {StateCommand::update_schemes_stats, "update_schemes_stats"},
        {StateCommand::update_schemes_tried_bytes, "update_schemes_tried_bytes"},
        {StateCommand::update_schemes_tried_regions, "update_schemes_tried_regions"},
        {StateCommand::clear_schemes_tried_regions, "clear_schemes_tried_regions"},
        {StateCommand::update_schemes_effective_quotas, "update_schemes_effective_quotas"},
        {StateCommand::update_tuned_intervals, "update_tuned_intervals"},
    }};
};

// The kernel tunes sample and aggr by itself so that `access` of the possible accesses is seen.
struct IntervalsGoal {
    BasisPoints access;
    uint64_t aggrs = 0;  // tune once per so many aggregations; 0 = off
    Micros min_sample{0};
    Micros max_sample{0};

    bool operator==(const IntervalsGoal&) const = default;
};

struct Intervals {
    Micros sample{5'000};
    Micros aggr{100'000};
    Micros update{60'000'000};
    IntervalsGoal goal;

    bool operator==(const Intervals&) const = default;
};

struct ProbeFilter {
    ProbeFilterType type = ProbeFilterType::anon;
    std::string path;  // memcg, below the cgroup mount point
    bool matching = false;
    bool allow = false;

    bool operator==(const ProbeFilter&) const = default;
};

// Counts sampled pages that pass the filters. Any non-zero weight turns access checks off.
struct Probe {
    Weight weight;
    std::vector<ProbeFilter> filters;

    bool operator==(const Probe&) const = default;
};

struct MonitoringAttrs {
    Intervals intervals;
    Range<uint64_t> nr_regions{10, 1000};
    std::vector<Probe> probes;

    bool operator==(const MonitoringAttrs&) const = default;
};

// [start, end)
struct Region {
    Address start;
    Address end;

    bool operator==(const Region&) const = default;
};

struct Target {
    int pid = 0;  // vaddr and fvaddr
    std::vector<Region> regions;
    bool obsolete = false;  // remove this target at the next commit

    bool operator==(const Target&) const = default;
};

struct AccessPattern {
    Range<Bytes> sz;
    Range<SampleCount> nr_accesses;  // samples of an aggregation interval
    Range<AggrIntervals> age;

    bool operator==(const AccessPattern&) const = default;
};
constexpr AccessPattern k_any_pattern{k_any<Bytes>, k_any<SampleCount>, k_any<AggrIntervals>};

struct QuotaGoal {
    GoalMetric metric = GoalMetric::user_input;
    uint64_t target_value = 0;   // in the metric's unit; 0 = the kernel drops the goal silently
    uint64_t current_value = 0;  // user_input only
    NodeId nid{0};
    std::string path;  // memcg of the node_memcg_* metrics

    bool operator==(const QuotaGoal&) const = default;
};

struct QuotaWeights {
    Permil sz;
    Permil nr_accesses;
    Permil age;

    bool operator==(const QuotaWeights&) const = default;
};

// NB: 0 means "no limit", for ms and for bytes alike. A scheme that must do nothing for a while
// gets k_no_bytes, never 0.
struct Quota {
    Millis time{0};
    Bytes bytes;
    Millis reset_interval{0};
    Bytes effective;  // read only; refreshed by update_schemes_effective_quotas
    QuotaWeights weights;
    std::vector<QuotaGoal> goals;
    GoalTuner goal_tuner = GoalTuner::consist;
    // Bytes on which the action failed are charged at num/denom; denom 0 = charged in full.
    uint32_t fail_charge_num = 0;
    uint32_t fail_charge_denom = 0;

    bool operator==(const Quota&) const = default;
};
// Less than DAMON_MIN_REGION (4096): the quota counts as full and the scheme applies to nothing.
constexpr Bytes k_no_bytes{1};

struct Watermarks {
    WatermarkMetric metric = WatermarkMetric::none;
    Micros interval{0};
    Permil high;
    Permil mid;
    Permil low;

    bool operator==(const Watermarks&) const = default;
};

// Which directory holds the filter. `automatic` lets the plan choose: by type where core_filters
// and ops_filters exist (since 6.15), `filters` elsewhere. parse() always names one.
enum class FilterLayer {
    automatic,
    core,  // core_filters/: addr, target
    ops,   // ops_filters/: page level
    both,  // filters/: the only one before 6.15, deprecated since
};

// Meaning (that of 7.3, also when it is expressed on 6.12): filters are tried in order, the first
// whose (memory is of `type`) == `matching` decides by `allow`; when none does, the opposite of the
// last one's `allow`. Core filters come before ops filters.
struct Filter {
    FilterType type = FilterType::anon;
    bool matching = false;
    bool allow = false;
    FilterLayer layer = FilterLayer::automatic;
    std::string memcg_path;
    Address addr_start;
    Address addr_end;
    int target_idx = 0;
    Bytes sz_min;  // hugepage_size
    Bytes sz_max;

    bool operator==(const Filter&) const = default;
};

// Weighted interleave over nodes; only vaddr honours it.
struct Dest {
    NodeId id{0};
    Weight weight;

    bool operator==(const Dest&) const = default;
};

// Read only, except max_nr_snapshots; refreshed by update_schemes_stats.
struct Stats {
    uint64_t nr_tried = 0;
    Bytes sz_tried;
    uint64_t nr_applied = 0;
    Bytes sz_applied;
    Bytes sz_ops_filter_passed;
    uint64_t qt_exceeds = 0;
    uint64_t nr_snapshots = 0;
    // The scheme stops once nr_snapshots reaches it; 0 = never. nr_snapshots is never reset by a
    // commit, so this is an absolute number. NB: a pass over the regions only counts when it gets
    // to the last region before the quota is used up (damon_do_apply_schemes, 7.3).
    uint64_t max_nr_snapshots = 0;

    bool operator==(const Stats&) const = default;
};

struct ProbeHits {
    uint64_t hits = 0;

    bool operator==(const ProbeHits&) const = default;
};

struct TriedRegion {
    Address start;
    Address end;
    SampleCount nr_accesses;
    AggrIntervals age;
    Bytes sz_filter_passed;
    std::vector<ProbeHits> probes;

    bool operator==(const TriedRegion&) const = default;
};

// Read only; refreshed by update_schemes_tried_regions (or _bytes: the total alone).
struct TriedRegions {
    Bytes total;
    std::vector<TriedRegion> regions;

    bool operator==(const TriedRegions&) const = default;
};

struct Scheme {
    Action action = Action::stat;
    NodeId target_nid = k_no_node;  // migrate_hot, migrate_cold
    Micros apply_interval{0};       // 0 = the aggregation interval
    AccessPattern pattern;          // NB: all 0, which matches nothing
    Quota quota;
    Watermarks watermarks;
    std::vector<Filter> filters;
    std::vector<Dest> dests;
    Stats stats;
    TriedRegions tried;

    bool operator==(const Scheme&) const = default;
};

struct Context {
    Operations operations = Operations::vaddr;
    uint64_t addr_unit = 1;
    bool pause = false;
    MonitoringAttrs attrs;
    std::vector<Target> targets;
    std::vector<Scheme> schemes;

    bool operator==(const Context&) const = default;
};

struct Kdamond {
    Millis refresh{0};  // the kernel updates stats, quotas and intervals itself; 0 = off
    std::vector<Context> contexts;  // the kernel takes at most one

    State state = State::off;  // read only here; changed by StateCommand
    int pid = -1;              // read only

    bool operator==(const Kdamond&) const = default;
};

}  // namespace acma::damon
