// SPDX-License-Identifier: Apache-2.0
// The documents of the controller's API (unix socket and HTTP), read by acmactl and by others.
// Use to_json<T>() / from_json<T>() of proto/document.h. A field never changes its meaning.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/autoscale/status.h"
#include "engine/base/units.h"
#include "engine/policy/policy.h"
#include "proto/document.h"

namespace acma::proto {

// What the controller does with a VM right now.
enum class VmState {
    managed,    // mode auto: its memory follows its policy
    observed,   // mode observe: decided and explained, nothing changed
    off,        // mode off
    unmanaged,  // no policy from anywhere: left alone
    marked,     // has a policy but is not trusted or not reachable; `marks` says why
};
[[nodiscard]] std::string_view to_string(VmState state);
[[nodiscard]] std::optional<VmState> parse_vm_state(std::string_view text);

// Something that an operator should look at. `what` is a stable word (silent, lying, no-balloon,
// foreign-balloon, ...: docs/protocol.md has all), `message` a sentence.
struct Mark {
    std::string what;
    std::string message;
    bool operator==(const Mark&) const = default;
};

// One line of `acmactl list` and `top`.
struct VmSummary {
    std::string name;
    std::string uuid;
    std::optional<uint64_t> id;  // libvirt's, only while it runs
    VmState state = VmState::unmanaged;
    std::optional<Policy> policy;
    std::string policy_source = "none";  // "metadata", "rule NAME", "none"

    Bytes ram;             // maximum memory of the domain
    Bytes balloon_target;  // what was asked for last: RAM - num_pages; the grant
    Bytes balloon_actual;  // RAM - what the balloon holds: libvirt's "actual"
    Bytes size;            // what the guest has: of that and what virtio-mem has plugged, less what
                           // it gave up of its own accord
    Bytes host;            // host bytes of the guest: resident + swapped + hugetlb of its RAM
    Bytes host_swap;       // the swapped part of them
    Bytes qemu_own;        // the QEMU process beside the guest's RAM
    // Of its virtio-mem devices, where it has some; beside RAM and balloon.
    std::optional<Bytes> virtio_mem;            // plugged
    std::optional<Bytes> virtio_mem_requested;  // may be
    std::optional<Bytes> held;                  // by memory.high of its cgroup, set by us

    bool agent_connected = false;
    std::optional<AgentState> agent_state;  // as last reported
    std::optional<BasisPoints> psi;         // as last reported; the guest's word
    std::vector<Mark> marks;
    std::string last_reason;  // of the last decision about this VM, a sentence
    // The last decision of the controller, without what was only noticed since.
    std::optional<std::string> last_change;
    std::optional<std::string> last_change_reason;
    std::optional<Micros> last_change_time;  // since 1970-01-01 UTC

    bool operator==(const VmSummary&) const = default;
};

// The host as the controller sees it.
struct HostSummary {
    Bytes mem_total;
    Bytes mem_available;
    Bytes budget;               // what VMs may have together
    Bytes granted;              // sum of grants and QEMU's own
    Bytes reserve;              // what the host keeps for itself
    Bytes reserved;             // of the budget, for VMs that are about to start or to come here
    Bytes lacking;              // guaranteed or reserved beyond the budget
    BasisPoints psi;            // /proc/pressure/memory "some" of the host
    std::string strain;         // none, strained or emergency; empty: not known
    std::string strain_reason;  // a sentence, or empty
    bool libvirt_connected = false;
    bool paused = false;  // `acmactl pause`
    bool dry_run = false;

    bool operator==(const HostSummary&) const = default;
};

// `acmactl list`, `acmactl top`.
struct VmList {
    std::string controller_version;
    HostSummary host;
    std::vector<VmSummary> vms;
    bool operator==(const VmList&) const = default;
};

struct VmAgent {
    bool connected = false;
    std::string version;                    // of guest-info
    std::vector<std::string> capabilities;  // of guest-info, for example "policy-1"
    std::optional<Micros> age;              // of `status`
    std::optional<AgentStatus> status;      // the last one, every number the guest's claim

