// SPDX-License-Identifier: Apache-2.0
// controller.toml and its drop-in directory. A mistake never silently becomes a default: an unknown
// key, a wrong type or a bad value is an error that names file, line and key.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/policy/policy.h"
#include "host-controller/metadata/foreign_metadata.h"

namespace acma::host {

// A policy for domains that have none in their metadata. The first rule that matches counts.
struct PolicyRule {
    // How `acmactl show` calls it: the name glob, the UUID, or the metadata's path and value.
    std::string label;
    std::optional<std::string> name_glob;
    std::optional<std::string> uuid;
    struct MetadataMatch {
        MetadataPath where;
        std::string value_glob;
        bool operator==(const MetadataMatch&) const = default;
    };
    std::optional<MetadataMatch> metadata;  // another tool's
    Policy policy;
    bool operator==(const PolicyRule&) const = default;
};

// What log lines are about: domains, usage, requests, the decision log.
constexpr std::array<std::string_view, 4> k_log_parts{"vms", "metering", "api", "decisions"};

struct TcpEndpoint {
    std::string address;
    uint16_t port = 0;
    bool operator==(const TcpEndpoint&) const = default;
};

struct ControllerConfig {
    std::string connect = "qemu:///system";
    std::string socket = "/run/acma/controller.sock";
    std::string socket_group;               // empty: the daemon's own group
    std::optional<TcpEndpoint> listen;      // reads over TCP, off unless asked for
    std::vector<std::string> listen_names;  // that it may be asked for by, beside its own
    std::string log_level = "info";
    // Of single parts of the controller (k_log_parts); the others have log_level.
    std::map<std::string, std::string> log_levels;
    std::vector<std::string> channels{"org.acma.agent.0"};
    // What VMs are not promised: for the host itself. None: a sixteenth of its memory.
    std::optional<Bytes> host_reserve;
    // A VM that stays above its grant is held by memory.high of its cgroup.
    bool hold_with_memory_high = false;
    // What all guests together may page out in a second.
    Bytes swap_out_limit = 1_GiB;
    std::string usage_database;  // empty: as configure() finds it
    Micros usage_retention = std::chrono::days(400);
    std::string decision_log;               // empty: none
    Bytes decision_log_size = 64_MiB;       // of each of the two files
    std::vector<std::string> guest_agents;  // names (globs) whose stock guest agent may be asked
    std::vector<PolicyRule> rules;
    std::vector<std::string> files;  // that it was read from; none: defaults
    bool operator==(const ControllerConfig&) const = default;
};

// `file` is only for messages. Scalars replace those in `config`; rules are appended, so the main
// file's rules come first. `config` is unchanged on error.
[[nodiscard]] Status read_config(std::string_view text, std::string_view file,
                                 ControllerConfig& config);

// `path`, then *.toml of `dropin_dir` in the order of their names. A directory that does not exist
// is empty; so is `path` unless `must_exist`.
enum class ConfigFile { may_be_missing, must_exist };
[[nodiscard]] Result<ControllerConfig> load_config(const std::filesystem::path& path,
                                                   const std::filesystem::path& dropin_dir,
                                                   ConfigFile need);

// The rule for a domain without a policy of its own, or nullptr.
[[nodiscard]] const PolicyRule* match_rule(const std::vector<PolicyRule>& rules,
                                           std::string_view name, std::string_view uuid,
                                           const ForeignMetadata& metadata = {});

// One of these globs fits.
[[nodiscard]] bool fits_any(const std::vector<std::string>& globs, std::string_view name);

// What rules look at in other tools' metadata.
[[nodiscard]] std::vector<MetadataPath> metadata_paths(const std::vector<PolicyRule>& rules);

}  // namespace acma::host
