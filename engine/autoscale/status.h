// SPDX-License-Identifier: Apache-2.0
// What an agent says of itself and of its guest. Produced by guest-agent, carried by proto, read by
// host-controller and `acma-agent status`. Every number is the guest's claim: the host checks it
// against the host bytes of the guest before it acts on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/units.h"
#include "engine/policy/policy.h"

namespace acma {

enum class AgentState {
    starting,   // no policy yet; nothing is paged out
    ramping,    // looking for the rate that the PSI target allows
    settled,    // little left that is cold
    holding,    // hold-off after pressure: page-out is stopped
    observing,  // mode observe: no page-out
    off,        // mode off, or the policy was withdrawn
    degraded,   // something it needs is missing; `problems` says what, and what still works
};
[[nodiscard]] std::string_view to_string(AgentState state);

// Where the policy in force came from.
enum class PolicySource { none, host, config };
[[nodiscard]] std::string_view to_string(PolicySource source);

struct Problem {
    std::string what;  // a stable word: no-damon, no-psi, no-swap, no-channel, no-permission, ...
    std::string message;  // a sentence: what is missing and what still works
    bool operator==(const Problem&) const = default;
};

struct AgentStatus {
    std::string agent_version;
    uint64_t sequence = 0;  // counts samples since agent start; the same number twice is stale
    Micros uptime{0};
    AgentState state = AgentState::starting;
    std::string reason;  // why the last decision was taken, a sentence
    Policy policy;       // in force: the host's, made gentler by agent.toml where that says so
    PolicySource policy_source = PolicySource::none;
    uint64_t policy_generation = 0;  // as the host numbered it; 0 before the first

    Bytes mem_total;
    Bytes mem_free;
    Bytes mem_available;
    Bytes swap_total;
    Bytes swap_free;
    Bytes swap_in_total;   // since guest boot
    Bytes swap_out_total;  // since guest boot
    Bytes refault_total;   // working-set refaults since guest boot
    uint64_t oom_kills_total = 0;
    Micros psi_some_total{0};  // /proc/pressure/memory "some" total
    BasisPoints psi;           // share of the last window (about 10 s) that some task stalled

    Bytes quota_per_s;         // what page-out may try now; 0 while stopped
    Bytes reclaimed_total;     // DAMON sz_applied since agent start
    Bytes working_set;         // DAMON's estimate of what was accessed lately; 0 if unknown
    Bytes owned;               // by the balloon shim; 0 without it
    Bytes voluntary;           // of it, beyond what the host asks for
    Bytes taken_total;         // in blocks, since the shim was loaded
    Bytes returned_total;      // in blocks, since then
    std::string scaling;       // why blocks were or were not moved last; empty without the shim
    bool at_grant = false;     // it needs more than it may take back on its own
    std::string struct_pages;  // of what is owned: whether they are free, or why not; likewise
    std::vector<Problem> problems;

    bool operator==(const AgentStatus&) const = default;
};

}  // namespace acma
