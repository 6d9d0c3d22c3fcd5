// SPDX-License-Identifier: Apache-2.0
// acmactl replay: a decision log under other policies. Asks no controller.
#pragma once

#include <string>
#include <vector>

#include "engine/simulation/replay.h"
#include "host-controller/acmactl/commands.h"

namespace acma::ctl {

struct ReplayOptions {
    std::vector<std::string> files;  // in the order of their lines: the rotated one first
    std::string policy;              // empty: all of them, side by side
    bool json = false;
};
[[nodiscard]] Exit replay(const ReplayOptions& options);

[[nodiscard]] std::string render_replay(const simulation::ReplayReport& report);

}  // namespace acma::ctl
