// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/arbiter/arbiter.h"
#include "engine/simulation/host_policy.h"

namespace acma::simulation {

namespace {

// As the controller does it (host-controller/vm): a word this old is none, what a guest keeps free
// by itself, and when a balloon counts as stuck.
constexpr Micros k_fresh = Seconds(6);
constexpr Micros k_stuck_after = Seconds(5);
constexpr Bytes k_slack = 1_MiB;

Bytes margin_of(Bytes ram) {
    return std::max(64_MiB, ram / 32);
}

arbiter::Needs needs_of(const AgentWord& word, const VmView& vm) {
    const Bytes margin = margin_of(vm.ram);
    const Bytes size = std::min(vm.ram - word.owned, vm.actual);
    const Bytes used = size - std::min(word.mem_free, size) + margin;
    const bool helps_itself = word.voluntary > margin || word.mem_free > margin * 2;
    return {.active = std::min(used, word.working_set + margin),
            .used = used,
            .pressed = word.psi > vm.policy.psi && !helps_itself};
}

// Without an agent only the balloon's statistics tell something: what is used, not whether it is
// needed.
arbiter::Needs needs_by_statistics(const VmView& vm) {
    const Bytes used = vm.actual - vm.unused + margin_of(vm.ram);
    return {.active = used, .used = used};
}

class AcmaPolicy : public HostPolicy {
  public:
    [[nodiscard]] bool with_agents() const override { return true; }

    [[nodiscard]] std::vector<Bytes> targets(const HostView& host, const std::vector<VmView>& vms,
                                             Time now) override {
        watched_.resize(vms.size());
        std::vector<arbiter::Guest> guests;
        for (size_t i = 0; i < vms.size(); ++i) {
            guests.push_back(guest_of(vms[i], stuck(watched_[i], vms[i], now), now));
        }
        const arbiter::Decision decision =
            arbiter::arbitrate({.budget = host.memory - host.reserve,
                                .reserved = host.reserved,
                                .strained = host.free < host.reserve / 2},
                               guests);
        std::vector<Bytes> targets;
        for (const arbiter::Grant& grant : decision.grants) {
            targets.push_back(grant.size);
        }
        return targets;
    }

    void restart() override { watched_.clear(); }

  private:
    struct Watched {
        std::optional<Bytes> actual;
        Bytes target;
        Time moved_at{};
    };

    [[nodiscard]] static bool stuck(Watched& watched, const VmView& vm, Time now) {
        const Bytes apart = vm.actual > vm.target ? vm.actual - vm.target : vm.target - vm.actual;
        if (watched.actual != vm.actual || watched.target != vm.target || apart <= k_slack) {
            watched = {.actual = vm.actual, .target = vm.target, .moved_at = now};
        }
        return now - watched.moved_at >= k_stuck_after;
    }

    [[nodiscard]] static arbiter::Guest guest_of(const VmView& vm, bool stuck, Time now) {
        arbiter::Guest guest{.min = std::min(vm.policy.min_mem, vm.ram),
                             .max = std::min(vm.policy.max_mem, vm.ram),
                             .shares = vm.policy.shares,
                             .own = vm.own,
                             .grant = vm.target,
                             .holds = stuck ? vm.ram : vm.actual};
        if (vm.without_agent) {
            guest.needs = needs_by_statistics(vm);
        } else if (vm.agent && now - vm.agent->at < k_fresh) {
            guest.needs = needs_of(*vm.agent, vm);
        }
        return guest;
    }

    std::vector<Watched> watched_;
};

}  // namespace

std::unique_ptr<HostPolicy> acma_policy() {
    return std::make_unique<AcmaPolicy>();
}

}  // namespace acma::simulation
