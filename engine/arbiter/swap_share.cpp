// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/swap_share.h"

#include <algorithm>
#include <bit>

#include "engine/arbiter/share_out.h"

namespace acma::arbiter {

std::vector<Bytes> share_swap(Bytes limit, const std::vector<SwapUser>& users) {
    const Bytes everybodys = limit / 4 / std::max<size_t>(users.size(), 1);
    std::vector<Claim> claims;
    claims.reserve(users.size());
    for (const SwapUser& user : users) {
        claims.push_back({user.pages_out ? limit : Bytes(0), user.shares});
    }
    std::vector<Bytes> parts = share_out(limit - limit / 4, claims);
    for (Bytes& part : parts) {
        part = std::max(Bytes(std::bit_floor((part + everybodys).count())), k_least_swap_share);
    }
    return parts;
}

}  // namespace acma::arbiter
