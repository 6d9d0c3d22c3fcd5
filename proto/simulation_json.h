// SPDX-License-Identifier: Apache-2.0
// `acmactl simulate --json` and `replay --json`. A library of its own, since no guest agent and no
// daemon needs it.
#pragma once

#include <string>

#include "engine/simulation/replay.h"
#include "engine/simulation/report.h"
#include "proto/document.h"

namespace acma::proto {

template <>
[[nodiscard]] std::string to_json<simulation::Report>(const simulation::Report& report,
                                                      Layout layout);
template <>
[[nodiscard]] std::string to_json<simulation::ReplayReport>(const simulation::ReplayReport& report,
                                                            Layout layout);

}  // namespace acma::proto
