// SPDX-License-Identifier: Apache-2.0
// What this kernel's DAMON has, found by looking (never by the version number). Most directories
// only exist once something has been created in them, and words are only known once they have been
// accepted, so finding out takes a dummy tree: staging() says what to write to get one.
#pragma once

#include <bitset>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/damon/model.h"
#include "engine/damon/tree.h"

namespace acma::damon {

// Only what is not everywhere: kernels before 6.12 are not supported.
enum class Feature {
    refresh_ms,
    addr_unit,
    pause,
    intervals_goal,
    probes,
    probe_weights,
    obsolete_target,
    layered_filters,
    filter_allow,
    filter_active,
    filter_hugepage_size,
    filter_unmapped,
    dests,
    goal_nid,
    goal_path,
    goal_tuner,
    fail_charge,
    max_nr_snapshots,
    sz_ops_filter_passed,
    metric_node_mem,
    metric_node_memcg,
    metric_active_mem,
    metric_node_eligible_mem,
    action_collapse,
};
constexpr size_t k_nr_features = 24;

struct FeatureInfo {
    Feature feature;
    std::string_view name;     // what the operator and the documentation call it
    std::string_view since;    // first kernel release
    std::string_view instead;  // what ACMA does where it is missing; empty: nothing can stand in
};
// One row per feature, in the order of the enum.
[[nodiscard]] std::span<const FeatureInfo> feature_table();
[[nodiscard]] const FeatureInfo& info(Feature feature);

class Features {
  public:
    [[nodiscard]] bool has(Feature feature) const { return set_[static_cast<size_t>(feature)]; }
    void add(Feature feature) { set_.set(static_cast<size_t>(feature)); }
    [[nodiscard]] std::vector<std::string_view> names() const;
    [[nodiscard]] static Features all();

    bool operator==(const Features&) const = default;

  private:
    std::bitset<k_nr_features> set_;
};

// What a word needs; nullopt: every kernel has it.
[[nodiscard]] std::optional<Feature> needed_by(Action action);
[[nodiscard]] std::optional<Feature> needed_by(GoalMetric metric);
[[nodiscard]] std::optional<Feature> needed_by(FilterType type);

// The Error for something desired that this kernel does not have: names the place, the feature,
// the first kernel that has it and what we do instead.
[[nodiscard]] Error unsupported(std::string_view path, Feature feature);

// A word that a kernel without the feature refuses (EINVAL) and one with it accepts.
struct WordProbe {
    Feature feature;
    Write write;
};

// How to find out: apply `build` (each write must succeed) and, of `build_if_present`, the writes
// whose file exists; read the whole tree; try every probe and remember which were accepted; apply
// `clear`. Only when ownership.h says that the tree is free: it rewrites nr_kdamonds, which
// destroys what is there and is refused while a kdamond runs. Nothing takes effect: nothing is
// switched on.
struct Staging {
    Plan build;
    Plan build_if_present;
    std::vector<WordProbe> probes;
    Plan clear;
};
[[nodiscard]] Staging staging();

// `staged`: the tree as read after `build`, before `clear`. `accepted`: the probes that were.
[[nodiscard]] Result<Features> detect(const Tree& staged, std::span<const Feature> accepted);

}  // namespace acma::damon
