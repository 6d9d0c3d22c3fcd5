// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/policy_patch.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace acma::host {

namespace {
template <typename T>
Status assign(std::optional<T>& field, Result<T> value) {
    if (!value) {
        return value.error();
    }
    field = *value;
    return {};
}

using Setter = Status (*)(PolicyPatch&, std::string_view);
// The one list of field names.
constexpr std::array<std::pair<std::string_view, Setter>, 5> k_fields{{
    {"min-mem", [](PolicyPatch& patch,
                   std::string_view text) { return assign(patch.min_mem, parse_size(text)); }},
    {"max-mem", [](PolicyPatch& patch,
                   std::string_view text) { return assign(patch.max_mem, parse_size(text)); }},
    {"psi",
     [](PolicyPatch& patch, std::string_view text) { return assign(patch.psi, parse_psi(text)); }},
    {"shares", [](PolicyPatch& patch,
                  std::string_view text) { return assign(patch.shares, parse_shares(text)); }},
    {"mode", [](PolicyPatch& patch,
                std::string_view text) { return assign(patch.mode, parse_mode(text)); }},
}};
}  // namespace

Status set_field(PolicyPatch& patch, std::string_view name, std::string_view text) {
    for (const auto& [known, set] : k_fields) {
        if (known == name) {
            return set(patch, text);
        }
    }
    constexpr size_t k_shown = 64;
    return Error{ErrorCode::not_found, "'" + std::string(name.substr(0, k_shown)) +
                                           "' is not one of min-mem, max-mem, psi, shares, mode"};
}

bool is_field(std::string_view name) {
    return std::any_of(k_fields.begin(), k_fields.end(),
                       [name](const auto& field) { return field.first == name; });
}

Policy apply(const PolicyPatch& patch, Policy base) {
    base.min_mem = patch.min_mem.value_or(base.min_mem);
    base.max_mem = patch.max_mem.value_or(base.max_mem);
    base.psi = patch.psi.value_or(base.psi);
    base.shares = patch.shares.value_or(base.shares);
    base.mode = patch.mode.value_or(base.mode);
    return base;
}

PolicyPatch to_patch(const Policy& policy) {
    return PolicyPatch{policy.min_mem, policy.max_mem, policy.psi, policy.shares, policy.mode};
}

Result<Policy> as_kept(Policy policy) {
    for (const auto& [name, size] :
         {std::pair("min-mem", &policy.min_mem), std::pair("max-mem", &policy.max_mem)}) {
        const Result<Bytes> kept = parse_size(format_size(*size));
        if (!kept) {
            return kept.error().in(name);
        }
        *size = *kept;
    }
    return policy;
}

Result<Policy> complete(const PolicyPatch& patch, Mode default_mode) {
    if (!patch.min_mem || !patch.max_mem) {
        return Error{ErrorCode::invalid,
                     std::string(patch.min_mem ? "max-mem" : "min-mem") + " is missing"};
    }
    Policy policy;
    policy.mode = default_mode;
    policy = apply(patch, policy);
    if (const Status valid = validate(policy); !valid) {
        return valid.error();
    }
    return policy;
}

}  // namespace acma::host
