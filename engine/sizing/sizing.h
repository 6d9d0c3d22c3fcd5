// SPDX-License-Identifier: Apache-2.0
// How large should a guest be that has no agent, by what its balloon driver says of its memory?
// Pure.
//
// Such a guest takes nothing back by itself: the balloon has to be raised from outside, seconds
// after it needed the memory. So it keeps headroom, goes down in small steps with time to settle
// between them, and up in large ones. A driver tells what it knows; what it does not tell is not
// guessed. When it falls silent the guest gets its memory back.
#pragma once

#include <optional>
#include <string_view>

#include "engine/base/units.h"

namespace acma::sizing {

// As libvirt calls them (virDomainMemoryStatTags). A stock Linux driver tells all; Windows without
// its balloon service nothing, with it perhaps no `usable`.
struct Statistics {
    std::optional<Bytes> unused;  // free
    std::optional<Bytes> usable;  // could be had without swapping
    std::optional<Bytes> swap_in_total;
    std::optional<uint64_t> major_faults_total;
    // Share of the last seconds in which some task stalled on memory. No balloon driver tells it, a
    // guest agent may.
    std::optional<BasisPoints> psi;
    bool operator==(const Statistics&) const = default;
};

struct Limits {
    Bytes min;
    Bytes max;
    BasisPoints psi;  // acceptable
    // The driver gives pages back when the guest would else kill a process (deflate on OOM). A
    // guest without that has no bound: what it needs suddenly would come too late. So has one whose
    // agent is gone, which must not shrink it.
    bool yields_on_oom = false;
};

// What was seen now.
struct Sample {
    Bytes size;                            // where the balloon is: RAM - what it holds
    bool arrived = true;                   // that is where it was told to be
    bool stuck = false;                    // it was told, and does not get there
    std::optional<Statistics> statistics;  // only where the guest has told them anew
};

enum class Why {
    no_statistics,  // left as it is
    keeps,          // it has about what it needs
    settles,        // it could spare some, a little later
    shrinks,        // it can spare some
    grows,          // its headroom is going
    pressed,        // it is short of memory
    stale,          // it has fallen silent: it gets its memory back
    stuck,          // it does not give what was asked for: that is given up
    at_risk,        // it could spare some, but could not have it back in time
};
[[nodiscard]] std::string_view to_string(Why why);

struct Decision {
    std::optional<Bytes> size;  // never more than this; none: no reason for a bound
    Why why = Why::no_statistics;
    // What the decision rests on; none: no statistics, or old ones.
    std::optional<Bytes> used;  // neither free nor to be had without swapping
    Bytes held;                 // not free
    Bytes headroom;             // that it should have beyond what it uses
    bool pressed = false;
    bool operator==(const Decision&) const = default;
};

struct State {
    Decision last;
    struct Seen {
        Statistics statistics;
        Bytes used;
        Time at;
    };
    std::optional<Seen> seen;
    Time changed_at;
    std::optional<Time> pressed_at;
    std::optional<Time> shrank_at;
    Micros settle{0};  // between two steps down
};

// An agent that is configured, or was there, is waited for so long before its guest is sized by
// statistics. Before that they would count what its shim took, and gives back meanwhile, as used.
constexpr Micros k_agent_comes_within{60'000'000};
// The statistics are two seconds apart. This long without new ones: the guest has fallen silent.
constexpr Micros k_stale_after{10'000'000};
// Beyond what it uses: what a guest can take in the seconds until it is seen, and its balloon is
// raised.
constexpr Bytes k_least_headroom = 128_MiB;
constexpr uint64_t k_headroom_part = 4;
// With PSI it is known how the guest fares, so half of that will do.
constexpr uint64_t k_headroom_part_with_psi = 8;
// One step down.
constexpr uint64_t k_step_part = 16;
constexpr Bytes k_least_step = 64_MiB;
constexpr Micros k_first_settle{6'000'000};
constexpr Micros k_longest_settle{300'000'000};
// After pressure nothing is taken for so long.
constexpr Micros k_calm_after{30'000'000};
// Swapping in, or waiting for pages of files, while there is little to be had.
constexpr Bytes k_swap_in_per_s = 2_MiB;
constexpr uint64_t k_major_faults_per_s = 200;
// One step up under pressure, and while the guest is silent.
constexpr Bytes k_least_rise = 256_MiB;

// Call once a second. The bounds hold for every size that it returns.
[[nodiscard]] Decision step(const Limits& limits, const Sample& sample, State& state, Time now);

}  // namespace acma::sizing
