// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/balloon_watch.h"

#include <algorithm>
#include <utility>

namespace acma::host {

namespace {
// A guest that does not move for this long does not follow (squeezed's rule, in seconds).
constexpr Micros k_stuck_after{5'000'000};
// Before it has ever moved it may just be booting.
constexpr Micros k_stuck_at_first_after{60'000'000};
// After our own crash: if the guest stands off our noted target this long, somebody else set it.
// Lower is a ceiling; higher is put right.
constexpr Micros k_unsettled_after{10'000'000};

Bytes distance(Bytes a, Bytes b) {
    return a > b ? a - b : b - a;
}
bool near(Bytes a, Bytes b) {
    return distance(a, b) <= k_balloon_slack;
}
}  // namespace

BalloonWatch::BalloonWatch(const BalloonStart& start, Time now)
    : ram_(start.ram), actual_(start.actual), expected_(start.actual) {
    progressed(now);
    if (start.noted) {
        written_ = start.noted;
        expected_ = *start.noted;
        arrived_ = near(actual_, expected_);
        found_unsettled_ = !arrived_;
    } else if (start.wanted && near(actual_, *start.wanted)) {
        written_ = start.wanted;  // where our policy wants it: ours, or as good as ours
    } else {
        rest_at(actual_);
        // Until the guest's driver has started, actual is all of RAM whatever the target is.
        if (start.wanted && start.start_target && *start.start_target < *start.wanted &&
            !near(*start.start_target, actual_)) {
            hold_until_ = now + k_start_hold;
        }
    }
}

void BalloonWatch::rest_at(Bytes size) {
    expected_ = size;
    arrived_ = true;
    written_.reset();
    asked_.reset();
    ceiling_ = size < ram_ && !near(size, ram_) ? std::optional(size) : std::nullopt;
}

// What we wrote is not in force any more, so that it is written once again. The last target of a
// run before this one is no reason to set a ceiling.
void BalloonWatch::forget_target() {
    expected_ = actual_;
    arrived_ = true;
    written_.reset();
    found_unsettled_ = false;
}

void BalloonWatch::progressed(Time now) {
    last_progress_ = now;
    progressed_to_ = actual_;
}

std::optional<ForeignMove> BalloonWatch::observe(Bytes actual, Time now) {
    const Bytes before = actual_;
    actual_ = actual;
    const bool moved = actual != before;
    if (moved) {
        hold_until_.reset();
        seen_moving_ = true;
    }
    if (perhaps_written_ && near(actual, *perhaps_written_)) {
        written_ = std::exchange(perhaps_written_, std::nullopt);
        expected_ = *written_;
    }
    if (asked_ && near(actual, *asked_)) {  // it obeys our target, which was never out of force
        written_ = std::exchange(asked_, std::nullopt);
        expected_ = *written_;
        correct_at_.reset();
    }
    if (near(actual, expected_)) {
        arrived_ = true;
        found_unsettled_ = false;
        progressed(now);
        move_.reset();  // it came back by itself, as after a reboot of the guest
        return std::nullopt;
    }
    const bool same_side = (actual > expected_) == (before > expected_);
    const bool closer = same_side && distance(actual, expected_) <= distance(before, expected_);
    if (!arrived_ && closer && !move_) {
        if (distance(actual, expected_) + k_balloon_slack <= distance(progressed_to_, expected_)) {
            progressed(now);  // a few pages now and then are none
        }
        const bool set_meanwhile = found_unsettled_ && now - last_progress_ >= k_unsettled_after;
        if (!set_meanwhile) {
            return std::nullopt;
        }
        if (actual > expected_) {
            forget_target();
            return std::nullopt;
        }
        move_ = Move{.from = expected_, .since = last_progress_, .last = last_progress_};
    }
    if (overtaken_ && now < overtaken_->until && actual < expected_ &&
        actual + k_balloon_slack >= overtaken_->target) {
        return std::nullopt;  // the target before is still followed
    }
    if (!move_) {
        move_ = Move{.from = arrived_ ? expected_ : before, .since = now, .last = now};
    } else if (moved) {
        move_->last = now;
    }
    const bool rests = now - move_->last >= k_balloon_quiet;
    if (!rests && now - move_->since < k_longest_move) {
        return std::nullopt;
    }
    ForeignMove done{.from = move_->from, .to = actual, .cut = !rests};
    const bool up = actual > expected_;
    const std::optional<Bytes> ours = written_ ? written_ : asked_;
    const bool above_ours = ours && actual > *ours;
    move_.reset();
    found_unsettled_ = false;
    if (above_ours && !up) {  // half-way back to our target
        expected_ = actual;
        arrived_ = true;
        return std::nullopt;
    }
    done.raised = above_ours;
    const bool had_ceiling = ceiling_.has_value();
    rest_at(actual);
    if (done.raised) {
        ceiling_ = had_ceiling ? ceiling_ : std::nullopt;  // it lifts a ceiling, it makes none
        asked_ = ours;
        pause_correction(now);
    }
    // Moves up can all be the guest's own, and a long one is not several.
    if (!up && !done.cut) {
        count_foreign(done, now);
    }
    return done;
}

void BalloonWatch::count_foreign(ForeignMove& move, Time now) {
    while (!foreign_.empty() && now - foreign_.front() > k_foreign_window) {
        foreign_.pop_front();
    }
    foreign_.push_back(now);
    move.repeated = foreign_.size() >= k_foreign_limit;
    if (move.repeated) {
        foreign_.clear();
    }
}

void BalloonWatch::pause_correction(Time now) {
    correct_in_ = rises(now) ? std::clamp(correct_in_ * 2, k_first_correction, k_longest_correction)
                             : Micros(0);
    raised_at_ = now;
    correct_at_ = now + correct_in_;
}

bool BalloonWatch::rises(Time now) const {
    return raised_at_ && now - *raised_at_ <= k_foreign_window;
}

void BalloonWatch::overtake(Bytes target, Time now) {
    if (overtaken_ && (now >= overtaken_->until || target <= overtaken_->target)) {
        overtaken_.reset();
    }
    if (!arrived_ && written_ && *written_ < target && *written_ < actual_) {
        const Bytes lowest = overtaken_ ? std::min(overtaken_->target, *written_) : *written_;
        overtaken_ = Overtaken{lowest, now + k_overtaken_lasts};
    }
}

void BalloonWatch::wrote(Bytes target, Time now) {
    overtake(target, now);
    written_before_ = written_ ? written_ : asked_;
    perhaps_written_.reset();
    asked_.reset();
    written_ = target;
    expected_ = target;
    arrived_ = near(actual_, target);
    progressed(now);
    found_unsettled_ = false;
    move_.reset();
}

void BalloonWatch::write_failed(bool perhaps) {
    perhaps_written_ = perhaps ? written_ : std::nullopt;
    written_ = written_before_;
    expected_ = written_.value_or(actual_);
    arrived_ = near(actual_, expected_);
}

bool BalloonWatch::must_wait(Time now) const {
    return move_.has_value() || (hold_until_ && now < *hold_until_) ||
           (correct_at_ && now < *correct_at_);
}

bool BalloonWatch::stuck(Time now) const {
    const Micros patience = seen_moving_ ? k_stuck_after : k_stuck_at_first_after;
    // Up and down above our target is no progress either: the guest cannot spare what is asked.
    const bool foreign = move_ && actual_ < expected_;
    return !arrived_ && !foreign && now - last_progress_ >= patience;
}

}  // namespace acma::host
