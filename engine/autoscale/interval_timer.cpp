// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/interval_timer.h"

namespace acma::autoscale {

void IntervalTimer::start() {
    first_.reset();
    done_ = false;
}

void IntervalTimer::count(Time at, uint64_t intervals, bool found) {
    if (!first_ && !done_) {  // may come long after the interval that it ends
        first_ = Count{at, intervals};
        return;
    }
    done_ = done_ || found;
    if (done_) {
        return;
    }
    const uint64_t passed = detail::sub_saturating(intervals, first_->intervals);
    if (passed >= k_intervals) {
        interval_ = (at - first_->at) / static_cast<int64_t>(passed);
        done_ = true;
    }
}

}  // namespace acma::autoscale
