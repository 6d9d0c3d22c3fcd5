// SPDX-License-Identifier: Apache-2.0
// Splits an amount by shares among those who want some of it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/units.h"

namespace acma::arbiter {

struct Claim {
    Bytes wants;          // beyond what he has
    uint64_t shares = 0;  // 0: gets nothing
    Bytes has;            // already, which counts for his part
};

// What each gets, in the claims' order: nobody more than he wants; all who do not have all that
// they want end with the same part per share, but for those who had more than that, who get
// nothing. The sum is the smaller of `amount` and what is wanted, less rounding of a byte a claim.
[[nodiscard]] std::vector<Bytes> share_out(Bytes amount, const std::vector<Claim>& claims);

}  // namespace acma::arbiter
