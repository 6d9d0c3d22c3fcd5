// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/arbiter/arbiter.h"
#include "engine/arbiter/needs.h"
#include "engine/simulation/host_policy.h"

namespace acma::simulation {

namespace {

// As the controller does it (host-controller/vm): when a balloon counts as stuck.
constexpr Micros k_stuck_after = Seconds(5);
constexpr Bytes k_slack = 1_MiB;

arbiter::AgentWord word_of(const AgentWord& word, const VmView& vm) {
    return {.ram = vm.ram,
            .size = std::min(vm.ram - word.owned, vm.actual),
            .kernel = word.kernel,
            .voluntary = word.voluntary,
            .mem_free = word.mem_free,
            .mem_available = word.mem_free,
            .working_set = word.working_set,
            .psi = word.psi};
}

class AcmaPolicy : public HostPolicy {
  public:
    [[nodiscard]] bool with_agents() const override { return true; }
    [[nodiscard]] bool hears_at_once() const override { return true; }

    [[nodiscard]] std::vector<Bytes> targets(const HostView& host, const std::vector<VmView>& vms,
                                             Time now) override {
        watched_.resize(vms.size());
        std::vector<arbiter::Guest> guests;
        for (size_t i = 0; i < vms.size(); ++i) {
            guests.push_back(guest_of(watched_[i], vms[i], now));
        }
        const arbiter::Decision decision = arbiter::arbitrate(
            {.budget = host.memory - host.reserve,
             .reserved = host.reserved,
             .strain = watch_.observe({.available = host.free, .reserve = host.reserve}, now),
             .short_of = watch_.short_of()},
            guests);
        std::vector<Bytes> targets;
        for (const arbiter::Grant& grant : decision.grants) {
            targets.push_back(grant.size);
        }
        return targets;
    }

    void restart() override {
        watched_.clear();
        watch_ = {};
    }

  private:
    struct Watched {
        std::optional<Bytes> actual;
        Bytes target;
        Time moved_at{};
        std::optional<Time> alone_since;  // no agent tells anything
        sizing::State sizing;
    };

    [[nodiscard]] static bool arrived(const VmView& vm) {
        return (vm.actual > vm.target ? vm.actual - vm.target : vm.target - vm.actual) <= k_slack;
    }

    [[nodiscard]] static bool stuck(Watched& watched, const VmView& vm, Time now) {
        if (watched.actual != vm.actual || watched.target != vm.target || arrived(vm)) {
            watched.actual = vm.actual;
            watched.target = vm.target;
            watched.moved_at = now;
        }
        return now - watched.moved_at >= k_stuck_after;
    }

    // As Vm::claim() has it.
    [[nodiscard]] static arbiter::Guest guest_of(Watched& watched, const VmView& vm, Time now) {
        arbiter::Guest guest{.min = std::min(vm.policy.min_mem, vm.ram),
                             .max = std::min(vm.policy.max_mem, vm.ram),
                             .shares = vm.policy.shares,
                             .own = vm.own,
                             .grant = vm.target,
                             .holds = vm.actual};
        const bool is_stuck = stuck(watched, vm, now);
        if (is_stuck && vm.actual > vm.target) {
            guest.holds = vm.ram;
            guest.stuck_at = vm.actual;
        }
        if (vm.agent && now - vm.agent->at < arbiter::k_word_lasts) {
            watched.alone_since.reset();
            watched.sizing = {};
            guest.needs = arbiter::needs_of(word_of(*vm.agent, vm), vm.policy.psi);
            return guest;
        }
        watched.alone_since = watched.alone_since.value_or(now);
        if (!vm.without_agent && now - *watched.alone_since < sizing::k_agent_comes_within) {
            return guest;
        }
        const sizing::Limits limits{.min = guest.min,
                                    .max = guest.max,
                                    .psi = vm.policy.psi,
                                    .yields_on_oom = vm.deflates_on_oom && vm.without_agent};
        const sizing::Sample sample{.size = vm.actual,
                                    .arrived = arrived(vm),
                                    .stuck = is_stuck,
                                    .statistics = vm.statistics};
        const sizing::Decision decision = sizing::step(limits, sample, watched.sizing, now);
        guest.needs = arbiter::needs_of(decision);
        guest.max = std::min(guest.max, decision.size.value_or(guest.max));
        return guest;
    }

    std::vector<Watched> watched_;
    arbiter::StrainWatch watch_;
};

}  // namespace

std::unique_ptr<HostPolicy> acma_policy() {
    return std::make_unique<AcmaPolicy>();
}

}  // namespace acma::simulation
