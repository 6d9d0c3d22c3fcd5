// SPDX-License-Identifier: Apache-2.0
// Who decides on a simulated host how much memory each VM may have: ours, and the published rules
// of others to compare with. A policy sees what a host can see, and answers with balloon targets.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/units.h"
#include "engine/simulation/sim_vm.h"

namespace acma::simulation {

struct HostView {
    Bytes memory;
    Bytes reserve;   // of it, not for VMs
    Bytes reserved;  // for VMs that are to come: what an operator asked to be kept free
    Bytes free;      // really, now
};

struct VmView {
    Policy policy;
    Bytes ram;
    Bytes own;     // QEMU's
    Bytes target;  // of the balloon, as set last
    Bytes actual;
    Bytes unused;                  // by the balloon's statistics
    bool without_agent = false;    // it has none, and will not
    bool deflates_on_oom = false;  // its balloon, so that it may be made small from outside
    // All statistics of the balloon, in the steps in which the guest told them anew.
    std::optional<sizing::Statistics> statistics;
    std::optional<AgentWord> agent;  // its last word
};

class HostPolicy {
  public:
    virtual ~HostPolicy() = default;
    // Its guests run acma-agent, where they can.
    [[nodiscard]] virtual bool with_agents() const = 0;
    // It is called at once when an agent says that only the host can help.
    [[nodiscard]] virtual bool hears_at_once() const { return false; }
    // Called every second; a target for each VM, in the same order.
    [[nodiscard]] virtual std::vector<Bytes> targets(const HostView& host,
                                                     const std::vector<VmView>& vms, Time now) = 0;
    // It died, and starts anew.
    virtual void restart() = 0;
};

// Ours: engine/arbiter once a second, told what the controller would tell it; guests without an
// agent by engine/sizing.
[[nodiscard]] std::unique_ptr<HostPolicy> acma_policy();
// oVirt MOM 0.6.4, balloon.rules with the defaults of momd.conf: every 5 s a sample, every 10 s
// a decision on the average of ten; 5 % down at most, up to what is used and 20 % at once, and
// nobody up while less than 20 % of the host are free.
[[nodiscard]] std::unique_ptr<HostPolicy> mom_policy();
// Proxmox VE, pvestatd: every 10 s what is missing to 80 % of the host used is split by shares, at
// most 100 MiB a VM.
[[nodiscard]] std::unique_ptr<HostPolicy> proxmox_policy();
// max-mem for each.
[[nodiscard]] std::unique_ptr<HostPolicy> static_policy();

struct NamedPolicy {
    std::string_view name;
    std::unique_ptr<HostPolicy> (*make)();
};
// All of them, ours first.
[[nodiscard]] const std::vector<NamedPolicy>& policies();

}  // namespace acma::simulation
