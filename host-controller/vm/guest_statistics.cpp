// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/guest_statistics.h"

#include <algorithm>
#include <utility>

namespace acma::host {

namespace {
// Setting the period is repeated where somebody took it back, or it did not help.
constexpr Micros k_set_again_after{60'000'000};
// libvirt answers at once, the guest within its period.
constexpr Micros k_missing_after{20'000'000};
// An answer takes six commands, of an agent that serves backups as well.
constexpr Micros k_guest_agent_every{10'000'000};
// A guest that is being backed up refuses files for minutes.
constexpr Micros k_first_guest_agent_pause{120'000'000};
constexpr Micros k_longest_guest_agent_pause{1'800'000'000};
constexpr Micros k_guest_agent_fresh{25'000'000};
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

bool GuestStatistics::ask_guest_agent(Time now) {
    if (guest_agent_.asking || (guest_agent_.ask_at && now < *guest_agent_.ask_at)) {
        return false;
    }
    return guest_agent_.asking = true;
}

void GuestStatistics::on_guest_agent(const Result<GuestAgentReading>& answer, Time now) {
    GuestAgent& agent = guest_agent_;
    agent.asking = false;
    if (!answer) {
        agent.wait =
            std::clamp(agent.wait * 2, k_first_guest_agent_pause, k_longest_guest_agent_pause);
        agent.ask_at = now + agent.wait;
        agent.error = answer.error().message;
        agent.last.reset();
        agent.psi.reset();
        return;
    }
    agent.error.clear();
    agent.wait = Micros(0);
    agent.ask_at = now + k_guest_agent_every;
    agent.psi.reset();
    if (agent.last && now > agent.read_at && answer->psi_some_total >= agent.last->psi_some_total) {
        const Micros stalled = answer->psi_some_total - agent.last->psi_some_total;
        agent.psi = std::min(
            k_full_bp, ratio(BasisPoints(static_cast<uint64_t>(stalled.count())),
                             BasisPoints(static_cast<uint64_t>((now - agent.read_at).count()))));
    }
    agent.last = *answer;
    agent.read_at = now;
}

void GuestStatistics::add_guest_agent(sizing::Statistics& statistics, Time now) const {
    if (!guest_agent_.last || now - guest_agent_.read_at >= k_guest_agent_fresh) {
        return;
    }
    statistics.psi = guest_agent_.psi;
    // An old driver does not tell it.
    statistics.usable = statistics.usable ? statistics.usable : guest_agent_.last->usable;
    statistics.unused = statistics.unused ? statistics.unused : guest_agent_.last->unused;
}

void GuestStatistics::forget() {
    if (!first_asked_at_) {
        return;  // as for each guest with an agent, each second
    }
    const bool asking = asking_;
    const auto period_asked_at = period_asked_at_;
    GuestAgent guest_agent = std::move(guest_agent_);
    guest_agent.last.reset();
    *this = GuestStatistics();
    guest_agent_ = std::move(guest_agent);
    asking_ = discard_ = asking;
    period_asked_at_ = period_asked_at;
}

const sizing::Decision& GuestStatistics::step(const sizing::Limits& limits, sizing::Sample sample,
                                              Time now) {
    sample.statistics = std::exchange(fresh_, std::nullopt);
    if (sample.statistics) {
        add_guest_agent(*sample.statistics, now);
        told_ = sample.statistics;
    }
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
