// SPDX-License-Identifier: Apache-2.0
// acmactl simulate: scenarios on a simulated host. Asks no controller.
#pragma once

#include <cstdint>
#include <string>

#include "engine/simulation/report.h"
#include "host-controller/acmactl/commands.h"

namespace acma::ctl {

struct SimulateOptions {
    std::string scenario;
    std::string policy;  // empty: all of them, side by side
    uint64_t seed = 1;
    bool list = false;
    bool json = false;
};
[[nodiscard]] Exit simulate(const SimulateOptions& options);

[[nodiscard]] std::string render_scenarios();
[[nodiscard]] std::string render_simulation(const simulation::Report& report);

}  // namespace acma::ctl
