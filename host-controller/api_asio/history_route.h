// SPDX-License-Identifier: Apache-2.0
// GET /v1/history and /v1/vms/DOM/history.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "host-controller/chart/charts.h"
#include "host-controller/fleet/fleet.h"
#include "proto/history_api.h"

namespace acma::host {

// `target` with its query: range (5m, 1h, 24h); and, unless `only` is given, vm (once for each
// wanted; those that are gone are left out), or all VMs after the UUID `after`, `limit` of them.
[[nodiscard]] Result<proto::HistoryReport> history(const Fleet& fleet, const Charts& charts,
                                                   std::string_view target, const std::string* only,
                                                   Now now);

}  // namespace acma::host
