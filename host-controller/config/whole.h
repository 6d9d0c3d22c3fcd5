// SPDX-License-Identifier: Apache-2.0
// What a configuration has to be as a whole, when the command line and defaults are in it: keys
// that are good by themselves and do not fit each other, or this host.
#pragma once

#include <optional>

#include "engine/base/result.h"
#include "host-controller/config/config.h"

namespace acma::host {

// `mem_total`: this host's memory, where it could be read. Error{invalid} names the keys.
[[nodiscard]] Status check_whole(const ControllerConfig& config, std::optional<Bytes> mem_total);

}  // namespace acma::host
