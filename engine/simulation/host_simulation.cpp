// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/host_simulation.h"

#include <algorithm>

namespace acma::simulation {

HostSimulation::HostSimulation(Scenario scenario, HostPolicy& policy)
    : scenario_(std::move(scenario)), policy_(policy) {
    for (const VmConfig& vm : scenario_.vms) {
        vms_.emplace_back(vm, policy_.with_agents());
    }
    results_.host_free_min = scenario_.memory;
}

Results HostSimulation::run() {
    while (step()) {
    }
    return results_;
}

bool HostSimulation::step() {
    const Micros since = now_ - Time{};
    if (since >= scenario_.end) {
        return false;
    }
    if (since % k_host_step == Micros(0) || (policy_.hears_at_once() && is_called())) {
        step_host();
    }
    for (SimVm& vm : vms_) {
        vm.run(now_, k_guest_step);
    }
    now_ += k_guest_step;
    swap_on_host();
    count();
    return true;
}

bool HostSimulation::is_out(std::optional<size_t> vm) const {
    const Micros since = now_ - Time{};
    return std::any_of(scenario_.outages.begin(), scenario_.outages.end(),
                       [since, vm](const Outage& outage) {
                           return outage.vm == vm && outage.from <= since && since < outage.until;
                       });
}

// Its agent said so since the last step of its guest.
bool HostSimulation::is_called() const {
    return std::any_of(vms_.begin(), vms_.end(), [this](const SimVm& vm) {
        const auto& word = vm.agent_word();
        return word && word->at_grant && now_ - word->at < k_guest_step;
    });
}

void HostSimulation::step_host() {
    for (const Outage& outage : scenario_.outages) {
        if (outage.vm) {
            vms_[*outage.vm].set_agent_running(!is_out(outage.vm));
        }
    }
    if (is_out(std::nullopt)) {
        policy_was_out_ = true;
        return;
    }
    if (std::exchange(policy_was_out_, false)) {
        policy_.restart();
    }
    HostView host{.memory = scenario_.memory, .reserve = scenario_.reserve};
    if (scenario_.reservation && now_ - Time{} >= scenario_.reservation->at) {
        host.reserved = scenario_.reservation->size;
    }
    Bytes resident;
    std::vector<VmView> views;
    for (const SimVm& vm : vms_) {
        resident += vm.resident() + vm.config().own;
        const bool told = (now_ - Time{}) % k_statistics_period == Micros(0);
        views.push_back({.policy = vm.config().policy,
                         .ram = vm.ram(),
                         .own = vm.config().own,
                         .target = vm.target(),
                         .actual = vm.actual(),
                         .unused = vm.free(),
                         .without_agent = vm.config().without_agent,
                         .deflates_on_oom = vm.config().balloon.deflates_on_oom,
                         .statistics = told ? std::optional(vm.statistics()) : std::nullopt,
                         .agent = vm.agent_word()});
    }
    host.free = scenario_.memory - (resident - host_swapped_);
    const std::vector<Bytes> targets = policy_.targets(host, views, now_);
    for (size_t i = 0; i < vms_.size(); ++i) {
        if (targets[i] != vms_[i].target()) {
            vms_[i].set_target(targets[i]);
            results_.target_changes += now_ - Time{} >= scenario_.counted_from ? 1U : 0U;
        }
    }
}

void HostSimulation::swap_on_host() {
    Bytes resident;
    Bytes cold;
    Bytes hot;
    for (const SimVm& vm : vms_) {
        resident += vm.resident() + vm.config().own;
        cold += vm.cold_resident();
        hot += vm.hot_resident();
    }
    host_swapped_ = resident - scenario_.memory;
    const Bytes hot_swapped = host_swapped_ - cold;
    for (SimVm& vm : vms_) {
        vm.lose_to_host(Bytes(detail::mul_div_saturating(hot_swapped.count(),
                                                         vm.hot_resident().count(), hot.count())));
    }
    if (now_ - Time{} > scenario_.counted_from) {
        results_.host_swap_max = std::max(results_.host_swap_max, host_swapped_);
        results_.host_free_min =
            std::min(results_.host_free_min, scenario_.memory - (resident - host_swapped_));
    }
}

Bytes HostSimulation::promised() const {
    Bytes sum;
    for (const SimVm& vm : vms_) {
        sum += vm.config().own + std::max(vm.target(), vm.actual());
    }
    return sum;
}

void HostSimulation::count() {
    const Micros since = now_ - Time{};
    Bytes promises = promised();
    if (const auto& asked = scenario_.reservation; asked && since >= asked->at) {
        if (!results_.reservation && promises + asked->size <= scenario_.budget()) {
            results_.reservation = since - asked->at;
        }
        promises += results_.reservation ? asked->size : Bytes(0);
    }
    results_.unbacked_max = std::max(results_.unbacked_max, promises - scenario_.budget());

    if (const auto& doubling = scenario_.doubling;
        doubling && !results_.double_need && since > doubling->at) {
        const SimVm& vm = vms_[doubling->vm];
        if (vm.has_all() && vm.grew_to(vm.config().demand.at(doubling->at))) {
            results_.double_need = since - doubling->at;
        }
    }

    if (since <= scenario_.counted_from) {
        return;
    }
    results_.counted += k_guest_step;
    Bytes wanted;
    for (const SimVm& vm : vms_) {
        wanted += vm.config().own + vm.wanted();
    }
    const bool fits = wanted <= scenario_.budget();
    for (const SimVm& vm : vms_) {
        results_.stalled += vm.stalled_in_last_run();
        if (fits && vm.wanted() <= vm.config().policy.max_mem) {
            results_.demand_fits += k_guest_step;
            results_.demand_met += vm.has_all() ? k_guest_step : Micros(0);
            results_.at_grant += vm.lacks_at_its_grant() ? k_guest_step : Micros(0);
        }
    }
}

}  // namespace acma::simulation
