// SPDX-License-Identifier: Apache-2.0
// How long DAMON's aggregation intervals really last, from counts of them. Only counts from before
// page-out finds something are of use: its apply steps stretch intervals, and nothing is sampled in
// them.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/base/units.h"

namespace acma::autoscale {

class IntervalTimer {
  public:
    // A kdamond was switched on; what was measured of an earlier one stays until this one is timed.
    void start();
    // `intervals`: all ever counted, at `at`. `found`: page-out has tried something since the count
    // before. The first one of a kdamond may still be of the clearing pass.
    void count(Time at, uint64_t intervals, bool found);
    // 0: not known.
    [[nodiscard]] Micros interval() const { return interval_; }

  private:
    // Enough to tell how long one is.
    static constexpr uint64_t k_intervals = 6;

    struct Count {
        Time at{};
        uint64_t intervals = 0;
    };
    std::optional<Count> first_;
    bool done_ = true;
    Micros interval_{0};
};

}  // namespace acma::autoscale
