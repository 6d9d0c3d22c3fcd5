// SPDX-License-Identifier: Apache-2.0
// agent.toml and its drop-ins. It can only make the host's policy gentler, never harsher; without a
// host ([policy] standalone = true) it is the policy.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/policy/policy.h"

namespace acma::agent {

constexpr const char* k_default_config = "/etc/acma/agent.toml";

struct Config {
    // [policy]: limits on the host's policy.
    std::optional<Bytes> min_mem;
    std::optional<Bytes> max_mem;  // used only standalone: the host's max-mem is the host's
    std::optional<BasisPoints> psi;
    std::optional<Mode> mode;
    bool standalone = false;  // whether [policy] also counts while no host has sent one
    // [scaling]
    enum class Scaling { balloon, power_saving };
    Scaling scaling = Scaling::balloon;
    // [channel]
    std::string channel = "org.acma.agent.0";
    std::string socket = "/run/acma-agent/status.sock";
    bool verbose = false;            // --verbose: log every decision, not only changes of state
    std::vector<std::string> files;  // that it was read from; none: defaults

    bool operator==(const Config&) const = default;
};

// Reads `path`, then PATH.d/*.toml in order of name; a later file overrides key by key. Without any
// file it gives the defaults. Errors name the file, the line and the key.
enum class ConfigFile { may_be_missing, must_exist };
[[nodiscard]] Result<Config> load_config(const std::string& path, ConfigFile file);

// One document, for tests: `name` stands in the errors.
[[nodiscard]] Result<Config> parse_config(std::string_view text, const std::string& name,
                                          Config base = {});

// The host's policy made gentler: the lower PSI, the higher min-mem, the milder mode.
[[nodiscard]] Policy gentler(const Policy& host, const Config& config);

// The policy without a host; nothing when the config has none. `ram` stands in for max-mem.
[[nodiscard]] std::optional<Policy> standalone_policy(const Config& config, Bytes ram);

}  // namespace acma::agent
