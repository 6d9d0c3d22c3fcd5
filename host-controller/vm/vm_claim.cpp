// SPDX-License-Identifier: Apache-2.0
// A VM as the arbiter between VMs sees it.
#include <algorithm>
#include <array>

#include "engine/arbiter/needs.h"
#include "host-controller/vm/vm.h"

namespace acma::host {

namespace {
arbiter::AgentWord word_of(const AgentStatus& status, const DomainFacts& facts, Bytes plugged) {
    const Bytes ram = facts.ram + plugged;
    return {.ram = ram,
            .size = std::min(ram - status.owned, facts.current + plugged),
            .kernel = ram - status.mem_total,
            .voluntary = status.voluntary,
            .mem_free = status.mem_free,
            .mem_available = status.mem_available,
            .working_set = status.working_set,
            .psi = status.psi};
}
}  // namespace

arbiter::Guest Vm::claim(Now now) const {
    constexpr std::array<std::string_view, 6> k_distrust{"lying",    "stale",       "silent",
                                                         "flooding", "unreachable", "channel-held"};
    // What may be plugged is the guest's to plug; what is not unplugged yet is still there.
    const plugging::Sums plugged = plug_.sums();
    arbiter::Guest guest{.own = host_ ? host_->qemu_own : Bytes(0),
                         .grant = balloon_.target() + plugged.requested};
    // A balloon that stays above its target, or rose by itself, stops the guest from nothing.
    const bool stuck =
        balloon_.actual() > balloon_.target() && (balloon_.stuck(now.mono) || balloon_.asked());
    guest.holds =
        (facts_.has_balloon && !stuck ? balloon_.actual() : balloon_.ram()) + plugged.may_hold;
    if (stuck) {
        guest.stuck_at = balloon_.actual() + plugged.may_hold;
    }
    if (may_hold_all_) {
        guest.grant = guest.holds = std::max(guest.holds, balloon_.ram() + plugged.may_hold);
    }
    const bool acts = policy_ && mode_in_force() == Mode::automatic;
    if (!acts || !facts_.has_balloon || !wanted_target()) {
        guest.min = guest.max = guest.grant;
        guest.fixed = true;
        return guest;
    }
    const Bytes pluggable = std::min(goal_of_devices(), plug_.most());
    const Bytes boot = std::min({balloon_.ram(), balloon_.ceiling().value_or(balloon_.ram()),
                                 statistics_.decision().size.value_or(balloon_.ram())});
    guest.max = std::min(policy_->max_mem, boot + std::max(pluggable, plugged.requested));
    // Below what is plugged goes the balloon alone.
    guest.min = std::min(least_boot_memory() + plugged.requested, guest.max);
    guest.shares = policy_->shares;
    const bool trusted = agent_connected_ && claimed_ &&
                         now.mono - claimed_->fresh_at < arbiter::k_word_lasts &&
                         std::none_of(k_distrust.begin(), k_distrust.end(),
                                      [this](auto word) { return marks_.contains(word); });
    if (trusted) {
        guest.needs =
            arbiter::needs_of(word_of(claimed_->status, facts_, plugged.current), policy_->psi);
    } else {
        guest.needs = arbiter::needs_of(statistics_.decision());
    }
    return guest;
}

arbiter::SwapUser Vm::swap_user() const {
    const bool acts = policy_ && mode_in_force() == Mode::automatic;
    return {.shares = acts ? policy_->shares : 0,
            .pages_out =
                acts && agent_connected_ && claimed_ && claimed_->status.quota_per_s > Bytes(0)};
}

Actions Vm::on_swap_share(Bytes per_s, Now now) {
    Actions actions;
    if (swap_out_per_s_ != per_s) {
        swap_out_per_s_ = per_s;
        order_agent(now, actions);
    }
    return actions;
}

Actions Vm::on_grant(const arbiter::Grant& grant, Now now) {
    Actions actions;
    if (grant_ != grant) {
        grant_ = grant;
        decide_balloon(now, actions);
        decide_plug(now, actions);
        decide_limit(now, actions);
        order_agent(now, actions);
    }
    return actions;
}

}  // namespace acma::host
