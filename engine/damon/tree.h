// SPDX-License-Identifier: Apache-2.0
// The sysfs tree as a value, and the way from a desired model to an ordered list of writes and
// back. Pure: whoever reads and writes the files is elsewhere (platform).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/damon/model.h"

namespace acma::damon {

class Features;

// Below this everything is relative: "kdamonds/0/state".
constexpr std::string_view k_admin_dir = "/sys/kernel/mm/damon/admin";

// Relative path -> content, with or without the final newline. A file that could not be read (state
// and pid give EBUSY while a command is pending) is left out.
using Tree = std::map<std::string, std::string, std::less<>>;

struct Write {
    std::string path;
    std::string value;  // without newline: the kernel keeps one in memcg paths

    bool operator==(const Write&) const = default;
};

// In this order, each to be checked. Nothing takes effect before `on` or a commit.
using Plan = std::vector<Write>;

using Kdamonds = std::vector<Kdamond>;

// Everything the tree says, read-only parts included. What a kernel does not have stays at its
// default. Errors name the file: not_found for one that every kernel has, invalid for its content.
[[nodiscard]] Result<Kdamonds> parse(const Tree& tree);

// The least writes that make `current` say `desired`: only values that differ; an equal nr_* is
// never written (it would destroy its children), a changed one is followed by everything below it
// that is not the kernel's default. Empty when nothing differs. Read-only parts are ignored.
// unsupported: the kernel lacks something that `desired` has set. busy: the number of kdamonds
// would have to change while one runs, or may run.
[[nodiscard]] Result<Plan> plan(const Kdamonds& desired, const Tree& current,
                                const Features& features);

// The same between two models, without reading the tree: for the steady state, where `previous` is
// what was written last. The cost is a comparison plus what really changed.
[[nodiscard]] Result<Plan> plan_update(const Kdamonds& previous, const Kdamonds& next,
                                       const Features& features);

// "kdamonds/K/state" <- the word.
[[nodiscard]] Write state_write(size_t kdamond, StateCommand command);

// What makes a plan for one running kdamond effective: commit_schemes_quota_goals when it only
// touches values of goals that were there before (cheaper; on 6.12 it is handled at the next sample
// and not at the next aggregation), commit otherwise.
[[nodiscard]] StateCommand commit_for(const Plan& plan);

// `plan` followed by the commit that makes it effective; empty when there is nothing to do.
// NB: on 6.12 a commit of something the kernel refuses succeeds and ends the kdamond: validate()
// first, and read `state` again afterwards.
[[nodiscard]] Plan plan_commit(Plan plan, size_t kdamond);

// Filters in the form that is written: by directory, in the order the kernel tries them.
struct FilterDirs {
    std::vector<Filter> both;
    std::vector<Filter> core;
    std::vector<Filter> ops;

    bool operator==(const FilterDirs&) const = default;
};
// Chooses directories, and on kernels that only reject (before 6.14) turns a last "allow X" into
// "reject not X", which is the same. unsupported when no such form exists.
[[nodiscard]] Result<FilterDirs> filter_dirs(const std::vector<Filter>& filters,
                                             const Features& features);

}  // namespace acma::damon
