// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/hold.h"

#include <algorithm>

#include "engine/arbiter/arbiter.h"

namespace acma::arbiter {

namespace {
Bytes whole_mib(Bytes size) {
    return (size + (1_MiB - Bytes(1))) / (1_MiB).count() * (1_MiB).count();
}

// What its cgroup counts beside guest RAM and QEMU's own.
Bytes margin(const HeldVm& vm) {
    return std::max(k_hold_margin, vm.ram / k_hold_margin_part);
}

bool is_above(const HeldVm& vm) {
    return vm.host > vm.grant + std::max(k_above, vm.grant / k_above_part);
}

// A step below what is really there, but not past where the limit goes. Without the margin: a
// limit above what is there would reclaim nothing, and so never come any further.
Bytes step_down(const HeldVm& vm) {
    const Bytes there = vm.host - vm.swapped + vm.own;
    const Bytes step = std::max(k_hold_step, vm.ram / k_hold_step_part);
    return std::max(hold_limit(vm), whole_mib(there - step));
}
}  // namespace

Bytes hold_limit(const HeldVm& vm) {
    return whole_mib(vm.grant + vm.own + margin(vm));
}

std::optional<Bytes> HoldWatch::observe(const HeldVm& vm, Time now) {
    const bool above = is_above(vm);
    limit_ ? go_on(vm, above, now) : begin(vm, above, now);
    return limit_;
}

void HoldWatch::begin(const HeldVm& vm, bool above, Time now) {
    if (!above || vm.goes_down) {
        above_since_.reset();
        return;
    }
    above_since_ = above_since_.value_or(now);
    // A VM that stands still is measured rarely: what was measured before proves nothing.
    if (now - *above_since_ >= k_hold_after && vm.measured_at > *above_since_) {
        limit_ = step_down(vm);
        lowered_at_ = now;
        above_since_.reset();
    }
}

void HoldWatch::go_on(const HeldVm& vm, bool above, Time now) {
    if (above) {
        within_since_.reset();
    } else {
        within_since_ = within_since_.value_or(now);
        if (now - *within_since_ >= k_let_go_after && vm.measured_at > *within_since_) {
            return let_go();
        }
    }
    const Bytes goal = hold_limit(vm);
    if (goal >= *limit_ + k_still) {
        limit_ = goal;
        return;
    }
    const bool measured = !lowered_at_ || vm.measured_at > *lowered_at_;
    if (const Bytes next = step_down(vm); measured && next + k_still <= *limit_) {
        limit_ = next;
        lowered_at_ = now;
    }
}

}  // namespace acma::arbiter
