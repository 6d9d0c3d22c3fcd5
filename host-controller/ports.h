// SPDX-License-Identifier: Apache-2.0
// The controller's interfaces to the outside. Each has a real implementation and a scripted one in
// tests/fakes. All calls return at once; what comes of them arrives later, on the reactor.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/policy/policy.h"
#include "host-controller/metadata/domain_xml.h"
#include "host-controller/vm/agent_events.h"
#include "host-controller/vm/limit_change.h"
#include "host-controller/vm/memory_statistics.h"
#include "host-controller/vm/plug_change.h"

namespace acma::host {

// --- what the hypervisor (libvirt) tells ---

struct HypervisorUp {
    std::vector<DomainFacts> running;  // all of them but these:
    std::vector<VmId> unread;          // it runs, its facts follow
};
struct HypervisorDown {
    std::string why;
};
// A running domain appeared or something about it changed.
struct DomainSeen {
    DomainFacts facts;
    bool policy_written = false;  // somebody wrote its policy metadata just now
};
struct DomainGone {
    VmId vm;
    std::string why;
};
// It runs, but its XML could not be read. Told once; it is tried again until it can or is gone.
struct DomainUnread {
    VmId vm;
    std::string why;
};
struct BalloonSeen {
    VmId vm;
    Bytes actual;  // RAM - what the balloon holds
};
// A call about this domain was begun, or is over. One that only waits for its turn is neither.
struct CallSeen {
    VmId vm;
    bool runs = false;
};
// Its memory is being copied by QEMU: to another host, into a file (save, snapshot), or still from
// the host that it came from (post-copy). Or that is over, however it ended.
struct MigrationSeen {
    VmId vm;
    bool runs = false;
};
using HypervisorEvent = std::variant<HypervisorUp, HypervisorDown, DomainSeen, DomainGone,
                                     DomainUnread, BalloonSeen, CallSeen, MigrationSeen>;

using Done = std::function<void(const Status&)>;

class Hypervisor {
  public:
    virtual ~Hypervisor() = default;
    // Live only. Accepted is not reached: BalloonSeen tells how far the guest has come.
    virtual void set_balloon(const VmId& vm, Bytes target, Done done) = 0;
    // Live, and in the persistent XML if the domain has one.
    virtual void set_policy(const VmId& vm, const Policy& policy, Done done) = 0;
    // Live only. Tells the limit in force then: another than was asked for is somebody else's, and
    // was left as it is.
    virtual void set_limit(const VmId& vm, const LimitChange& change, LimitDone done) = 0;
    // Live only. Tells the requested size in force then: another than was asked for is somebody
    // else's, and was left as it is. Accepted is not reached: DomainSeen tells what is plugged.
    virtual void set_requested(const VmId& vm, const PlugChange& change, PlugDone done) = 0;
    // Live only: replaces our note.
    virtual void write_note(const VmId& vm, const StateNote& note, Done done) = 0;
    // Of the guest's memory, as its balloon driver told them last.
    virtual void read_statistics(const VmId& vm, ReadStatistics order, StatisticsDone done) = 0;
    // Through the guest's stock agent: taints the domain.
    virtual void read_guest_agent(const VmId& vm, GuestAgentDone done) = 0;
};

// Keeps a session with each agent that a VM talks to; tells what comes of it as AgentEvents.
class AgentLinks {
  public:
    virtual ~AgentLinks() = default;
    // Replaces what was ordered for this VM before.
    virtual void talk(const VmId& vm, const TalkToAgent& order) = 0;
    virtual void leave(const VmId& vm) = 0;
    // Time of the loop that went into what its guest has sent, since it is talked to.
    [[nodiscard]] virtual Micros cost(const VmId& vm) const = 0;
};

// Measures the host bytes of guests.
class HostMemory {
  public:
    virtual ~HostMemory() = default;
    virtual void watch(const VmId& vm, std::string domain_name, std::vector<Bytes> ram_blocks) = 0;
    virtual void unwatch(const VmId& vm) = 0;
};

}  // namespace acma::host
