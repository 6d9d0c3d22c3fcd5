// SPDX-License-Identifier: Apache-2.0
// The messages of the wire: the QEMU guest agent's dialect plus acma-*. docs/protocol.md is the
// description for implementers. Text <-> structs only; framing.h and the sessions do the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/autoscale/status.h"
#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/policy/policy.h"

namespace acma::proto {

// Raised only if old and new could not talk at all. What a peer can do is in its capabilities.
constexpr uint64_t k_protocol_version = 1;

// A capability is a set of commands and fields that a peer may rely on; a new field in a request
// needs a new one ("policy-2"), since older agents refuse fields that they do not know.
constexpr std::string_view k_capability_policy = "policy-1";  // acma-set-policy
constexpr std::string_view k_capability_status = "status-1";  // acma-get-status
constexpr std::string_view k_capability_events = "events-1";  // acma-enable-events
constexpr std::string_view k_capability_limits = "limits-1";  // acma-set-limits

// --- replies --------------------------------------------------------------------------------

struct Empty {  // {}
    bool operator==(const Empty&) const = default;
};

struct Synced {  // the bare id of a sync, not an object
    int64_t id = 0;
    bool operator==(const Synced&) const = default;
};

struct CommandInfo {
    std::string name;
    bool enabled = true;
    bool success_response = true;
    bool operator==(const CommandInfo&) const = default;
};

struct AcmaInfo {
    uint64_t protocol = 0;
    std::vector<std::string> capabilities;
    bool operator==(const AcmaInfo&) const = default;
};

struct AgentInfo {
    std::string version;
    std::vector<CommandInfo> supported_commands;
    std::optional<AcmaInfo> acma;  // missing: a stock qemu-ga
    bool operator==(const AgentInfo&) const = default;
};
[[nodiscard]] bool supports(const AgentInfo& info, std::string_view capability);
// What this version of ACMA's agent says of itself.
[[nodiscard]] AgentInfo own_info(std::string_view version);

struct PolicyInForce {
    uint64_t generation = 0;
    Policy policy;  // the host's, made gentler by agent.toml where that says so
    Bytes grant;
    bool operator==(const PolicyInForce&) const = default;
};

struct Failure {
    std::string error_class;  // only this is stable: see below
    std::string desc;         // for people
    bool operator==(const Failure&) const = default;
};
constexpr std::string_view k_generic_error = "GenericError";
constexpr std::string_view k_command_not_found = "CommandNotFound";

// --- commands -------------------------------------------------------------------------------

struct SyncDelimited {
    static constexpr std::string_view k_name = "guest-sync-delimited";
    using Returns = Synced;
    int64_t id = 0;
    bool operator==(const SyncDelimited&) const = default;
};

struct Sync {
    static constexpr std::string_view k_name = "guest-sync";
    using Returns = Synced;
    int64_t id = 0;
    bool operator==(const Sync&) const = default;
};

struct Ping {
    static constexpr std::string_view k_name = "guest-ping";
    using Returns = Empty;
    bool operator==(const Ping&) const = default;
};

struct Info {
    static constexpr std::string_view k_name = "guest-info";
    using Returns = AgentInfo;
    bool operator==(const Info&) const = default;
};

struct SetPolicy {
    static constexpr std::string_view k_name = "acma-set-policy";
    using Returns = PolicyInForce;
    Policy policy;
    Bytes grant;              // min-mem <= grant <= max-mem
    uint64_t generation = 0;  // names this policy; the one that came last is in force
    bool operator==(const SetPolicy&) const = default;
};

struct GetStatus {
    static constexpr std::string_view k_name = "acma-get-status";
    using Returns = AgentStatus;
    bool operator==(const GetStatus&) const = default;
};

// From now on, until the next sync, the agent says by itself when something happens (events,
// below).
struct EnableEvents {
    static constexpr std::string_view k_name = "acma-enable-events";
    using Returns = Empty;
    bool operator==(const EnableEvents&) const = default;
};

// What the guest may do at most, because of others. Without one there is no limit.
struct SetLimits {
    static constexpr std::string_view k_name = "acma-set-limits";
    using Returns = Empty;
    Bytes swap_out_per_s;
    bool operator==(const SetLimits&) const = default;
};

using Command =
    std::variant<SyncDelimited, Sync, Ping, Info, SetPolicy, GetStatus, EnableEvents, SetLimits>;
using Return = std::variant<Empty, Synced, AgentInfo, PolicyInForce, AgentStatus>;
using Outcome = std::variant<Return, Failure>;

[[nodiscard]] std::string_view name_of(const Command& command);

// --- envelopes ------------------------------------------------------------------------------

// Echoed by the agent. qemu-ga echoes any JSON value; we take integers (int64) and short strings.
using Id = std::variant<std::monostate, int64_t, std::string>;
constexpr size_t k_max_id_bytes = 64;

struct Request {
    Command command;
    Id id;
    bool operator==(const Request&) const = default;
};

struct Reply {
    Outcome outcome;
    Id id;
    bool operator==(const Reply&) const = default;
};

// An event, {"event": NAME}, carries nothing: whoever hears it asks for the status.
// The guest needs more than it may take back on its own.
constexpr std::string_view k_event_at_grant = "acma-at-grant";
[[nodiscard]] std::string encode_event(std::string_view name);
// Whether a line is this event. Cheap where it is not.
[[nodiscard]] bool is_event(std::string_view line, std::string_view name);

// One line each, without the newline.
[[nodiscard]] std::string encode(const Request& request);
[[nodiscard]] std::string encode(const Reply& reply);

// A line is a request, or it is the reply (a Failure, with the id if one could be read) that its
// sender must get. A policy that validate() refuses is a Failure as well.
[[nodiscard]] std::variant<Request, Reply> decode_request(std::string_view line);

// The outcome of `request` in a line; nothing if the line is a well-formed reply to another one.
// A Failure without an id is taken as ours: an agent that could not read our line knows no id.
[[nodiscard]] Result<std::optional<Outcome>> decode_reply(std::string_view line,
                                                          const Request& request);

}  // namespace acma::proto
