// SPDX-License-Identifier: Apache-2.0
// Path segments of URLs <-> text.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace acma::host {

// "%2F" -> "/"; fails on what is not a hex pair and on control characters.
[[nodiscard]] Result<std::string> percent_decode(std::string_view text);
// For acmactl: a domain's name as one path segment.
[[nodiscard]] std::string percent_encode(std::string_view text);

}  // namespace acma::host
