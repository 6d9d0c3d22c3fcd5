// SPDX-License-Identifier: Apache-2.0
#include "engine/feedback/feedback.h"

#include <algorithm>

namespace acma::feedback {

namespace {
constexpr uint64_t k_on_target_bp = 10'000;
constexpr uint64_t k_worst_bp = k_worst.bp;
}  // namespace

Score score(uint64_t current, uint64_t target) {
    if (target == 0) {
        return Score{current == 0 ? k_on_target_bp : k_worst_bp};
    }
    return Score{detail::mul_div_saturating(current, k_on_target_bp, target)};
}

Score least_aggressive(Score a, Score b) {
    return std::max(a, b);
}

uint64_t next(uint64_t last, Score score, Bounds bounds, bool limiting, Direction direction) {
    uint64_t bp = std::min(score.bp, k_worst_bp);
    if (direction == Direction::inverse) {
        bp = k_worst_bp - bp;
    }
    const uint64_t from = std::clamp(last, bounds.floor, bounds.ceiling);
    if (bp < k_on_target_bp && !limiting) {
        return from;
    }
    // last * ((target - current) / target + 1) == last * (2 - bp / 10,000)
    const uint64_t raw = detail::mul_div_saturating(from, k_worst_bp - bp, k_on_target_bp);
    return std::clamp(raw, bounds.floor, bounds.ceiling);
}

}  // namespace acma::feedback
