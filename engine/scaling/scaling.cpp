// SPDX-License-Identifier: Apache-2.0
#include "engine/scaling/scaling.h"

#include <algorithm>

#include "engine/feedback/feedback.h"

namespace acma::scaling {

namespace {

Bytes whole_blocks(Bytes amount) {
    return k_block * (amount.count() / k_block.count());
}

Bytes at_least_a_block(Bytes amount) {
    return std::max(k_block, whole_blocks(amount));
}

Bytes size_of_guest(const Sample& sample) {
    return sample.ram - sample.owned;
}

feedback::Score pressure(const Policy& policy, const Sample& sample) {
    return feedback::score(sample.psi.count(), policy.psi.count());
}

// Giving more than is used helps nobody: PSI looks back over seconds, and what is stalled on may be
// the swap disk. What was given last lies free still.
bool lies_free(const Sample& sample, const State& state, Time now) {
    return state.burst > Bytes(0) && now - state.gave_at < k_hold_first &&
           sample.mem_free >= reserve(sample) + state.burst;
}

// Whatever asks for memory back gets more with each step that it goes on asking.
Bytes next_burst(const Policy& policy, const Sample& sample, State& state, Time now) {
    const Bytes first = std::max(k_give_least, sample.ram / k_give_part);
    const feedback::Bounds bounds{.floor = first.count(),
                                  .ceiling = std::max(first, sample.ram / 2).count()};
    const feedback::Score score = std::max(pressure(policy, sample), feedback::k_worst);
    const bool goes_on = state.burst > Bytes(0) && now - state.gave_at <= k_giving_goes_on;
    state.burst = goes_on ? Bytes(feedback::next(state.burst.count(), score, bounds, true,
                                                 feedback::Direction::inverse))
                          : first;
    state.gave_at = now;
    return state.burst;
}

Decision resting(Micros next_step, std::string reason) {
    return Decision{.next_step = next_step, .reason = std::move(reason)};
}

Decision give(const Policy& policy, const Sample& sample, State& state, Time now, Bytes wanted,
              const std::string& reason) {
    if (wanted == Bytes(0) && lies_free(sample, state, now)) {
        return resting(now - state.gave_at <= k_giving_goes_on ? k_giving_step : k_acting_step,
                       reason + "; " + human(sample.mem_free) + " are free, which is no help");
    }
    const Bytes burst = next_burst(policy, sample, state, now);
    const Bytes enough = at_least_a_block(std::max(wanted, burst) + k_block);
    const Bytes amount = std::min(sample.voluntary, enough);
    // What the host asked for is all that is left.
    const bool at_grant = amount < enough && sample.owned > sample.voluntary;
    if (amount == Bytes(0)) {
        return Decision{.at_grant = at_grant,
                        .next_step = k_resting_step,
                        .reason = reason + "; nothing is left to give back"};
    }
    return Decision{.action = Action::give,
                    .give = amount,
                    .at_grant = at_grant,
                    .next_step = k_giving_step,
                    .reason = reason + ": " + human(amount) + " come back"};
}

std::string why_not_more(const Sample& sample, const Policy& policy) {
    return "size " + human(size_of_guest(sample)) + " of at least " + human(policy.min_mem) + ", " +
           human(sample.mem_free) + " free of a reserve of " + human(reserve(sample));
}

}  // namespace

Bytes reserve(const Sample& sample) {
    return sample.floor + std::max(32_MiB, sample.ram / 64);
}

Decision step(const Policy& policy, const Sample& sample, State& state, Time now) {
    const Micros passed = state.started ? now - state.stepped_at : Micros(0);
    state.stepped_at = now;
    if (!std::exchange(state.started, true)) {
        state.rate_per_s = k_take_first;
    }

    // What is needed comes back in every mode: the module leaves that to the agent while it
    // watches.
    if (sample.pressed) {
        const bool again = now - state.pressed_at < state.hold + k_hold_first;
        state.hold =
            again ? std::clamp<Micros>(state.hold * 2, k_hold_first, k_hold_most) : k_hold_first;
        state.pressed_at = now;
        state.rate_per_s = std::max(k_take_least, state.rate_per_s / 4);
        return give(policy, sample, state, now, Bytes(0), "pressure");
    }
    const Bytes kept = reserve(sample);
    if (sample.mem_available < kept / 2 + sample.floor / 2) {
        return give(policy, sample, state, now, kept - sample.mem_available,
                    "only " + human(sample.mem_available) + " are available");
    }
    if (pressure(policy, sample) >= feedback::k_worst) {
        return give(policy, sample, state, now, Bytes(0),
                    "PSI " + human(sample.psi) + " against " + human(policy.psi));
    }
    if (policy.mode != Mode::automatic) {
        return resting(k_resting_step, "the policy's mode is " +
                                           std::string(to_string(policy.mode)) +
                                           ": nothing is taken, and given back what is needed");
    }
    if (sample.holding || now - state.pressed_at < state.hold ||
        (state.burst > Bytes(0) && now - state.gave_at < k_hold_first)) {
        return resting(k_acting_step, "nothing is taken so soon after memory was needed");
    }

    const feedback::Bounds bounds{.floor = k_take_least.count(), .ceiling = k_take_most.count()};
    state.rate_per_s = Bytes(
        feedback::next(state.rate_per_s.count(), pressure(policy, sample), bounds, sample.had_all));
    const Bytes spare = whole_blocks(std::min(sample.mem_free - kept, sample.mem_available - kept));
    const Bytes above_min = whole_blocks(size_of_guest(sample) - policy.min_mem);
    const auto in_a_step = [&](Bytes rate_per_s) {
        const auto span = std::clamp<Micros>(passed, Millis(50), k_acting_step);
        return at_least_a_block(Bytes(detail::mul_div_saturating(
            rate_per_s.count(), static_cast<uint64_t>(span.count()), 1'000'000)));
    };
    const Bytes all = std::min({spare, above_min, in_a_step(state.rate_per_s)});
    if (all == Bytes(0)) {
        return resting(k_resting_step, why_not_more(sample, policy));
    }
    return Decision{.action = Action::take,
                    .take = {.all = all,
                             .migrated = in_a_step(
                                 std::min(state.rate_per_s / k_migrated_part, k_migrated_most))},
                    .next_step = k_acting_step,
                    .reason = "up to " + human(all) + " are taken, at " + human(state.rate_per_s) +
                              "/s; " + why_not_more(sample, policy)};
}

}  // namespace acma::scaling
