// SPDX-License-Identifier: Apache-2.0
// Runs a scenario under a policy: guests in steps of 100 ms, the host in steps of a second.
//
// The host swaps by itself when more is resident than it has: cold memory first, at once and for
// nothing, which flatters whoever lets it come to that.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/simulation/host_policy.h"
#include "engine/simulation/scenario.h"

namespace acma::simulation {

constexpr Micros k_guest_step = Millis(100);
constexpr Micros k_host_step = Seconds(1);
// Balloon drivers tell their statistics so often, as the controller has it
// (host-controller/vm/memory_statistics.h).
constexpr Micros k_statistics_period = Seconds(2);

struct Results {
    // Time, summed over VMs, in which the budget had what all of them wanted together, and in which
    // each of them had it.
    Micros demand_fits{0};
    Micros demand_met{0};
    // Of the time in which one did not: it had taken back all that it may, the rest is the host's.
    Micros at_grant{0};
    Micros stalled{0};  // summed over VMs
    Bytes host_free_min;
    Bytes host_swap_max;
    // The most by which what VMs may hold (their targets, or what they have not given back yet),
    // QEMU's own and a reservation that was given exceed the budget.
    Bytes unbacked_max;
    uint64_t target_changes = 0;
    Micros counted{0};                  // by the clock
    std::optional<Micros> double_need;  // until the VM that doubled its need has it
    std::optional<Micros> reservation;  // until it was there
    bool operator==(const Results&) const = default;
};

class HostSimulation {
  public:
    // `policy` outlives it.
    HostSimulation(Scenario scenario, HostPolicy& policy);

    // One step; false at the end.
    bool step();
    [[nodiscard]] Results run();

    [[nodiscard]] const Results& results() const { return results_; }
    [[nodiscard]] const std::vector<SimVm>& vms() const { return vms_; }
    [[nodiscard]] Time now() const { return now_; }
    [[nodiscard]] Bytes promised() const;  // to all VMs, QEMU's own included

  private:
    [[nodiscard]] bool is_out(std::optional<size_t> vm) const;
    [[nodiscard]] bool is_called() const;
    void step_host();
    void swap_on_host();
    void count();

    const Scenario scenario_;
    HostPolicy& policy_;
    std::vector<SimVm> vms_;
    Time now_{};
    bool policy_was_out_ = false;
    Bytes host_swapped_;
    Results results_;
};

}  // namespace acma::simulation
