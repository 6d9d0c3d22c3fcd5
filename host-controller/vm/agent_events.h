// SPDX-License-Identifier: Apache-2.0
// What goes between a VM and the channel to its agent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "engine/autoscale/status.h"
#include "engine/base/units.h"
#include "engine/policy/policy.h"
#include "proto/messages.h"

namespace acma::host {

// --- what the agent's channel tells ---------------------------------------------------------

struct AgentUp {
    proto::AgentInfo info;
};
struct AgentTookPolicy {
    proto::PolicyInForce in_force;
};
struct AgentRefusedPolicy {
    std::string why;
};
struct AgentSaid {
    AgentStatus status;
    Time due{};  // when it was to be asked
};
struct AgentDown {
    enum class Why {
        unreachable,  // no socket, no permission, refused, closed
        held,         // another client has the channel
        silent,       // connected, but no answer
        flooding,     // over its budget of bytes or of nonsense
    };
    Why why = Why::unreachable;
    std::string message;
};
struct AgentCostly {};  // what it sends costs too much time: it is read more slowly
using AgentEvent =
    std::variant<AgentUp, AgentTookPolicy, AgentRefusedPolicy, AgentSaid, AgentDown, AgentCostly>;

// --- what it is to do -----------------------------------------------------------------------

// The policy for the agent, as acma-set-policy carries it.
struct PolicyOrder {
    Policy policy;
    Bytes grant;
    uint64_t generation = 0;
    bool operator==(const PolicyOrder&) const = default;
};
struct TalkToAgent {  // keep a session on this channel and this policy in force
    std::string path;
    std::optional<PolicyOrder> policy;    // nothing: only ask for the status (dry run)
    std::optional<Bytes> swap_out_per_s;  // nothing: no limit was told so far
    bool operator==(const TalkToAgent&) const = default;
};
struct LeaveAgent {
    bool operator==(const LeaveAgent&) const = default;
};

}  // namespace acma::host
