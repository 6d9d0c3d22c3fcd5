// SPDX-License-Identifier: Apache-2.0
// How a VM is shown to operators.
#include <algorithm>
#include <array>

#include "host-controller/vm/vm.h"

namespace acma::host {

proto::VmState Vm::state() const {
    constexpr std::array<std::string_view, 7> k_distrust{
        "lying", "stale", "silent", "flooding", "unreachable", "channel-held", "bad-policy"};
    if (!policy_) {
        return marks_.contains("bad-policy") ? proto::VmState::marked : proto::VmState::unmanaged;
    }
    if (mode_in_force() == Mode::off) {
        return proto::VmState::off;
    }
    const bool marked = std::any_of(k_distrust.begin(), k_distrust.end(),
                                    [this](auto word) { return marks_.contains(word); });
    if (marked) {
        return proto::VmState::marked;
    }
    return mode_in_force() == Mode::automatic ? proto::VmState::managed : proto::VmState::observed;
}

VmFigures Vm::figures() const {
    VmFigures figures;
    if (policy_) {
        figures.min_mem = policy_->min_mem;
        figures.max_mem = policy_->max_mem;
        figures.psi_target = policy_->psi;
    }
    figures.grant = balloon_.target() + plug_.sums().requested;
    figures.size = balloon_.actual() + plug_.sums().current;
    if (host_) {
        figures.host = host_->total();
        figures.qemu_own = host_->qemu_own;
    }
    if (claimed_ && agent_connected_ && !marks_.contains("stale")) {
        figures.size -= claimed_->status.voluntary;
        figures.psi = claimed_->status.psi;
    }
    return figures;
}

proto::VmSummary Vm::summary() const {
    proto::VmSummary view;
    view.name = facts_.name;
    view.uuid = facts_.vm.uuid;
    view.id = facts_.id;
    view.state = state();
    view.policy = policy_;
    view.policy_source = policy_source_;
    view.ram = facts_.ram;
    view.balloon_target = balloon_.target();
    view.balloon_actual = balloon_.actual();
    view.size = figures().size;
    if (host_) {
        view.host = host_->total();
        view.host_swap = host_->swapped;
        view.qemu_own = host_->qemu_own;
    }
    view.held = limit_.in_force;
    if (!plug_.devices().empty()) {
        view.virtio_mem = plug_.sums().current;
        view.virtio_mem_requested = plug_.sums().requested;
    }
    view.agent_connected = agent_connected_;
    if (claimed_) {
        view.agent_state = claimed_->status.state;
        view.psi = claimed_->status.psi;
    } else if (statistics_.told()) {
        view.psi = statistics_.told()->psi;
    }
    for (const auto& [what, message] : marks_) {
        view.marks.push_back(proto::Mark{what, message});
    }
    view.last_reason = history_.last_reason();
    if (const auto last = history_.last_decision()) {
        view.last_change = last->decision;
        view.last_change_reason = last->reason;
        view.last_change_time = last->time;
    }
    return view;
}

proto::VmDetail Vm::detail(Now now) const {
    proto::VmDetail view{summary(), {}};
    view.agent.connected = agent_connected_;
    view.agent.version = agent_info_.version;
    if (agent_info_.acma) {
        view.agent.capabilities = agent_info_.acma->capabilities;
    }
    if (claimed_) {
        view.agent.age = now.mono - claimed_->at;
        view.agent.status = claimed_->status;
    }
    view.statistics = statistics_view(now);
    return view;
}

}  // namespace acma::host
