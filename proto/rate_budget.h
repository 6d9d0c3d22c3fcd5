// SPDX-License-Identifier: Apache-2.0
// How much of something a peer may do: a burst, and a steady rate after it.
#pragma once

#include <cstdint>

#include "engine/base/units.h"

namespace acma::proto {

class RateBudget {
  public:
    // `burst` tokens at once; one comes back every `interval`.
    constexpr RateBudget(uint64_t burst, Micros interval)
        : interval_(interval), burst_time_(interval * static_cast<int64_t>(burst)) {}

    // Takes `amount` tokens (debts are allowed, so that one large piece cannot block for ever).
    void spend(uint64_t amount, Time now) {
        const Time from = paid_until_ > now ? paid_until_ : now;
        paid_until_ = from + interval_ * static_cast<int64_t>(amount);
    }
    // When it is not in debt any more; in the past while it is not.
    [[nodiscard]] Time clear_at() const { return paid_until_ - burst_time_; }
    [[nodiscard]] bool overdrawn(Time now) const { return clear_at() > now; }

  private:
    Micros interval_;
    Micros burst_time_;
    Time paid_until_{};  // all that was spent is paid for by then
};

}  // namespace acma::proto
