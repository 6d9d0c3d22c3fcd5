// SPDX-License-Identifier: Apache-2.0
// The guest's loop: how fast may page-out go, given what its owner accepts? Pure: everything that
// was seen comes in as a Sample, time comes in as an argument, what to do goes out as a Decision
// with its reason. The formula is engine/feedback; what is here is what feeds and bounds it.
//
// Three goals steer the rate and the least aggressive one wins:
//   * memory PSI "some" over about two seconds, against the policy's target;
//   * what came back: PSI misses swap-ins of pages outside the working set (the kernel enters
//     memstall only for folios with the workingset flag), so they are priced and held against the
//     same target;
//   * a PSI trigger, an OOM kill: page-out stops at once and stays off for a hold-off.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/autoscale/status.h"
#include "engine/base/units.h"
#include "engine/policy/policy.h"

namespace acma::autoscale {

// What was seen of the guest. Totals are cumulative; a total that runs backwards counts as no
// change.
struct Sample {
    Micros psi_some_total{0};
    Bytes swap_in_total;
    Bytes swap_out_total;
    Bytes refault_file_total;
    Time counted_at{};    // when DAMON was asked for the totals from here to idled_total
    Bytes applied_total;  // DAMON sz_applied of page-out, since agent start
    Bytes tried_total;    // DAMON sz_tried of page-out
    uint64_t full_windows_total = 0;  // DAMON qt_exceeds: quota windows that were used up
    uint64_t aggregations_total = 0;  // aggregation intervals in which page-out could act
    Micros aggregation{0};  // how long one really was, before page-out found anything; 0: not known
    Bytes accessed_total;   // of regions in which accesses were seen, each interval anew
    Bytes idled_total;      // of regions in which accesses were seen, then no more
    Bytes mem_total;
    Bytes mem_available;
    Bytes mem_free;
    Bytes swap_free;
    std::optional<Bytes> rate_most;  // the host's limit of what page-out may try in a second
    uint64_t oom_kills_total = 0;
    bool trigger_fired = false;  // the PSI trigger, since the last step
    bool operator==(const Sample&) const = default;
};

// Aggregation intervals. DAMON counts samples, not time: where the CPU is short they last longer.
// An age in intervals is made smaller accordingly, up to so many times.
constexpr Micros k_quick_aggr = Millis(75);
constexpr int64_t k_most_stretch = 3;
constexpr Micros k_calm_aggr = Millis(2'500);

// How closely the guest is watched while page-out runs.
enum class Pace {
    quick,  // something is cold, or may be: milliseconds between samples
    calm,   // little left to find: the least cost that still notices a change in seconds
};

struct Decision {
    AgentState state = AgentState::starting;
    bool page_out = false;  // off means that the kdamond is off
    Pace pace = Pace::quick;
    Bytes rate_per_s;     // what page-out may try in a second
    Micros min_age{0};    // what was accessed within this, by DAMON's clock, is left alone
    uint64_t map = 0;     // another number than before: look anew at which memory is used
    uint64_t drain = 0;   // another number than before: empty the per-CPU lists of free pages
    Micros next_step{0};  // when to look again
    std::string reason;   // a sentence with the numbers that made it
    bool operator==(const Decision&) const = default;
};

// What page-out has done in all. A page that goes to a slow disk counts in `swap_out` when it is
// written and in `applied` seconds later, when it is free; a file page in `applied` alone.
struct PagedOut {
    Bytes swap_out;
    Bytes applied;
    bool operator==(const PagedOut&) const = default;
};

// Everything that the loop remembers. A default one is the start.
struct State {
    static constexpr size_t k_history = 48;  // 12 s at the quick pace
    struct Seen {
        Time at{};
        Sample sample;
        bool operator==(const Seen&) const = default;
    };
    std::array<Seen, k_history> history{};  // ring; `seen` counts all ever put in
    uint64_t seen = 0;
    Pace pace = Pace::quick;
    Bytes rate_per_s;       // of the quick pace; the calm one's slices are the same, only rarer
    uint64_t patience = 1;  // times the pace's own min_age: grows when pages are wanted back
    Time patience_at{};     // when it last changed
    Micros debt{0};         // stalls beyond what was accepted, not yet made up for
    Time quick_since{};
    Time calm_since{};
    uint64_t aggregations_when_quick = 0;
    PagedOut out_when_quick;  // when the quick pace began
    Micros rest{0};           // how long the calm pace lasts at the least
    Time rest_until{};
    bool idled_much = false;    // in the calm pace, and not looked at closely yet
    uint64_t drain = 0;         // how often per-CPU lists were to be emptied
    PagedOut out_when_drained;  // then
    uint64_t map = 0;           // how often the used memory was to be looked at
    Time map_at{};
    Bytes map_free;  // free memory then
    Time hold_until{};
    Micros hold{0};  // length of the last hold-off
    bool holding = false;
    bool paused = false;  // by the policy's mode
    bool operator==(const State&) const = default;
};

// Windows of the quick pace. The quota is given in slices this short so that an apply step, which
// nothing can interrupt, stays short; the loop measures how long one takes and holds it to
// k_step_target (stated limit: 50 ms). One huge page is the least that a step can do.
constexpr Micros k_quick_window = Millis(10);
constexpr Micros k_step_target = Millis(52);  // from one window to the next, with a sample's sleep
constexpr Micros k_calm_window = Millis(500);
// The rate is what limits page-out, and may grow, when so many windows were used up in a step (of
// 25, 5 where swap is slow; 4 at the calm pace). One is chance: a huge page that got cold.
constexpr uint64_t k_least_full_windows_quick = 3;
constexpr uint64_t k_least_full_windows_calm = 2;

// What a slice of `rate_per_s` is.
[[nodiscard]] Bytes per_window(Bytes rate_per_s, Pace pace);

// Rates. The start is one block a window: 200 MiB/s. The ceiling keeps the integers small.
constexpr Bytes k_start_rate = k_block * (Micros(Seconds(1)) / k_quick_window);
constexpr Bytes k_floor_rate = 4_MiB;
constexpr Bytes k_ceiling = 1_GiB;
constexpr Bytes k_calm_floor_rate = k_start_rate / 16;

// Quick: a second and a half without access are cold enough to try, since every page is asked again
// and the loop hears within a second what came back. One second is not: many programs do
// something every second, and of regions whose pages are all accessed ten times a second one in
// 20,000 (e^-10) shows no access in a second of samples, which are taken all the time. Calm: what
// small sleeping processes need next.
constexpr Micros k_quick_min_age = Millis(1'500);
constexpr Micros k_calm_min_age = Seconds(10);
// Pages that were wanted back soon were not cold enough: from then on twice the age, up to this
// many times. Trying less again costs stalls, so it has to wait until the last try is paid off:
// until so much time has passed that all stalls together are within the target again.
constexpr uint64_t k_most_patience = 64;
constexpr Micros k_patience_tried_for = Seconds(10);
constexpr Micros k_patience_fades_after = Seconds(30);
constexpr Micros k_debt_forgotten_after = Seconds(4 * 3'600);

constexpr Micros k_quick_step = Millis(250);
constexpr Micros k_calm_step = Seconds(2);
constexpr Micros k_psi_window = Seconds(2);  // one stall must not be the whole verdict
constexpr Micros k_hold_first = Seconds(3);
constexpr Micros k_hold_most = Seconds(60);
constexpr Micros k_hold_forgiven_after = Seconds(60);
// Long enough for the passes that page-out to a disk needs: clear, write, free (docs/design.md).
constexpr Micros k_quick_least = Seconds(8);
constexpr Micros k_quick_most_without = Seconds(120);  // where DAMON hardly gets to run
constexpr Bytes k_settled_below = 1_MiB;               // paged out a second, over k_settle_window
constexpr Micros k_settle_window = Seconds(5);
// At the calm pace page-out gets a trickle. When that finds this much a second, there is more to be
// had. Sooner than that shows that much memory was accessed no more.
constexpr Bytes k_wake_rate = 2_MiB;
constexpr Bytes k_wake_idled = 64_MiB;
// Looking closely costs; after a look that found little, the next one waits twice as long, unless
// that many times more memory has become idle.
constexpr Micros k_rest_first = Seconds(10);
constexpr Micros k_rest_most = Seconds(300);
constexpr Bytes k_worth_a_look = 16_MiB;
// Page-out of single pages leaves some of them in per-CPU lists, where each may keep a block from
// the host. They are emptied when that much was paged out, at most as often as the map is made.
constexpr Bytes k_drain_after = 16_MiB;
// How old the agent's idea of which memory is used may get. Making it costs about ten million
// instructions.
constexpr Micros k_map_age_quick = Seconds(15);
constexpr Micros k_map_age_calm = Seconds(60);
constexpr Micros k_map_age_least = Seconds(4);
constexpr Bytes k_map_changed = 32_MiB;
// The price of a 4 KiB page that came back without showing in PSI: what a read from a local SSD
// takes with half of the pages hitting readahead. Guests with faster swap are treated too gently.
constexpr Micros k_refault_price{25};

// One step of the loop. `state` is updated in place; equal inputs give equal outputs.
[[nodiscard]] Decision step(const Policy& policy, const Sample& sample, State& state, Time now);

// Share of the last `window` (at most what history holds) that some task stalled on memory.
[[nodiscard]] BasisPoints psi_share(const State& state, Micros window);

// What was accessed within an aggregation interval of the calm pace, on average over the last
// k_working_set_window of it; none while it has not been calm for so long.
constexpr Micros k_working_set_window = Seconds(20);
[[nodiscard]] std::optional<Bytes> working_set(const State& state);

// The PSI trigger that stops page-out at once: a hundred times the accepted share, at least 50 ms,
// within half a second (the shortest window that the kernel takes). Less is for the loop, which
// sees it half a second later: a few pages that come back from a slow disk are no spike.
struct Trigger {
    Micros stall{0};
    Micros window{0};
    bool operator==(const Trigger&) const = default;
};
[[nodiscard]] Trigger trigger_for(BasisPoints psi_target);

}  // namespace acma::autoscale
