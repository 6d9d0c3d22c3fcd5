// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/features.h"

#include <algorithm>
#include <array>

namespace acma::damon {

namespace {

// That 6.12 has none of these and 7.3 all of them is checked by tests/fixtures/damon; the releases
// in between are from the kernels' changelogs.
constexpr std::array<FeatureInfo, k_nr_features> k_features{{
    {Feature::refresh_ms, "refresh_ms", "6.17", "update_schemes_stats is written when needed"},
    {Feature::addr_unit, "addr_unit", "6.18", ""},
    {Feature::pause, "pause", "7.2", "the kdamond is switched off and on again"},
    {Feature::intervals_goal, "intervals_goal", "6.15", "intervals are set by the engine"},
    {Feature::probes, "monitoring_attrs/probes", "7.2", ""},
    {Feature::probe_weights, "probe weights", "7.3", ""},
    {Feature::obsolete_target, "obsolete_target", "6.19", "nr_targets is written anew"},
    {Feature::layered_filters, "core_filters and ops_filters", "6.15", "filters/ takes both kinds"},
    {Feature::filter_allow, "filters that allow", "6.14", "a last allow becomes its reject form"},
    {Feature::filter_active, "filter type active", "6.15", ""},
    {Feature::filter_hugepage_size, "filter type hugepage_size", "6.15", ""},
    {Feature::filter_unmapped, "filter type unmapped", "6.15", ""},
    {Feature::dests, "dests", "6.17", "target_nid names one node"},
    {Feature::goal_nid, "nid of a quota goal", "6.16", "the engine feeds a user_input goal"},
    {Feature::goal_path, "memcg path of a quota goal", "6.19",
     "the engine feeds a user_input goal"},
    {Feature::goal_tuner, "goal_tuner", "7.1", "the engine's own loop sets bytes"},
    {Feature::fail_charge, "fail_charge_num and _denom", "7.2", "failed bytes are charged in full"},
    {Feature::max_nr_snapshots, "max_nr_snapshots", "7.0",
     "the agent's supervisor switches the kdamond off"},
    {Feature::sz_ops_filter_passed, "sz_ops_filter_passed", "6.14", ""},
    {Feature::metric_node_mem, "metrics node_mem_used_bp and node_mem_free_bp", "6.16",
     "the engine feeds a user_input goal"},
    {Feature::metric_node_memcg, "metrics node_memcg_used_bp and node_memcg_free_bp", "6.19",
     "the engine feeds a user_input goal"},
    {Feature::metric_active_mem, "metrics active_mem_bp and inactive_mem_bp", "7.0",
     "the engine feeds a user_input goal"},
    {Feature::metric_node_eligible_mem, "metric node_eligible_mem_bp", "7.2",
     "the engine feeds a user_input goal"},
    {Feature::action_collapse, "action collapse", "7.2", "hugepage, which khugepaged follows"},
}};

constexpr std::string_view k_context = "kdamonds/0/contexts/0/";
constexpr std::string_view k_scheme = "kdamonds/0/contexts/0/schemes/0/";

std::string below(std::string_view dir, std::string_view name) {
    return std::string(dir) + std::string(name);
}

struct FileOfFeature {
    Feature feature;
    std::string_view dir;
    std::string_view name;
};
constexpr std::array<FileOfFeature, 17> k_files{{
    {Feature::refresh_ms, "kdamonds/0/", "refresh_ms"},
    {Feature::addr_unit, k_context, "addr_unit"},
    {Feature::pause, k_context, "pause"},
    {Feature::intervals_goal, k_context, "monitoring_attrs/intervals/intervals_goal/aggrs"},
    {Feature::probes, k_context, "monitoring_attrs/probes/nr_probes"},
    {Feature::probe_weights, k_context, "monitoring_attrs/probes/0/weight"},
    {Feature::obsolete_target, k_context, "targets/0/obsolete_target"},
    {Feature::layered_filters, k_scheme, "core_filters/nr_filters"},
    {Feature::filter_allow, k_scheme, "filters/0/allow"},
    {Feature::filter_hugepage_size, k_scheme, "filters/0/max"},
    {Feature::dests, k_scheme, "dests/nr_dests"},
    {Feature::goal_nid, k_scheme, "quotas/goals/0/nid"},
    {Feature::goal_path, k_scheme, "quotas/goals/0/path"},
    {Feature::goal_tuner, k_scheme, "quotas/goal_tuner"},
    {Feature::fail_charge, k_scheme, "quotas/fail_charge_denom"},
    {Feature::max_nr_snapshots, k_scheme, "stats/max_nr_snapshots"},
    {Feature::sz_ops_filter_passed, k_scheme, "stats/sz_ops_filter_passed"},
}};

WordProbe word_probe(Feature feature, std::string_view file, std::string_view word) {
    return {feature, {below(k_scheme, file), std::string(word)}};
}

}  // namespace

std::span<const FeatureInfo> feature_table() {
    return k_features;
}

const FeatureInfo& info(Feature feature) {
    return k_features[static_cast<size_t>(feature)];
}

std::vector<std::string_view> Features::names() const {
    std::vector<std::string_view> names;
    for (const FeatureInfo& row : k_features) {
        if (has(row.feature)) {
            names.push_back(row.name);
        }
    }
    return names;
}

Features Features::all() {
    Features features;
    features.set_.set();
    return features;
}

std::optional<Feature> needed_by(Action action) {
    return action == Action::collapse ? std::optional(Feature::action_collapse) : std::nullopt;
}

std::optional<Feature> needed_by(GoalMetric metric) {
    switch (metric) {
        case GoalMetric::user_input:
        case GoalMetric::some_mem_psi_us:
            return std::nullopt;
        case GoalMetric::node_mem_used_bp:
        case GoalMetric::node_mem_free_bp:
            return Feature::metric_node_mem;
        case GoalMetric::node_memcg_used_bp:
        case GoalMetric::node_memcg_free_bp:
            return Feature::metric_node_memcg;
        case GoalMetric::active_mem_bp:
        case GoalMetric::inactive_mem_bp:
            return Feature::metric_active_mem;
        case GoalMetric::node_eligible_mem_bp:
            return Feature::metric_node_eligible_mem;
    }
    return std::nullopt;
}

std::optional<Feature> needed_by(FilterType type) {
    switch (type) {
        case FilterType::active:
            return Feature::filter_active;
        case FilterType::hugepage_size:
            return Feature::filter_hugepage_size;
        case FilterType::unmapped:
            return Feature::filter_unmapped;
        case FilterType::anon:
        case FilterType::memcg:
        case FilterType::young:
        case FilterType::addr:
        case FilterType::target:
            return std::nullopt;
    }
    return std::nullopt;
}

Error unsupported(std::string_view path, Feature feature) {
    const FeatureInfo& row = info(feature);
    std::string message = std::string(path) + ": this kernel has no " + std::string(row.name) +
                          " (since Linux " + std::string(row.since) + ")";
    if (!row.instead.empty()) {
        message += "; without it, " + std::string(row.instead);
    }
    return Error{ErrorCode::unsupported, std::move(message)};
}

Staging staging() {
    return {
        .build = {{"kdamonds/nr_kdamonds", "1"},
                  {"kdamonds/0/contexts/nr_contexts", "1"},
                  {below(k_context, "targets/nr_targets"), "1"},
                  {below(k_context, "schemes/nr_schemes"), "1"},
                  {below(k_scheme, "filters/nr_filters"), "1"},
                  {below(k_scheme, "quotas/goals/nr_goals"), "1"}},
        .build_if_present = {{below(k_context, "monitoring_attrs/probes/nr_probes"), "1"}},
        .probes = {word_probe(Feature::filter_active, "filters/0/type", "active"),
                   word_probe(Feature::filter_unmapped, "filters/0/type", "unmapped"),
                   word_probe(Feature::metric_node_mem, "quotas/goals/0/target_metric",
                              "node_mem_used_bp"),
                   word_probe(Feature::metric_node_memcg, "quotas/goals/0/target_metric",
                              "node_memcg_used_bp"),
                   word_probe(Feature::metric_active_mem, "quotas/goals/0/target_metric",
                              "active_mem_bp"),
                   word_probe(Feature::metric_node_eligible_mem, "quotas/goals/0/target_metric",
                              "node_eligible_mem_bp"),
                   word_probe(Feature::action_collapse, "action", "collapse")},
        .clear = {{"kdamonds/nr_kdamonds", "0"}},
    };
}

Result<Features> detect(const Tree& staged, std::span<const Feature> accepted) {
    if (!staged.contains("kdamonds/nr_kdamonds")) {
        return Error{
            ErrorCode::not_found,
            "kdamonds/nr_kdamonds is missing: no DAMON sysfs interface (CONFIG_DAMON_SYSFS)"};
    }
    for (const std::string_view name :
         {"action", "filters/0/type", "quotas/goals/0/target_metric"}) {
        if (!staged.contains(below(k_scheme, name))) {
            return Error{ErrorCode::invalid, below(k_scheme, name) +
                                                 " is missing: the tree was not staged, or this "
                                                 "kernel is older than 6.12"};
        }
    }
    Features features;
    for (const FileOfFeature& file : k_files) {
        if (staged.contains(below(file.dir, file.name))) {
            features.add(file.feature);
        }
    }
    std::ranges::for_each(accepted, [&features](Feature feature) { features.add(feature); });
    return features;
}

}  // namespace acma::damon
