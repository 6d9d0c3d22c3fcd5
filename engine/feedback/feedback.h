// SPDX-License-Identifier: Apache-2.0
// The feedback loop of the talk, "Aim-oriented Feedback-driven DAMOS Aggressiveness Auto-tuning":
//
//     f(n) = max(f(n-1) * ((target - current) / target + 1), 1)
//
// with what the kernel's version (mm/damon/core.c, damon_feed_loop_next_input) lacks: a sane start
// and floor instead of one byte, a ceiling, no growth while the output is not what limits (no
// wind-up), and the inverse sign that scale-up needs. Integer arithmetic; several goals are joined
// by obeying the least aggressive one.
#pragma once

#include <cstdint>

#include "engine/base/units.h"

namespace acma::feedback {

// How far a goal is: current / target in basis points. 10,000 is on target, 0 is far below it,
// 20,000 and above is twice the target or worse.
struct Score {
    uint64_t bp = 10'000;
    constexpr auto operator<=>(const Score&) const = default;
};

// At this score and above the output falls to its floor.
constexpr Score k_worst{20'000};

// current and target in any unit, but the same one. A target of 0 reads as "never": the score is
// the highest there is as soon as current is above 0, and on target otherwise.
[[nodiscard]] Score score(uint64_t current, uint64_t target);

// The least aggressive of several goals: the one that is furthest over its target.
[[nodiscard]] Score least_aggressive(Score a, Score b);

// Which way the output moves the measured value.
enum class Direction {
    positive,  // more output, more pressure: reclaim, scale-down
    inverse,   // more output, less pressure: scale-up
};

struct Bounds {
    uint64_t floor = 1;  // never below; also what an output falls to at twice the target
    uint64_t ceiling = UINT64_MAX;
};

// One step of the formula. `limiting` says whether the last output was what held the system back
// (the quota was used up): without it, growth would only wind the loop up, so the output stays.
// A step at most doubles the output and at most brings it down to the floor.
[[nodiscard]] uint64_t next(uint64_t last, Score score, Bounds bounds, bool limiting,
                            Direction direction = Direction::positive);

}  // namespace acma::feedback
