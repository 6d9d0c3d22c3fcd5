// SPDX-License-Identifier: Apache-2.0
// How much each guest may page out in a second, so that all of them together are no I/O storm.
// Pure.
#pragma once

#include <vector>

#include "engine/base/units.h"

namespace acma::arbiter {

struct SwapUser {
    uint64_t shares = 0;
    bool pages_out = false;  // now; its agent says so
};

// Nobody gets less: page-out would not get anywhere.
constexpr Bytes k_least_swap_share = 1_MiB;

// What each may page out in a second, in the order of `users`. A quarter of `limit` is everybody's,
// so that whoever begins needs no word of the host's, the rest is for those who page out, by
// shares. Powers of two, rounded down: a share is told to a guest when it changes, and a few bytes
// are no change. The sum is at most `limit`, but for the least share of each.
[[nodiscard]] std::vector<Bytes> share_swap(Bytes limit, const std::vector<SwapUser>& users);

}  // namespace acma::arbiter
