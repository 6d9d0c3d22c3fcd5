// SPDX-License-Identifier: Apache-2.0
#include "host-controller/hostmem/pace.h"

#include <algorithm>

namespace acma::host {

Bytes distance(Bytes a, Bytes b) {
    return a > b ? a - b : b - a;
}

bool is_due(const PaceState& state, const ProcessMemory& seen, Time now, const PaceLimits& limits) {
    if (!state.last_read) {
        return true;
    }
    const Micros age = now - *state.last_read;
    const ProcessMemory& then = state.at_last_read;
    const bool moved = distance(seen.resident, then.resident) >= limits.moved ||
                       distance(seen.swapped, then.swapped) >= limits.moved ||
                       distance(seen.hugetlb, then.hugetlb) >= limits.moved;
    return age >= (moved ? limits.at_most_every : limits.at_least_every);
}

Time rest_until(Time now, Micros cost, const PaceLimits& limits) {
    // A clock that stood still or a read that hung for minutes must neither spin nor stop us.
    constexpr Micros k_longest_rest{60'000'000};
    const auto bounded = std::clamp(cost, Micros(0), k_longest_rest);
    return now + std::min(bounded * static_cast<Micros::rep>(limits.rest_factor), k_longest_rest);
}

}  // namespace acma::host
