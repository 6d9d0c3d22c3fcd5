// SPDX-License-Identifier: Apache-2.0
// What the channel of one guest may cost the loop that all guests share, by the time that reading,
// parsing and handling its input takes. Limits of bytes and lines are no such bound: the same bytes
// cost a hundred times as much in lines that are hard to parse. Pure; the caller has the clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "engine/base/units.h"
#include "proto/rate_budget.h"

namespace acma::host {

class TimeAllowance {
  public:
    // A status a second takes 20 us. A thousandth of a core a guest, so that 1,000 hostile ones
    // cost one; and what covers whatever an honest agent may have to say at once. The limit of
    // bytes comes after it for all that is costly.
    static constexpr uint64_t k_burst_us = 20'000;
    static constexpr Micros k_interval{1'000};  // of each microsecond
    // The costliest input of one turn takes about so long. Whoever took longer was interrupted.
    static constexpr Micros k_most_a_turn{5'000};

    void charge(Micros took, Time now) {
        const Micros cost = std::clamp(took, Micros(0), k_most_a_turn);
        total_ += cost;
        budget_.spend(static_cast<uint64_t>(cost.count()), now);
    }
    // Its input is to be left where it is until then; nothing: it may be read.
    [[nodiscard]] std::optional<Time> rests_until(Time now) const {
        return budget_.overdrawn(now) ? std::optional(budget_.clear_at()) : std::nullopt;
    }
    [[nodiscard]] Micros total() const { return total_; }

  private:
    proto::RateBudget budget_{k_burst_us, k_interval};
    Micros total_{0};
};

}  // namespace acma::host
