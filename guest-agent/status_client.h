// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/autoscale/status.h"
#include "engine/base/result.h"

namespace acma::agent {

// Asks the running agent over its unix socket.
[[nodiscard]] Result<AgentStatus> ask_status(const std::string& socket_path);

// For people: a few lines.
[[nodiscard]] std::string describe(const AgentStatus& status);

}  // namespace acma::agent
