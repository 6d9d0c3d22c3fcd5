// SPDX-License-Identifier: Apache-2.0
// All VMs of this host: brings events from the outside to the VM that they are about, carries out
// what the VMs decide, and answers the operator. Runs on one thread; knows no socket and no
// libvirt. Once a second, and when a guest calls for more, the arbiter (engine/arbiter) splits the
// host among them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/arbiter/record.h"
#include "engine/arbiter/reservations.h"
#include "engine/arbiter/strain.h"
#include "engine/base/result.h"
#include "host-controller/config/config.h"
#include "host-controller/hostmem/host_reader.h"
#include "host-controller/metrics/histogram.h"
#include "host-controller/ports.h"
#include "host-controller/vm/vm.h"
#include "proto/controller_api.h"

namespace acma::host {

class Fleet {
  public:
    struct Outside {  // all outlive the fleet
        Hypervisor& hypervisor;
        AgentLinks& agents;
        HostMemory& host_memory;
        std::function<Now()> clock;
        std::function<void(bool warning, const std::string& text)> log;
        // Calls on_wake() once, so much later; may be empty, then only the second counts.
        std::function<void(Micros delay)> wake = {};
        // Gets each cycle of the arbiter; may be empty.
        std::function<void(arbiter::Record record)> record = {};
    };
    struct Settings {
        std::vector<PolicyRule> rules;
        std::optional<Bytes> host_reserve;  // none: a sixteenth of the host's memory
        Bytes swap_out_limit;               // of all VMs together, in a second
        bool dry_run = false;
        std::vector<std::string> guest_agents = {};  // names (globs) whose stock one may be asked
        bool hold = false;                           // by memory.high, who stays above his grant
    };
    Fleet(Settings settings, Outside outside);

    void on_hypervisor(const HypervisorEvent& event);
    void on_agent(const VmId& vm, const AgentEvent& event);
    void on_host_bytes(const VmId& vm, const Result<HostBytes>& bytes);
    void tick();     // once a second
    void on_wake();  // as asked for
    // Lets go whatever is held by us alone; `done` when that is over, perhaps at once.
    void end(std::function<void()> done);
    // The host's own figures, as read outside; grants are added here.
    [[nodiscard]] proto::HostSummary& host() { return host_; }
    [[nodiscard]] HostCounters& host_counters() { return counters_; }

    [[nodiscard]] proto::VmList list() const;
    // `domain` is a name, a UUID or an id, looked up in virsh's order: id, UUID, name.
    [[nodiscard]] Result<VmId> find(std::string_view domain) const;
    [[nodiscard]] Result<proto::VmDetail> detail(std::string_view domain) const;
    [[nodiscard]] Result<proto::Explanation> explain(std::string_view domain) const;
    // Writes the domain's metadata; `done` gets the VM as it is then. Nothing changes on error,
    // such as Error{busy} while libvirt is not connected.
    using Changed = std::function<void(const Result<proto::VmDetail>&)>;
    void change_policy(std::string_view domain, const proto::PolicyChange& change, Changed done);

    // Nothing is changed any more, until resumed; not kept across a restart of the controller.
    [[nodiscard]] Result<proto::HostSummary> pause(bool paused);
    // Mode off, and all RAM; `done` gets the VM as it is then.
    void release(std::string_view domain, Changed done);
    // Keeps memory of the budget free for a VM that is to come; its start uses it up. Not kept
    // across a restart of the controller. Error{busy}: libvirt is not connected.
    [[nodiscard]] Result<proto::ReservationList> reserve(const proto::ReservationRequest& request);
    [[nodiscard]] Result<proto::ReservationList> give_up(uint64_t reservation);
    [[nodiscard]] proto::ReservationList reservations() const;

    [[nodiscard]] const std::map<VmId, Vm>& vms() const { return vms_; }
    [[nodiscard]] const Timings& timings() const { return timings_; }
    [[nodiscard]] Micros agent_cost(const VmId& vm) const { return outside_.agents.cost(vm); }

  private:
    void up(const HypervisorUp& up);
    void seen(const DomainFacts& facts, bool policy_written);
    void gone(const VmId& vm, const std::string& why);
    void watch_host(Now now);
    void share_swap(Now now);
    void arbitrate(Now now);
    void arbitrate_soon(Now now);
    struct Cycle {  // the last one of the arbiter
        Micros wall{0};
        arbiter::Host host;
        std::vector<VmId> ids;
        std::vector<arbiter::Guest> guests;  // as ids
        arbiter::Decision decision;
    };
    // Asks every VM first, then does what they want: the outside may answer at once.
    template <typename Ask>
    void ask_all(Ask ask);
    [[nodiscard]] arbiter::Record record() const;
    [[nodiscard]] std::optional<proto::ExplainEntry> standing(const VmId& vm) const;
    void carry_out(const VmId& vm, const Actions& actions);
    void write_balloon(const VmId& vm, Bytes target);
    void write_limit(const VmId& vm, const LimitChange& change);
    void write_plug(const VmId& vm, const PlugChange& change);
    void end_if_done();
    void write_note(const VmId& vm, const StateNote& note);
    void read_statistics(const VmId& vm, ReadStatistics order);
    void read_guest_agent(const VmId& vm);
    void log(bool warning, const std::string& text) { outside_.log(warning, text); }
    // Error{busy}: which VMs there are is not known, so nothing can be promised about them.
    [[nodiscard]] Status connected() const;
    // Error{invalid}: with this policy the guarantees would exceed the budget, by more than now.
    [[nodiscard]] Status fits_with(const VmId& changed, const Policy& policy) const;
    [[nodiscard]] proto::Reservation show(const arbiter::Reservation& reservation) const;
    [[nodiscard]] std::optional<Policy> policy_to_change(const VmId& vm) const;
    [[nodiscard]] std::string why_no_policy(const VmId& vm) const;

    const Settings settings_;
    Outside outside_;
    std::map<VmId, Vm> vms_;
    // The last policy that was posted to the hypervisor and not answered yet: what comes meanwhile
    // changes this one.
    struct Posted {
        uint64_t number = 0;
        Policy policy;
    };
    std::map<VmId, Posted> posted_;
    uint64_t posts_ = 0;
    proto::HostSummary host_;
    HostCounters counters_;
    arbiter::StrainWatch strain_;
    Timings timings_;
    Cycle cycle_;
    arbiter::Reservations reservations_;
    Time arbitrated_at_{};
    bool wakes_ = false;           // on_wake() will come
    Bytes missing_;                // by the last arbitration
    std::function<void()> ended_;  // asked for by end()
    std::string last_outage_;      // said once, not at every attempt to reconnect
};

}  // namespace acma::host
