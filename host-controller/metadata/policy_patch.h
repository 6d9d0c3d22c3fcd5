// SPDX-License-Identifier: Apache-2.0
// A policy of which only some fields are given: what a metadata element, a rule of controller.toml
// or `acmactl set` says. One way to read a field by its name, one way to make a whole policy of it.
#pragma once

#include <string_view>

#include "engine/base/result.h"
#include "engine/policy/policy.h"
#include "proto/controller_api.h"

namespace acma::host {

// The same struct that `acmactl set` sends.
using PolicyPatch = proto::PolicyChange;

// Reads one field by the name that it has in metadata and config: min-mem, max-mem, psi, shares,
// mode. not_found: there is no such field. The patch is unchanged on error, which does not name the
// field.
[[nodiscard]] Status set_field(PolicyPatch& patch, std::string_view name, std::string_view text);

[[nodiscard]] bool is_field(std::string_view name);

// The given fields of `patch` over `base`; not validated.
[[nodiscard]] Policy apply(const PolicyPatch& patch, Policy base);
[[nodiscard]] PolicyPatch to_patch(const Policy& policy);

// As metadata keeps it: sizes in whole KiB, rounded up. Error{invalid}: a size is too large for it.
[[nodiscard]] Result<Policy> as_kept(Policy policy);

// A whole, valid policy: min-mem and max-mem must be given, the rest has defaults.
[[nodiscard]] Result<Policy> complete(const PolicyPatch& patch, Mode default_mode);

}  // namespace acma::host
