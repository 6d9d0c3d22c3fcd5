// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/share_out.h"

#include <algorithm>
#include <numeric>

namespace acma::arbiter {

std::vector<Bytes> share_out(Bytes amount, const std::vector<Claim>& claims) {
    std::vector<size_t> order(claims.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::erase_if(order, [&claims](size_t i) { return claims[i].shares == 0; });
    // Whoever wants least for his shares is satisfied first, and leaves the rest to the others.
    std::stable_sort(order.begin(), order.end(), [&claims](size_t a, size_t b) {
        __extension__ using Wide = unsigned __int128;
        return Wide{claims[a].wants.count()} * claims[b].shares <
               Wide{claims[b].wants.count()} * claims[a].shares;
    });
    uint64_t shares = 0;
    for (const size_t i : order) {
        shares += claims[i].shares;
    }
    std::vector<Bytes> parts(claims.size());
    for (const size_t i : order) {
        const Bytes fair(detail::mul_div_saturating(amount.count(), claims[i].shares, shares));
        parts[i] = std::min(claims[i].wants, fair);
        amount -= parts[i];
        shares -= claims[i].shares;
    }
    return parts;
}

}  // namespace acma::arbiter
