// SPDX-License-Identifier: Apache-2.0
// Scale-down and scale-up: how much memory does the guest keep? Pure: what was seen comes in, what
// to do goes out with its reason.
//
// Page-out (engine/autoscale) makes memory free at the rate that the PSI target allows. What is
// free beyond a reserve is taken here, in blocks, and so given to the host for good: it comes back
// by a decision of this loop, not page by page. The same formula (engine/feedback) steers both
// ways: more pressure takes less, and gives more.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/units.h"
#include "engine/policy/policy.h"
#include "engine/scaling/blocks.h"

namespace acma::scaling {

// The guest and its shim (platform/balloon_device.h). Sizes are of the guest's RAM.
struct Sample {
    Bytes ram;        // that the host gave
    Bytes owned;      // by the shim
    Bytes voluntary;  // of it, beyond what the host asks for
    Bytes asked;      // by the host: its num_pages
    Bytes floor;      // the shim takes nothing below so much available memory
    Bytes mem_free;
    Bytes mem_available;
    BasisPoints psi;       // of the last two seconds
    bool pressed = false;  // since the last step: the PSI trigger, an OOM, or reclaim began
    bool holding = false;  // page-out is in its hold-off
    bool had_all = false;  // the last order to take is carried out, and more could have been had
    bool operator==(const Sample&) const = default;
};

enum class Action { hold, take, give };

struct Decision {
    Action action = Action::hold;
    Amounts take;
    Bytes give;
    bool at_grant = false;  // more is needed than it may give back: only the host can help
    Micros next_step{0};
    std::string reason;  // a sentence with the numbers that made it
    bool operator==(const Decision&) const = default;
};

struct State {
    Time stepped_at{};
    Bytes rate_per_s;   // of scale-down
    Bytes burst;        // of scale-up
    Time gave_at{};     // last
    Time pressed_at{};  // last
    Micros hold{0};     // nothing is taken so long after it
    bool started = false;
    bool operator==(const State&) const = default;
};

// What stays free: what the shim leaves alone, and room for what a guest takes at once.
[[nodiscard]] Bytes reserve(const Sample& sample);

constexpr Bytes k_take_first = 512_MiB;  // a second: a memory block a step
constexpr Bytes k_take_least = 32_MiB;
constexpr Bytes k_take_most = 4_GiB;
// Migrating costs a copy, and the pages' owners wait for it.
constexpr uint64_t k_migrated_part = 4;  // of the rate
constexpr Bytes k_migrated_most = 256_MiB;
// Memory that is needed is often needed at once: each step gives twice as much as the one before.
// The first gives this part of RAM, or this: what is large grows by large pieces.
constexpr uint64_t k_give_part = 16;
constexpr Bytes k_give_least = 64_MiB;
constexpr Micros k_giving_step = Millis(50);
constexpr Micros k_giving_goes_on = Millis(500);  // so soon after the last step
constexpr Micros k_acting_step = Millis(250);
constexpr Micros k_resting_step = Seconds(2);
constexpr Micros k_hold_first = Seconds(3);
constexpr Micros k_hold_most = Seconds(60);

// One step. Equal inputs give equal outputs.
[[nodiscard]] Decision step(const Policy& policy, const Sample& sample, State& state, Time now);

}  // namespace acma::scaling
