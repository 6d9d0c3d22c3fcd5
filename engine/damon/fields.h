// SPDX-License-Identifier: Apache-2.0
// The one list of what is where in the sysfs tree: a file per line, in the order in which it is
// written. parse.cpp walks it with a cursor that reads, plan.cpp with one that compares and writes.
// Internal to engine/damon.
//
// A cursor offers:
//   field(name, member, feature)          a file; with a feature: not on every kernel
//   read_only(name, member, feature)      a file that is never written
//   runtime(name, member, unreadable)     read only, and may be unreadable for a moment (EBUSY)
//   dir(name, member, feature)            a directory with one struct's files
//   children(dir, nr, member, feature)    a directory with nr_x and 0/, 1/, ...
//   read_only_children(dir, member, feature)    the same without nr_x, filled by the kernel
//   filters(member)                       the filter directories, see FilterDirs
#pragma once

#include "engine/damon/features.h"
#include "engine/damon/model.h"
#include "engine/damon/tree.h"

namespace acma::damon {

template <template <typename> class C, typename T>
void fields(C<Range<T>>& c) {
    c.field("min", &Range<T>::min);
    c.field("max", &Range<T>::max);
}

template <template <typename> class C>
void fields(C<IntervalsGoal>& c) {
    c.field("access_bp", &IntervalsGoal::access);
    c.field("aggrs", &IntervalsGoal::aggrs);
    c.field("min_sample_us", &IntervalsGoal::min_sample);
    c.field("max_sample_us", &IntervalsGoal::max_sample);
}

template <template <typename> class C>
void fields(C<Intervals>& c) {
    c.field("sample_us", &Intervals::sample);
    c.field("aggr_us", &Intervals::aggr);
    c.field("update_us", &Intervals::update);
    c.dir("intervals_goal", &Intervals::goal, Feature::intervals_goal);
}

template <template <typename> class C>
void fields(C<ProbeFilter>& c) {
    c.field("type", &ProbeFilter::type);
    c.field("path", &ProbeFilter::path);
    c.field("matching", &ProbeFilter::matching);
    c.field("allow", &ProbeFilter::allow);
}

template <template <typename> class C>
void fields(C<Probe>& c) {
    c.field("weight", &Probe::weight, Feature::probe_weights);
    c.children("filters", "nr_filters", &Probe::filters);
}

template <template <typename> class C>
void fields(C<MonitoringAttrs>& c) {
    c.dir("intervals", &MonitoringAttrs::intervals);
    c.dir("nr_regions", &MonitoringAttrs::nr_regions);
    c.children("probes", "nr_probes", &MonitoringAttrs::probes, Feature::probes);
}

template <template <typename> class C>
void fields(C<Region>& c) {
    c.field("start", &Region::start);
    c.field("end", &Region::end);
}

template <template <typename> class C>
void fields(C<Target>& c) {
    c.field("pid_target", &Target::pid);
    c.field("obsolete_target", &Target::obsolete, Feature::obsolete_target);
    c.children("regions", "nr_regions", &Target::regions);
}

template <template <typename> class C>
void fields(C<AccessPattern>& c) {
    c.dir("sz", &AccessPattern::sz);
    c.dir("nr_accesses", &AccessPattern::nr_accesses);
    c.dir("age", &AccessPattern::age);
}

template <template <typename> class C>
void fields(C<QuotaGoal>& c) {
    c.field("target_metric", &QuotaGoal::metric);
    c.field("target_value", &QuotaGoal::target_value);
    c.field("current_value", &QuotaGoal::current_value);
    c.field("nid", &QuotaGoal::nid, Feature::goal_nid);
    c.field("path", &QuotaGoal::path, Feature::goal_path);
}

template <template <typename> class C>
void fields(C<QuotaWeights>& c) {
    c.field("sz_permil", &QuotaWeights::sz);
    c.field("nr_accesses_permil", &QuotaWeights::nr_accesses);
    c.field("age_permil", &QuotaWeights::age);
}

template <template <typename> class C>
void fields(C<Quota>& c) {
    c.field("ms", &Quota::time);
    c.field("bytes", &Quota::bytes);
    c.field("reset_interval_ms", &Quota::reset_interval);
    c.read_only("effective_bytes", &Quota::effective);
    c.dir("weights", &Quota::weights);
    c.children("goals", "nr_goals", &Quota::goals);
    c.field("goal_tuner", &Quota::goal_tuner, Feature::goal_tuner);
    c.field("fail_charge_num", &Quota::fail_charge_num, Feature::fail_charge);
    c.field("fail_charge_denom", &Quota::fail_charge_denom, Feature::fail_charge);
}

template <template <typename> class C>
void fields(C<Watermarks>& c) {
    c.field("metric", &Watermarks::metric);
    c.field("interval_us", &Watermarks::interval);
    c.field("high", &Watermarks::high);
    c.field("mid", &Watermarks::mid);
    c.field("low", &Watermarks::low);
}

// NB: the kernel's ABI document says target_idx; the file is damon_target_idx.
template <template <typename> class C>
void fields(C<Filter>& c) {
    c.field("type", &Filter::type);
    c.field("matching", &Filter::matching);
    c.field("allow", &Filter::allow, Feature::filter_allow);
    c.field("memcg_path", &Filter::memcg_path);
    c.field("addr_start", &Filter::addr_start);
    c.field("addr_end", &Filter::addr_end);
    c.field("damon_target_idx", &Filter::target_idx);
    c.field("min", &Filter::sz_min, Feature::filter_hugepage_size);
    c.field("max", &Filter::sz_max, Feature::filter_hugepage_size);
}

template <template <typename> class C>
void fields(C<FilterDirs>& c) {
    c.children("filters", "nr_filters", &FilterDirs::both);
    c.children("core_filters", "nr_filters", &FilterDirs::core, Feature::layered_filters);
    c.children("ops_filters", "nr_filters", &FilterDirs::ops, Feature::layered_filters);
}

template <template <typename> class C>
void fields(C<Dest>& c) {
    c.field("id", &Dest::id);
    c.field("weight", &Dest::weight);
}

template <template <typename> class C>
void fields(C<Stats>& c) {
    c.read_only("nr_tried", &Stats::nr_tried);
    c.read_only("sz_tried", &Stats::sz_tried);
    c.read_only("nr_applied", &Stats::nr_applied);
    c.read_only("sz_applied", &Stats::sz_applied);
    c.read_only("sz_ops_filter_passed", &Stats::sz_ops_filter_passed,
                Feature::sz_ops_filter_passed);
    c.read_only("qt_exceeds", &Stats::qt_exceeds);
    c.read_only("nr_snapshots", &Stats::nr_snapshots, Feature::max_nr_snapshots);
    c.field("max_nr_snapshots", &Stats::max_nr_snapshots, Feature::max_nr_snapshots);
}

template <template <typename> class C>
void fields(C<ProbeHits>& c) {
    c.read_only("hits", &ProbeHits::hits);
}

template <template <typename> class C>
void fields(C<TriedRegion>& c) {
    c.read_only("start", &TriedRegion::start);
    c.read_only("end", &TriedRegion::end);
    c.read_only("nr_accesses", &TriedRegion::nr_accesses);
    c.read_only("age", &TriedRegion::age);
    c.read_only("sz_filter_passed", &TriedRegion::sz_filter_passed, Feature::sz_ops_filter_passed);
    c.read_only_children("probes", &TriedRegion::probes);
}

template <template <typename> class C>
void fields(C<TriedRegions>& c) {
    c.read_only("total_bytes", &TriedRegions::total);
    c.read_only_children("", &TriedRegions::regions);
}

template <template <typename> class C>
void fields(C<Scheme>& c) {
    c.field("action", &Scheme::action);
    c.field("target_nid", &Scheme::target_nid);
    c.field("apply_interval_us", &Scheme::apply_interval);
    c.dir("access_pattern", &Scheme::pattern);
    c.dir("quotas", &Scheme::quota);
    c.dir("watermarks", &Scheme::watermarks);
    c.filters(&Scheme::filters);
    c.children("dests", "nr_dests", &Scheme::dests, Feature::dests);
    c.dir("stats", &Scheme::stats);
    c.dir("tried_regions", &Scheme::tried);
}

template <template <typename> class C>
void fields(C<Context>& c) {
    c.field("operations", &Context::operations);
    c.field("addr_unit", &Context::addr_unit, Feature::addr_unit);
    c.field("pause", &Context::pause, Feature::pause);
    c.dir("monitoring_attrs", &Context::attrs);
    c.children("targets", "nr_targets", &Context::targets);
    c.children("schemes", "nr_schemes", &Context::schemes);
}

template <template <typename> class C>
void fields(C<Kdamond>& c) {
    c.field("refresh_ms", &Kdamond::refresh, Feature::refresh_ms);
    c.runtime("state", &Kdamond::state, State::unknown);
    c.runtime("pid", &Kdamond::pid, -1);
    c.children("contexts", "nr_contexts", &Kdamond::contexts);
}

}  // namespace acma::damon
