// SPDX-License-Identifier: Apache-2.0
#include "engine/sizing/sizing.h"

#include <algorithm>
#include <array>

namespace acma::sizing {

namespace {

// Guests round.
constexpr Bytes k_arrived = 1_MiB;

// What can be had without swapping. Without `usable` only what is free is sure.
std::optional<Bytes> spare(const Statistics& statistics, Bytes size) {
    const std::optional<Bytes> told = statistics.usable ? statistics.usable : statistics.unused;
    return told ? std::optional(std::min(*told, size)) : std::nullopt;
}

Bytes headroom_of(Bytes used, bool with_psi) {
    return with_psi ? std::max(k_least_headroom / 2, used / k_headroom_part_with_psi)
                    : std::max(k_least_headroom, used / k_headroom_part);
}

// A counter's rise, of a guest that may set it to anything.
template <typename Count>
Count rise(const std::optional<Count>& before, const std::optional<Count>& after) {
    return before && after && *after > *before ? *after - *before : Count{};
}

struct Rates {
    Bytes growth;  // of what is used, since the last statistics
    bool swaps_in = false;
    bool faults = false;
};

Rates rates_of(const State::Seen& before, const Statistics& statistics, Bytes used, Time now) {
    Rates rates{.growth = used - before.used};
    const auto passed = static_cast<uint64_t>(std::max<int64_t>((now - before.at).count(), 1));
    constexpr uint64_t k_second = 1'000'000;
    const Statistics& was = before.statistics;
    rates.swaps_in = rise(was.swap_in_total, statistics.swap_in_total).count() >
                     acma::detail::mul_div_saturating(k_swap_in_per_s.count(), passed, k_second);
    rates.faults = rise(was.major_faults_total, statistics.major_faults_total) >
                   acma::detail::mul_div_saturating(k_major_faults_per_s, passed, k_second);
    return rates;
}

// Starting a program waits for pages of files however much memory there is: without PSI such waits
// only count where memory is short.
bool is_pressed(const Limits& limits, const Rates& rates, std::optional<BasisPoints> psi,
                Bytes left, Bytes headroom) {
    if (left < headroom / 2) {
        return true;
    }
    if (psi) {
        return *psi > limits.psi;
    }
    return rates.swaps_in || (rates.faults && left < headroom * 2);
}

// At the most there is no bound of ours.
std::optional<Bytes> bounded(Bytes size, const Limits& limits) {
    return size < limits.max ? std::optional(std::max(size, limits.min)) : std::nullopt;
}

bool has_passed(const std::optional<Time>& since, Micros time, Time now) {
    return !since || now - *since >= time;
}

Decision without_news(const Limits& limits, const Sample& sample, State& state, Time now) {
    Decision decision = state.last;
    if (state.seen && now - state.seen->at < k_stale_after) {
        if (sample.stuck && decision.size && *decision.size < sample.size) {
            decision.size = sample.size;  // it does not give it: no use in asking
            decision.why = Why::stuck;
            state.settle = std::clamp(state.settle * 2, k_first_settle, k_longest_settle);
            state.changed_at = now;
        }
        return decision;
    }
    const std::optional<Bytes> size = decision.size;
    decision = {.size = size, .why = state.seen ? Why::stale : Why::no_statistics};
    if (size && now - state.changed_at >= k_first_settle) {
        decision.size = bounded(*size + std::max(k_least_rise, *size / 4), limits);
        state.changed_at = now;
    }
    return decision;
}

Bytes smaller(Bytes from, Bytes left, Bytes headroom) {
    return from - std::min(left - headroom, std::max(k_least_step, from / k_step_part));
}

}  // namespace

std::string_view to_string(Why why) {
    constexpr std::array<std::string_view, 9> k_words{"no-statistics", "keeps", "settles",
                                                      "shrinks",       "grows", "pressed",
                                                      "stale",         "stuck", "at-risk"};
    return k_words.at(static_cast<size_t>(why));
}

Decision step(const Limits& limits, const Sample& sample, State& state, Time now) {
    const std::optional<Bytes> left =
        sample.statistics ? spare(*sample.statistics, sample.size) : std::nullopt;
    if (!left) {
        return state.last = without_news(limits, sample, state, now);
    }
    const Bytes used = sample.size - *left;
    const bool old = !state.seen || now - state.seen->at >= k_stale_after;
    const Rates rates = old ? Rates{} : rates_of(*state.seen, *sample.statistics, used, now);
    Decision next{.size = state.last.size, .why = Why::keeps, .used = used};
    next.held = sample.size - std::min(sample.statistics->unused.value_or(*left), sample.size);
    next.headroom = headroom_of(used, sample.statistics->psi.has_value());
    next.pressed = is_pressed(limits, rates, sample.statistics->psi, *left, next.headroom);
    state.seen = State::Seen{*sample.statistics, used, now};

    const Bytes in_force = std::min(state.last.size.value_or(sample.size), limits.max);
    const bool can_spare = *left > next.headroom + next.headroom / 2 && *left > rates.growth * 4 &&
                           in_force > limits.min;
    if (next.pressed) {
        // It was short of memory right after some was taken: the next step waits for longer.
        if (state.shrank_at && now - *state.shrank_at < state.settle * 4 + k_calm_after &&
            has_passed(state.pressed_at, k_calm_after, now)) {
            state.settle = std::clamp(state.settle * 2, k_first_settle, k_longest_settle);
        }
        state.pressed_at = now;
        next.why = Why::pressed;
        next.size = std::max(in_force, sample.size) + std::max(k_least_rise, used);
    } else if (*left < next.headroom * 3 / 4 || rates.growth * 2 > *left) {
        next.why = Why::grows;
        next.size = std::max(in_force, used + next.headroom + rates.growth * 2);
    } else if (can_spare && !limits.yields_on_oom) {
        next.why = Why::at_risk;
    } else if (can_spare) {
        state.settle = std::max(state.settle, k_first_settle);
        const bool there = sample.arrived && sample.size <= in_force + k_arrived;
        const bool settled =
            !old && there && !sample.stuck && now - state.changed_at >= state.settle &&
            has_passed(state.pressed_at, std::max(k_calm_after, state.settle), now);
        next.why = settled ? Why::shrinks : Why::settles;
        if (settled) {
            next.size = smaller(std::min(in_force, sample.size), *left, next.headroom);
            state.shrank_at = now;
        }
    } else if (has_passed(state.pressed_at, state.settle * 4, now)) {
        state.settle = k_first_settle;
    }
    if (next.size != state.last.size) {
        state.changed_at = now;
    }
    if (!limits.yields_on_oom) {
        next.size.reset();
    }
    if (next.size) {
        next.size = bounded(*next.size, limits);
    }
    return state.last = next;
}

}  // namespace acma::sizing
