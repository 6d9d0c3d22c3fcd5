// SPDX-License-Identifier: Apache-2.0
// What comes after the '?' of a URL.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/result.h"

namespace acma::host {

using Query = std::vector<std::pair<std::string, std::string>>;

// "/v1/usage?since=24h&until=2026-11-01" -> {{"since", "24h"}, {"until", "2026-11-01"}}.
[[nodiscard]] Result<Query> read_query(std::string_view target);

}  // namespace acma::host
