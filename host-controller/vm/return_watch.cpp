// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/return_watch.h"

#include <utility>

namespace acma::host {

void ReturnWatch::see(std::optional<std::string> held, Time measured_at, Time now) {
    const bool forgotten = held_ && now - held_->last >= k_not_returned_gone;
    const bool broken = held_ && !held && !held_->proven;
    if (forgotten || broken) {
        held_.reset();
    }
    if (!held) {
        return;
    }
    if (!held_) {
        held_ = Held{.since = now};
    }
    held_->last = now;
    held_->sentence = std::move(*held);
    held_->proven = held_->proven || (now - held_->since >= k_not_returned_lasts &&
                                      measured_at - held_->since >= k_host_follows);
}

std::optional<std::string> ReturnWatch::told(Time now) const {
    const bool holds = held_ && held_->proven && now - held_->last < k_not_returned_gone;
    return holds ? std::optional(held_->sentence) : std::nullopt;
}

}  // namespace acma::host
