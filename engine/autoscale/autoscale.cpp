// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/autoscale.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/feedback/feedback.h"

namespace acma::autoscale {

namespace {

// What happened between two samples.
struct Delta {
    Micros span{0};
    Micros stalled{0};
    Bytes came_back;  // swap-ins and file refaults
    Bytes paged_out;  // written to swap or freed, whichever is more
    Bytes tried;
    uint64_t full_windows = 0;
    Bytes accessed;
    Bytes idled;
};

const State::Seen& newest(const State& state) {
    return state.history.at((state.seen - 1) % State::k_history);
}

// The youngest sample that is at least `window` old, or the oldest that is kept.
const State::Seen& back(const State& state, Micros window) {
    const Time limit = newest(state).at - window;
    const uint64_t kept = std::min<uint64_t>(state.seen, State::k_history);
    for (uint64_t i = 1; i <= kept; ++i) {
        const auto& entry = state.history.at((state.seen - i) % State::k_history);
        if (entry.at <= limit || i == kept) {
            return entry;
        }
    }
    return newest(state);
}

PagedOut out_of(const Sample& sample) {
    return {.swap_out = sample.swap_out_total, .applied = sample.applied_total};
}

// Not the growth of the larger total: one may be far ahead of the other, from before the agent.
Bytes grown_since(const PagedOut& before, const Sample& sample) {
    return std::max(sample.swap_out_total - before.swap_out, sample.applied_total - before.applied);
}

Delta between(const State::Seen& from, const State::Seen& to) {
    const auto grown = [](Bytes a, Bytes b) { return b - a; };  // saturates at 0
    Delta delta;
    delta.span = std::max(Micros(0), to.at - from.at);
    delta.stalled = std::max(Micros(0), to.sample.psi_some_total - from.sample.psi_some_total);
    delta.came_back = grown(from.sample.swap_in_total, to.sample.swap_in_total) +
                      grown(from.sample.refault_file_total, to.sample.refault_file_total);
    delta.paged_out = grown_since(out_of(from.sample), to.sample);
    delta.tried = grown(from.sample.tried_total, to.sample.tried_total);
    delta.full_windows =
        detail::sub_saturating(to.sample.full_windows_total, from.sample.full_windows_total);
    delta.accessed = grown(from.sample.accessed_total, to.sample.accessed_total);
    delta.idled = grown(from.sample.idled_total, to.sample.idled_total);
    return delta;
}

Bytes per_second(Bytes amount, Micros span) {
    return span.count() <= 0 ? Bytes(0)
                             : Bytes(detail::mul_div_saturating(
                                   amount.count(), 1'000'000, static_cast<uint64_t>(span.count())));
}

uint64_t as_us(Micros duration) {
    return duration.count() < 0 ? 0 : static_cast<uint64_t>(duration.count());
}

Micros accepted_stall(BasisPoints target, Micros span) {
    return Micros(static_cast<int64_t>(
        detail::mul_div_saturating(as_us(span), target.count(), k_full_bp.count())));
}

// What the pages that came back cost, if PSI did not show it.
Micros priced(const Delta& delta) {
    const uint64_t pages = std::min<uint64_t>(delta.came_back.count() / 4096, 1U << 30);
    return k_refault_price * static_cast<int64_t>(pages);
}

struct Verdict {
    feedback::Score score;
    Micros stalled{0};
    Micros priced{0};  // estimated stall of what came back unseen by PSI
    Micros span{0};
};

Verdict judge(const Policy& policy, const State& state) {
    const Delta delta = between(back(state, k_psi_window), newest(state));
    Verdict verdict;
    verdict.span = delta.span;
    verdict.stalled = delta.stalled;
    verdict.priced = priced(delta);
    if (delta.span.count() > 0) {
        const uint64_t accepted = as_us(accepted_stall(policy.psi, delta.span));
        verdict.score =
            feedback::least_aggressive(feedback::score(as_us(verdict.stalled), accepted),
                                       feedback::score(as_us(verdict.priced), accepted));
    } else {
        verdict.score = feedback::Score{0};
    }
    return verdict;
}

std::string verdict_text(const Policy& policy, const Verdict& verdict) {
    std::string text = "PSI " +
                       human(ratio(Bytes(as_us(verdict.stalled)), Bytes(as_us(verdict.span)))) +
                       " of the last 2 s against " + human(policy.psi);
    if (verdict.priced > verdict.stalled) {
        text += ", pages that came back priced at " +
                human(ratio(Bytes(as_us(verdict.priced)), Bytes(as_us(verdict.span))));
    }
    return text;
}

// An age has been tried when what is wanted so often had the time to be taken and to come back.
bool patience_tried(const State& state, Micros least, Time now) {
    const Micros learned = k_quick_min_age * static_cast<int64_t>(state.patience);
    return now - state.patience_at >= std::max(least, learned * 2);
}

// What comes back soon after was taken before and says nothing about the new age.
void be_more_patient(State& state, Time now) {
    if (state.patience == 1 || patience_tried(state, k_patience_tried_for, now)) {
        state.patience = std::min(k_most_patience, state.patience * 2);
        state.patience_at = now;
    }
}

void start_hold(State& state, Time now) {
    if (state.holding) {  // page-out is off already: the same spike goes on
        state.hold_until = now + state.hold;
        return;
    }
    const bool again = state.hold.count() > 0 && now - state.hold_until < k_hold_forgiven_after;
    state.hold = again ? std::min(state.hold * 2, k_hold_most) : k_hold_first;
    state.hold_until = now + state.hold;
    state.holding = true;
    state.rate_per_s = std::max(k_floor_rate, state.rate_per_s / 4);
    be_more_patient(state, now);
}

void go_quick(State& state, Time now) {
    state.pace = Pace::quick;
    state.quick_since = now;
    state.aggregations_when_quick = newest(state).sample.aggregations_total;
    state.out_when_quick = out_of(newest(state).sample);
}

void go_calm(State& state, Time now) {
    const bool worth_it = grown_since(state.out_when_quick, newest(state).sample) >= k_worth_a_look;
    state.rest =
        worth_it ? k_rest_first : std::clamp<Micros>(state.rest * 2, k_rest_first, k_rest_most);
    state.rest_until = now + state.rest;
    state.idled_much = false;
    state.pace = Pace::calm;
    state.calm_since = now;
}

// What DAMON did from one time that it was asked to the next, the newest first: on 6.12 it answers
// when an aggregation interval ends, which takes several steps where swap is slow.
std::vector<Delta> counted_lately(const State& state, Micros window) {
    std::vector<Delta> counts;
    const State::Seen* to = &newest(state);
    const Time limit = to->sample.counted_at - window;
    const uint64_t kept = std::min<uint64_t>(state.seen, State::k_history);
    for (uint64_t ago = 2; ago <= kept && to->sample.counted_at > limit; ++ago) {
        const State::Seen* from = &state.history.at((state.seen - ago) % State::k_history);
        if (from->sample.counted_at != to->sample.counted_at) {
            counts.push_back(between(*from, *to));
            counts.back().span = to->sample.counted_at - from->sample.counted_at;
            to = from;
        }
    }
    return counts;
}

// The rate at which an apply step does not take longer than it may: so much a window as is tried in
// the time that a step has. Windows that were not used up make that look less, which only slows
// growth. Not the rate that was asked for: DAMON takes it over an aggregation interval later. Below
// one block a window a lower rate makes no step shorter.
Bytes step_ceiling(const State& state) {
    if (state.pace == Pace::calm) {
        return k_start_rate;  // the quick pace has to begin with a short step
    }
    const auto counts = counted_lately(state, k_psi_window);
    if (counts.empty() || counts[0].full_windows == 0) {
        return k_ceiling;
    }
    Micros span{0};
    Bytes tried;
    for (size_t i = 0; i + 1 < counts.size(); ++i) {
        // In the first one that used windows up page-out only began.
        if (counts[i].full_windows > 0 && counts[i + 1].full_windows > 0) {
            span += counts[i].span;
            tried += counts[i].tried;
        }
    }
    // The lower of the two: the last count alone is noisy, two seconds alone come too late.
    Bytes per_s = per_second(counts[0].tried, counts[0].span);
    if (span.count() > 0) {
        per_s = std::min(per_s, per_second(tried, span));
    }
    return std::clamp(per_s * as_us(k_step_target) / as_us(k_quick_window), k_start_rate,
                      k_ceiling);
}

// For how long what is paged out has not been accessed, by the clock.
Micros idle_for(const State& state) {
    const Micros learned = k_quick_min_age * static_cast<int64_t>(state.patience);
    return state.pace == Pace::calm ? std::max(k_calm_min_age, learned) : learned;
}

// The same by DAMON's clock. Apply steps stretch intervals too, but nothing is sampled in them, so
// that only what an interval takes without them counts.
Micros min_age(const State& state) {
    if (state.pace == Pace::calm) {  // its samples are half a second apart
        return idle_for(state);
    }
    const Micros real = std::clamp<Micros>(newest(state).sample.aggregation, k_quick_aggr,
                                           k_quick_aggr * k_most_stretch);
    return idle_for(state) * k_quick_aggr.count() / real.count();
}

// Does the calm pace end? `state.idled_much` is updated.
bool wakes(State& state, const Delta& lately, Bytes out_per_s, Time now) {
    // What the first count of this pace finds idle was idle before.
    if (state.pace != Pace::calm || now < state.calm_since + k_rest_first) {
        return false;
    }
    state.idled_much = state.idled_much || lately.idled >= k_wake_idled;
    if (now >= state.rest_until) {
        return state.idled_much || out_per_s >= k_wake_rate;
    }
    return lately.idled >= k_wake_idled * static_cast<uint64_t>(state.rest / k_rest_first);
}

// At the quick pace page-out changes what is free all the time.
void look_at_used_memory(State& state, Time now) {
    const Bytes free = newest(state).sample.mem_free;
    const Bytes moved = free > state.map_free ? free - state.map_free : state.map_free - free;
    const Micros age = now - state.map_at;
    const bool calm = state.pace == Pace::calm;
    if (state.map == 0 || age >= (calm ? k_map_age_calm : k_map_age_quick) ||
        (calm && age >= k_map_age_least && moved >= k_map_changed)) {
        ++state.map;
        state.map_at = now;
        state.map_free = free;
    }
}

// When a look ends, and now and then during a long one.
void empty_lists(State& state, bool look_ended, Time now) {
    const Sample& seen = newest(state).sample;
    if ((look_ended || state.map_at == now) &&
        grown_since(state.out_when_drained, seen) >= k_drain_after) {
        ++state.drain;
        state.out_when_drained = out_of(seen);
    }
}

// Has DAMON had the time, by its own clock, to find what is cold and to try it again?
bool looked_long_enough(const State& state, Time now) {
    const Micros needed = k_quick_least + idle_for(state);
    const uint64_t intervals = detail::sub_saturating(newest(state).sample.aggregations_total,
                                                      state.aggregations_when_quick);
    return now - std::max(state.quick_since, state.patience_at) >= needed &&
           (k_quick_aggr * static_cast<int64_t>(intervals) >= needed ||
            now - state.quick_since >= k_quick_most_without);
}

Decision stopped(AgentState state, Micros next_step, std::string reason) {
    return Decision{.state = state,
                    .page_out = false,
                    .pace = Pace::calm,
                    .rate_per_s = Bytes(0),
                    .next_step = next_step,
                    .reason = std::move(reason)};
}

}  // namespace

Bytes per_window(Bytes rate_per_s, Pace pace) {
    const Micros window = pace == Pace::quick ? k_quick_window : k_calm_window;
    return Bytes(detail::mul_div_saturating(rate_per_s.count(), as_us(window), 1'000'000));
}

Trigger trigger_for(BasisPoints psi_target) {
    constexpr Micros k_window = Millis(500);
    const Micros spike = accepted_stall(psi_target * 100, k_window);
    // A third of the window is a spike, unless that is about what the owner accepts.
    const Micros most = std::min<Micros>(
        k_window, std::max<Micros>(Millis(150), accepted_stall(psi_target * 2, k_window)));
    return Trigger{.stall = std::clamp<Micros>(spike, Millis(50), most), .window = k_window};
}

BasisPoints psi_share(const State& state, Micros window) {
    if (state.seen < 2) {
        return 0_bp;
    }
    const Delta delta = between(back(state, window), newest(state));
    return std::min(k_full_bp, ratio(Bytes(as_us(delta.stalled)), Bytes(as_us(delta.span))));
}

std::optional<Bytes> working_set(const State& state) {
    if (state.seen == 0 || state.pace != Pace::calm) {
        return std::nullopt;
    }
    const State::Seen& from = back(state, k_working_set_window);
    const Delta delta = between(from, newest(state));
    // The first count of the calm pace comes an interval after its beginning.
    if (delta.span < k_working_set_window || from.at < state.calm_since + k_calm_aggr) {
        return std::nullopt;
    }
    return Bytes(
        detail::mul_div_saturating(delta.accessed.count(), as_us(k_calm_aggr), as_us(delta.span)));
}

Decision step(const Policy& policy, const Sample& sample, State& state, Time now) {
    const bool first = state.seen == 0;
    const uint64_t oom_kills_before =
        first ? sample.oom_kills_total : newest(state).sample.oom_kills_total;
    const State::Seen before = first ? State::Seen{now, sample} : newest(state);
    state.history.at(state.seen % State::k_history) = State::Seen{now, sample};
    ++state.seen;
    if (first) {
        state.out_when_drained = out_of(sample);
    }

    const Delta passed = between(before, newest(state));
    state.debt = std::clamp(state.debt + std::max(passed.stalled, priced(passed)) -
                                accepted_stall(policy.psi, passed.span),
                            Micros(0), accepted_stall(policy.psi, k_debt_forgotten_after));

    state.paused = state.paused || policy.mode != Mode::automatic;
    if (policy.mode == Mode::off) {
        return stopped(AgentState::off, k_calm_step, "the policy's mode is off");
    }
    if (policy.mode == Mode::observe) {
        return stopped(AgentState::observing, k_calm_step,
                       "the policy's mode is observe: nothing is paged out");
    }

    const bool oom_kill = sample.oom_kills_total > oom_kills_before;
    if (sample.trigger_fired || oom_kill) {
        start_hold(state, now);
        return stopped(AgentState::holding, std::min(state.hold, k_calm_step),
                       std::string(oom_kill ? "an OOM kill" : "the PSI trigger fired") +
                           ": page-out is off for " + human(state.hold));
    }
    if (state.holding) {
        if (now < state.hold_until) {
            return stopped(AgentState::holding,
                           std::min<Micros>(state.hold_until - now, k_calm_step),
                           "page-out is off for another " + human(state.hold_until - now));
        }
        state.holding = false;
        go_quick(state, now);
    }

    const Verdict verdict = judge(policy, state);
    if (std::exchange(state.paused, false) || state.rate_per_s == Bytes(0)) {
        state.rate_per_s = k_start_rate;
        go_quick(state, now);
    } else {
        const bool calm = state.pace == Pace::calm;
        const Bytes floor = calm ? k_calm_floor_rate : k_floor_rate;
        const bool limited =
            passed.full_windows >= (calm ? k_least_full_windows_calm : k_least_full_windows_quick);
        const feedback::Bounds bounds{.floor = floor.count(),
                                      .ceiling = step_ceiling(state).count()};
        state.rate_per_s =
            Bytes(feedback::next(state.rate_per_s.count(), verdict.score, bounds, limited));
    }
    if (verdict.score >= feedback::k_worst) {
        be_more_patient(state, now);
    } else if (state.patience > 1 && state.debt == Micros(0) &&
               patience_tried(state, k_patience_fades_after, now)) {
        state.patience /= 2;
        state.patience_at = now;
    }

    const Delta lately = between(back(state, k_settle_window), newest(state));
    const Bytes out_per_s = per_second(lately.paged_out, lately.span);
    if (wakes(state, lately, out_per_s, now)) {
        go_quick(state, now);
        state.rate_per_s = k_start_rate;
    } else if (state.pace == Pace::quick && out_per_s < k_settled_below &&
               looked_long_enough(state, now)) {
        go_calm(state, now);
    }

    if (sample.rate_most) {
        state.rate_per_s = std::min(state.rate_per_s, *sample.rate_most);
    }
    look_at_used_memory(state, now);
    const bool calm = state.pace == Pace::calm;
    empty_lists(state, calm && state.calm_since == now, now);
    const Bytes rate =
        calm ? state.rate_per_s / (k_calm_window / k_quick_window) : state.rate_per_s;
    return Decision{.state = calm ? AgentState::settled : AgentState::ramping,
                    .page_out = true,
                    .pace = state.pace,
                    .rate_per_s = rate,
                    .min_age = min_age(state),
                    .map = state.map,
                    .drain = state.drain,
                    .next_step = calm ? k_calm_step : k_quick_step,
                    .reason = verdict_text(policy, verdict) + "; paged out " + human(out_per_s) +
                              "/s, may try " + human(rate) + "/s of what was idle for " +
                              human(idle_for(state))};
}

}  // namespace acma::autoscale
