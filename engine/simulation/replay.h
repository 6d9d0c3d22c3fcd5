// SPDX-License-Identifier: Apache-2.0
// What others would have granted: recorded decisions (engine/arbiter/record.h), decided anew.
//
// Ours is told in each cycle exactly what it was told then, so a difference is a change of the
// program. The others keep their own targets from cycle to cycle, and balloons follow them at once.
// What guests used is what they used then: nobody knows what they would have used with more.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/arbiter/record.h"
#include "engine/simulation/host_policy.h"

namespace acma::simulation {

// So many are told of each policy, one a VM.
constexpr size_t k_first_differences = 5;
// A pause in the log that is longer counts for no more than this.
constexpr Micros k_longest_cycle = Seconds(10);

struct Difference {
    Micros wall{0};
    std::string vm;
    Bytes recorded;
    Bytes granted;
    bool operator==(const Difference&) const = default;
};

struct Replayed {
    std::string policy;
    // Time, summed over VMs whose needs were known, in which the budget had what all wanted; and in
    // which the VM was granted what it used, and more where it stalled.
    Micros demand_fits{0};
    Micros demand_met{0};
    Micros vm_time{0};  // of all VMs
    uint64_t changes = 0;
    Bytes granted_mean;        // to all VMs together, over time
    Bytes over_budget_max;     // the most by which that and QEMU's own exceeded the budget
    uint64_t differences = 0;  // grants that are not near what was granted then
    std::vector<Difference> first;
    bool operator==(const Replayed&) const = default;
};

struct ReplayReport {
    uint64_t cycles = 0;
    uint64_t vms = 0;     // that were there at all
    uint64_t grants = 0;  // one a VM and cycle
    Micros from{0};       // since 1970-01-01 UTC
    Micros until{0};
    uint64_t dropped = 0;            // cycles that the log says it lacks
    uint64_t broken = 0;             // lines that are none: for whoever reads the log to fill in
    uint64_t newer = 0;              // lines of a newer version: the same
    std::vector<Replayed> policies;  // what was granted then ("recorded") comes first
    bool operator==(const ReplayReport&) const = default;
};

class Replay {
  public:
    // Those of policies() that have this name, or all of them where it is empty.
    explicit Replay(std::string_view policy);
    ~Replay();
    Replay(const Replay&) = delete;
    Replay& operator=(const Replay&) = delete;

    // In their order.
    void add(const arbiter::Record& record);
    [[nodiscard]] ReplayReport report() const;

  private:
    class Replayer;
    std::vector<Replayer> replayers_;
    ReplayReport report_;
    std::set<std::string> seen_;  // UUIDs
    Time now_{};
};

}  // namespace acma::simulation
