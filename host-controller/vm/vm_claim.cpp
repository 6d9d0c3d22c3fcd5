// SPDX-License-Identifier: Apache-2.0
// A VM as the arbiter between VMs sees it.
#include <algorithm>
#include <array>

#include "host-controller/vm/vm.h"

namespace acma::host {

namespace {
// A calm agent tells a new sample every two seconds.
constexpr Micros k_fresh{6'000'000};

// What a guest keeps free by itself (engine/scaling, reserve()).
Bytes margin_of(Bytes ram) {
    return std::max(64_MiB, ram / 32);
}

arbiter::Needs needs_of(const AgentStatus& status, const DomainFacts& facts, BasisPoints target) {
    const Bytes margin = margin_of(facts.ram);
    const Bytes size = std::min(facts.ram - status.owned, facts.current);
    const Bytes used = size - std::min(status.mem_free, size) + margin;
    const Bytes kernel = facts.ram - status.mem_total;
    // What it gives itself back needs no word of the host's.
    const bool helps_itself = status.voluntary > margin || status.mem_available > margin * 2;
    return {.active = status.working_set > Bytes(0)
                          ? std::min(used, status.working_set + kernel + margin)
                          : used,
            .used = used,
            .pressed = status.psi > target && !helps_itself};
}
}  // namespace

arbiter::Guest Vm::claim(Now now) const {
    constexpr std::array<std::string_view, 6> k_distrust{"lying",    "stale",       "silent",
                                                         "flooding", "unreachable", "channel-held"};
    arbiter::Guest guest{.own = (host_ ? host_->qemu_own : Bytes(0)) + facts_.virtio_mem,
                         .grant = balloon_.target()};
    // A balloon that does not follow, or rose by itself, stops the guest from nothing.
    const bool follows = facts_.has_balloon && !balloon_.stuck(now.mono) && !balloon_.asked();
    guest.holds = follows ? balloon_.actual() : balloon_.ram();
    if (may_hold_all_) {
        guest.grant = guest.holds = std::max(guest.holds, balloon_.ram());
    }
    const bool acts = policy_ && mode_in_force() == Mode::automatic;
    if (!acts || !facts_.has_balloon || !wanted_target()) {
        guest.min = guest.max = guest.grant;
        guest.fixed = true;
        return guest;
    }
    guest.max =
        std::min({policy_->max_mem, balloon_.ram(), balloon_.ceiling().value_or(balloon_.ram())});
    guest.min = std::min(policy_->min_mem, guest.max);
    guest.shares = policy_->shares;
    const bool trusted = agent_connected_ && claimed_ && now.mono - claimed_->fresh_at < k_fresh &&
                         std::none_of(k_distrust.begin(), k_distrust.end(),
                                      [this](auto word) { return marks_.contains(word); });
    if (trusted) {
        guest.needs = needs_of(claimed_->status, facts_, policy_->psi);
    } else {
        guest.needs = needs_by_statistics();
    }
    return guest;
}

Actions Vm::on_grant(const arbiter::Grant& grant, Now now) {
    Actions actions;
    if (grant_ != grant) {
        grant_ = grant;
        decide_balloon(now, actions);
        order_agent(now, actions);
    }
    return actions;
}

}  // namespace acma::host
