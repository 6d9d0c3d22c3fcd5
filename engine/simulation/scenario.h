// SPDX-License-Identifier: Apache-2.0
// What happens on a simulated host. Values, made by name and seed; they are fixed before anything
// is tuned to them, and are not changed to look better.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/simulation/sim_vm.h"

namespace acma::simulation {

struct Outage {
    Micros from{0};
    Micros until{0};
    std::optional<size_t> vm;  // whose agent is gone; none: the controller, or other host policy
    bool operator==(const Outage&) const = default;
};

// So much is asked to be kept free, as for a VM that is to be started.
struct Reservation {
    Micros at{0};
    Bytes size;
    bool possible = true;  // there is a way to free it
    bool operator==(const Reservation&) const = default;
};

struct Doubling {
    size_t vm = 0;
    Micros at{0};
    bool operator==(const Doubling&) const = default;
};

struct Scenario {
    std::string name;
    std::string what;
    Bytes memory;   // of the host
    Bytes reserve;  // of it, not for VMs; the rest is the budget
    std::vector<VmConfig> vms;
    Micros counted_from{0};  // until then everybody may settle
    Micros end{0};
    std::vector<Outage> outages;
    std::optional<Reservation> reservation;
    std::optional<Doubling> doubling;
    bool operator==(const Scenario&) const = default;

    [[nodiscard]] Bytes budget() const { return memory - reserve; }
};

struct ScenarioName {
    std::string_view name;
    std::string_view what;
};
[[nodiscard]] const std::vector<ScenarioName>& scenario_names();
// Fails with `not_found` for a name that is not there.
[[nodiscard]] Result<Scenario> make_scenario(std::string_view name, uint64_t seed);

}  // namespace acma::simulation
