// SPDX-License-Identifier: Apache-2.0
// A scenario under several policies, side by side: what `acmactl simulate` prints.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/simulation/host_simulation.h"
#include "engine/simulation/scenario.h"

namespace acma::simulation {

struct PolicyResults {
    std::string policy;
    Results results;
    bool operator==(const PolicyResults&) const = default;
};

struct Report {
    std::string scenario;
    std::string what;
    uint64_t seed = 0;
    uint64_t vms = 0;
    Bytes memory;
    Bytes budget;
    Bytes max_mem;                     // of all VMs together
    std::optional<Bytes> reservation;  // that is asked for
    bool doubling = false;             // a VM doubles its need
    std::vector<PolicyResults> policies;
    bool operator==(const Report&) const = default;
};

// Runs it under those of policies() that have `policy` for a name, or under all where that is
// empty.
[[nodiscard]] Report simulate(const Scenario& scenario, uint64_t seed, std::string_view policy);

}  // namespace acma::simulation
