// SPDX-License-Identifier: Apache-2.0
// Times as people write them: moments and durations.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::host {

// "30m", "24h", "30d", "2w"; more than 0, at most 10 years.
[[nodiscard]] Result<Micros> parse_duration(std::string_view text);

// ISO 8601, since 1970: "2026-11-01", "2026-11-01T10:00", "2026-11-01T10:00:00Z", "...+01:00";
// without an offset it is UTC. Or a duration: so long before `now`.
[[nodiscard]] Result<Micros> parse_moment(std::string_view text, Micros now);

// "2026-11-01T10:00:00Z"; "-" for what is no time.
[[nodiscard]] std::string format_utc(Micros wall);

}  // namespace acma::host