    bool operator==(const VmAgent&) const = default;
};

// `acmactl show DOM`.
// What the driver of its balloon tells of a guest without an agent, and what was made of it.
struct VmStatistics {
    Micros age{0};
    std::optional<Bytes> unused;
    std::optional<Bytes> usable;
    std::optional<Bytes> swap_in_total;
    std::optional<uint64_t> major_faults_total;
    Bytes headroom;        // that it should have beyond what it uses
    std::string decision;  // keeps, settles, shrinks, grows, pressed, stale, stuck, at-risk
    std::string reason;    // a sentence
    bool operator==(const VmStatistics&) const = default;
};
struct VmDetail {
    VmSummary vm;
    VmAgent agent;
    std::optional<VmStatistics> statistics = {};  // none: it has an agent, or tells nothing
    bool operator==(const VmDetail&) const = default;
};

// One decision, with the numbers that it was made of. Names in `numbers` carry their unit
// ("psi_bp", "grant_bytes").
struct ExplainEntry {
    Micros time{0};        // since 1970-01-01 UTC
    std::string decision;  // a stable word: grow, shrink, hold, set-policy, mark, ...
    std::string reason;    // a sentence
    std::map<std::string, uint64_t> numbers;
    bool operator==(const ExplainEntry&) const = default;
};

// `acmactl explain DOM`, oldest first.
struct Explanation {
    std::string name;
    std::string uuid;
    std::vector<ExplainEntry> entries;
    bool operator==(const Explanation&) const = default;
};

// `acmactl set DOM`: what is absent stays as it is. Read with from_json_strict.
struct PolicyChange {
    std::optional<Bytes> min_mem;
    std::optional<Bytes> max_mem;
    std::optional<BasisPoints> psi;
    std::optional<uint32_t> shares;
    std::optional<Mode> mode;
    bool operator==(const PolicyChange&) const = default;
};

// Memory that is kept for a VM which is about to start, or to come from another host.
struct Reservation {
    uint64_t id = 0;
    Bytes size;
    std::string domain;  // whose start uses it up; "": nobody's
    Micros ends_in{0};
    bool operator==(const Reservation&) const = default;
};

// `acmactl reserve`: all of them, or the one that was made or given up.
struct ReservationList {
    std::vector<Reservation> reservations;
    Bytes missing;  // what VMs have to give up before all that is reserved is there
    bool operator==(const ReservationList&) const = default;
};

// `acmactl reserve SIZE`. Read with from_json_strict.
struct ReservationRequest {
    Bytes size;
    std::optional<std::string> domain;
    std::optional<Micros> lasts;  // five minutes unless given
    bool operator==(const ReservationRequest&) const = default;
};

// What a VM used in a period. Exact sums of byte-seconds, rounded down.
struct UsageEntry {
    std::string name;  // the last that it had
    std::string uuid;
    uint64_t used_mib_seconds = 0;       // host bytes over time
    uint64_t above_min_mib_seconds = 0;  // of what was above the policy's min-mem; without one: all
    Micros measured{0};                  // how long it was measured
    Micros missing{0};                   // how long it may have run without being measured
    bool operator==(const UsageEntry&) const = default;
};

// `acmactl usage`. Hours that begin in [since, until), both since 1970-01-01 UTC.
struct UsageReport {
    Micros since{0};
    Micros until{0};
    std::vector<UsageEntry> vms;
    std::optional<std::string> problem;  // why it may not be whole
    bool operator==(const UsageReport&) const = default;
};

// The answer to a request that failed. `code` is to_string(ErrorCode).
struct ApiError {
    std::string code;
    std::string message;
    bool operator==(const ApiError&) const = default;
};

}  // namespace acma::proto
