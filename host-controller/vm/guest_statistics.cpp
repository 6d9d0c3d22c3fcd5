// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/guest_statistics.h"

#include <utility>

namespace acma::host {

namespace {
// Setting the period is repeated where somebody took it back, or it did not help.
constexpr Micros k_set_again_after{60'000'000};
// libvirt answers at once, the guest within its period.
constexpr Micros k_missing_after{20'000'000};
}  // namespace

std::optional<ReadStatistics> GuestStatistics::ask(bool may_set_period, Seconds period, Time now) {
    if (asking_ || (first_asked_at_ && now - asked_at_ < k_statistics_period)) {
        return std::nullopt;
    }
    const bool often = period > Seconds(0) && period <= k_statistics_period;
    const bool set = may_set_period && !often &&
                     (!period_asked_at_ || now - *period_asked_at_ >= k_set_again_after);
    if (set) {
        period_asked_at_ = now;
    }
    first_asked_at_ = first_asked_at_.value_or(now);
    asked_at_ = now;
    asking_ = true;
    return ReadStatistics{set};
}

void GuestStatistics::on_answer(const Result<MemoryStatistics>& answer, Time now) {
    asking_ = false;
    if (std::exchange(discard_, false)) {
        return;
    }
    if (!answer) {
        error_ = answer.error().message;
        return;
    }
    error_.clear();
    // What was told before we first asked may be of any age.
    const bool anew = updated_s_ && *updated_s_ != answer->updated_s;
    updated_s_ = answer->updated_s;
    if (anew) {
        fresh_ = told_ = answer->told;
        told_at_ = now;
    }
}

void GuestStatistics::forget() {
    const bool asking = asking_;
    const auto period_asked_at = period_asked_at_;
    *this = GuestStatistics();
    asking_ = discard_ = asking;
    period_asked_at_ = period_asked_at;
}

const sizing::Decision& GuestStatistics::step(const sizing::Limits& limits, sizing::Sample sample,
                                              Time now) {
    sample.statistics = std::exchange(fresh_, std::nullopt);
    (void)sizing::step(limits, sample, state_, now);
    return state_.last;
}

std::optional<std::string> GuestStatistics::missing(Time now) const {
    using sizing::Why;
    if (state_.last.why == Why::stale) {
        return "has told nothing of its memory for " + human(Micros(sizing::k_stale_after)) +
               " or more: it gets back what it gave";
    }
    const bool none = state_.last.why == Why::no_statistics && first_asked_at_ &&
                      now - *first_asked_at_ >= k_missing_after;
    if (!none) {
        return std::nullopt;
    }
    return "tells no statistics of its memory" + (error_.empty() ? "" : " (" + error_ + ")") +
           ": only its host bytes are known, and nothing is taken from it beyond its grant";
}

std::string explain(const sizing::Decision& decision) {
    using sizing::Why;
    const std::string uses =
        decision.used ? "its guest uses " + human(*decision.used) : std::string("its guest");
    switch (decision.why) {
        case Why::shrinks:
        case Why::settles:
        case Why::keeps:
            return uses + ", and can spare what is beyond a headroom of " +
                   human(decision.headroom);
        case Why::grows:
            return uses + ", and its headroom of " + human(decision.headroom) + " is going";
        case Why::pressed:
            return uses + ", and is short of memory";
        case Why::stuck:
            return uses + ", and does not give more";
        case Why::at_risk:
            return uses + ", and could not have back in time what it can spare";
        case Why::stale:
            return "its guest tells nothing of its memory any more, and gets it back";
        case Why::no_statistics:
            break;
    }
    return "its guest tells nothing of its memory";
}

}  // namespace acma::host
