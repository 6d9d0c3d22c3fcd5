// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/sim_guest.h"

#include <algorithm>

namespace acma::simulation {

namespace {
constexpr Micros k_tick = Millis(10);
constexpr uint64_t k_pages_per_piece = 512;

uint64_t as_us(Micros duration) {
    return static_cast<uint64_t>(std::max<int64_t>(0, duration.count()));
}

Bytes over(Bytes per_second, Micros span) {
    return Bytes(detail::mul_div_saturating(per_second.count(), as_us(span), 1'000'000));
}
}  // namespace

size_t SimGuest::allocate(Bytes size, Micros period) {
    Group group;
    group.pieces.assign(size.count() / k_block.count(), Piece{.accessed = now_});
    group.period = period;
    group.next_access = now_ + period;
    groups_.push_back(std::move(group));
    return groups_.size() - 1;
}

void SimGuest::set_period(size_t group, Micros period) {
    groups_.at(group).period = period;
    groups_.at(group).next_access = now_;
}

void SimGuest::stall(Micros duration) {
    stalled_ += duration;
    const Micros seen(static_cast<int64_t>(
        detail::mul_div_saturating(as_us(duration), config_.stall_seen_by_psi.count(), 10'000)));
    // PSI counts time, not tasks: no more than the wall clock.
    psi_total_ += std::min(seen, k_tick);
    recent_.emplace_back(now_, std::min(seen, k_tick));
}

void SimGuest::access_due() {
    Micros waited{0};
    for (auto& group : groups_) {
        if (group.period == Micros(0) || now_ < group.next_access) {
            continue;
        }
        for (auto& piece : group.pieces) {
            if (!piece.resident) {
                piece.resident = true;
                swap_in_ += k_block;
                waited += config_.swap_in_cost * static_cast<int64_t>(k_pages_per_piece);
            }
            piece.accessed = now_;
        }
        group.next_access = now_ + group.period;
    }
    // A burst of swap-ins spreads over as many ticks as it takes; here the access just takes
    // longer.
    while (waited > Micros(0)) {
        stall(std::min(waited, k_tick));
        waited -= std::min(waited, k_tick);
        if (waited > Micros(0)) {
            now_ += k_tick;
        }
    }
}

void SimGuest::page_out(const autoscale::Decision& decision) {
    if (!decision.page_out) {
        running_ = false;
        return;
    }
    if (!running_) {
        running_ = true;
        running_since_ = now_;
    }
    if (now_ - running_since_ < config_.start_delay) {
        return;
    }
    aggregated_ += k_tick;
    // A slice of the quota for each window, as plan and kernel do it (autoscale/page_out.cpp).
    const Micros window = decision.pace == autoscale::Pace::quick ? autoscale::k_quick_window
                                                                  : autoscale::k_calm_window;
    if (now_ - window_since_ < window) {
        return;
    }
    window_since_ = now_;
    // Whole pieces, as huge pages are. The swap device takes what it can, not a byte more a second.
    device_credit_ =
        std::min(device_credit_ + over(config_.page_out_per_s, window), config_.page_out_per_s);
    const Bytes quota = autoscale::per_window(decision.rate_per_s, decision.pace);
    auto left =
        std::min((quota + k_block - Bytes(1)).count(), device_credit_.count()) / k_block.count();
    for (auto& group : groups_) {
        for (auto& piece : group.pieces) {
            if (left == 0) {
                ++full_windows_;
                return;
            }
            if (piece.resident && now_ - piece.accessed >= decision.min_age) {
                piece.resident = false;
                swap_out_ += k_block;
                device_credit_ -= k_block;
                --left;
            }
        }
    }
}

// The two counting schemes (autoscale/page_out.h). At the quick pace their intervals are too short
// to tell anything; nothing is counted here.
void SimGuest::count(const autoscale::Decision& decision) {
    if (!decision.page_out || decision.pace == autoscale::Pace::quick) {
        counted_at_ = now_;
        return;
    }
    if (now_ - counted_at_ < autoscale::k_calm_aggr) {
        return;
    }
    counted_at_ = now_;
    for (const auto& group : groups_) {
        for (const auto& piece : group.pieces) {
            const Micros idle = now_ - piece.accessed;
            accessed_ += idle < autoscale::k_calm_aggr ? k_block : Bytes(0);
            idled_ += piece.resident && idle >= autoscale::k_calm_aggr &&
                              idle < autoscale::k_calm_aggr * 2
                          ? k_block
                          : Bytes(0);
        }
    }
}

void SimGuest::run(Micros span, const autoscale::Decision& decision) {
    const Time end = now_ + span;
    while (now_ < end) {
        now_ += k_tick;
        access_due();
        page_out(decision);
        count(decision);
    }
    while (!recent_.empty() && now_ - recent_.front().first > Seconds(1)) {
        recent_.pop_front();
    }
}

bool SimGuest::take_trigger(const autoscale::Trigger& trigger) {
    Micros sum{0};
    for (const auto& [at, duration] : recent_) {
        if (now_ - at <= trigger.window) {
            sum += duration;
        }
    }
    if (sum < trigger.stall || now_ < rearm_at_) {
        return false;
    }
    rearm_at_ = now_ + trigger.window;
    return true;
}

Bytes SimGuest::resident() const {
    Bytes sum;
    for (const auto& group : groups_) {
        for (const auto& piece : group.pieces) {
            sum += piece.resident ? k_block : Bytes(0);
        }
    }
    return sum;
}

Bytes SimGuest::free() const {
    return config_.ram - config_.kernel - resident();
}

autoscale::Sample SimGuest::sample() const {
    autoscale::Sample sample;
    sample.psi_some_total = psi_total_;
    sample.swap_in_total = swap_in_;
    sample.swap_out_total = swap_out_;
    sample.applied_total = swap_out_;
    sample.counted_at = now_;
    sample.tried_total = swap_out_;
    sample.full_windows_total = full_windows_;
    sample.aggregations_total = as_us(aggregated_) / as_us(autoscale::k_quick_aggr);
    sample.accessed_total = accessed_;
    sample.idled_total = idled_;
    sample.mem_total = config_.ram;
    sample.mem_available = free();
    sample.mem_free = free();
    sample.swap_free = config_.ram;
    return sample;
}

}  // namespace acma::simulation
