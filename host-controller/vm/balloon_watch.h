// SPDX-License-Identifier: Apache-2.0
// Follows one VM's balloon and tells our own changes from somebody else's. Neither QEMU nor libvirt
// tells who set the target nor what it is, only the size that the guest has reached ("actual"): a
// move that we did not ask for is foreign, whoever did it (virsh setmem, Nova, another manager).
// A foreign target is a ceiling: never fought, we only go lower. A move up past our own target is
// put right instead, with growing pauses: it may be the guest's own doing (deflation under OOM, a
// driver loaded anew), which must not end that max-mem is enforced. Pure.
#pragma once

#include <deque>
#include <optional>

#include "engine/base/units.h"

namespace acma::host {

// Differences below this are the rounding of guests and of other tools.
constexpr Bytes k_balloon_slack = 1_MiB;
// QEMU reports a moving balloon once a second (monitor/monitor.c); twice that is standstill.
constexpr Micros k_balloon_quiet{2'000'000};
// A foreign move that goes on for longer is taken as over where it is: a guest that keeps its
// balloon moving must not keep us from writing.
constexpr Micros k_longest_move{30'000'000};
// This many foreign changes in this time mean that somebody else manages the VM.
constexpr size_t k_foreign_limit = 3;
constexpr Micros k_foreign_window{600'000'000};
// Pauses before a balloon that rises again and again is put right: the first time at once. They
// grow because a guest under OOM has nothing to give, and end where max-mem still means something.
constexpr Micros k_first_correction{5'000'000};
constexpr Micros k_longest_correction{60'000'000};
// How long a guest may still follow a target of ours that a higher one has taken the place of: it
// finishes what it has begun, and QEMU tells of it once a second.
constexpr Micros k_overtaken_lasts{10'000'000};
// How long a target that libvirt gave at the start may take until the guest's driver is there.
constexpr Micros k_start_hold{60'000'000};

struct ForeignMove {
    Bytes from;
    Bytes to;
    bool repeated = false;  // the limit is reached
    bool raised = false;    // past our own target: not a ceiling, to be put right
    bool cut = false;       // it went on for too long, and perhaps still does
    bool operator==(const ForeignMove&) const = default;
};

// What is known when the VM is first seen.
struct BalloonStart {
    Bytes ram;
    Bytes actual;
    std::optional<Bytes> noted;         // the target that we noted in the domain before
    std::optional<Bytes> wanted;        // what its policy asks for, if it has one
    std::optional<Bytes> start_target;  // what libvirt itself set at start
};

class BalloonWatch {
  public:
    BalloonWatch(const BalloonStart& start, Time now);

    // Where the balloon is; called for every report and, with the same value, on ticks. Returns a
    // foreign move when one has come to rest.
    [[nodiscard]] std::optional<ForeignMove> observe(Bytes actual, Time now);

    void wrote(Bytes target, Time now);
    // The last write failed: the target is what it was before. Where `perhaps` it is in force all
    // the same, a balloon that arrives there is taken for ours.
    void write_failed(bool perhaps);
    void set_ram(Bytes ram) { ram_ = ram; }
    // A new policy is carried out at once, whatever the guest did before.
    void end_correction_pause() { correct_at_.reset(); }

    [[nodiscard]] Bytes ram() const { return ram_; }
    [[nodiscard]] Bytes actual() const { return actual_; }
    [[nodiscard]] std::optional<Bytes> written() const { return written_; }
    [[nodiscard]] std::optional<Bytes> ceiling() const { return ceiling_; }
    // The target in force as far as we can know it.
    [[nodiscard]] Bytes target() const { return asked_.value_or(expected_); }
    // Ours, where the guest rose above it and it is not set again yet. QEMU still asks for it.
    [[nodiscard]] std::optional<Bytes> asked() const { return asked_; }
    // It has risen past our target without us lately.
    [[nodiscard]] bool rises(Time now) const;
    // True while nothing may be written: the target that libvirt gave is still on its way, a
    // foreign move is under way, or one that is to be put right has its pause.
    [[nodiscard]] bool must_wait(Time now) const;
    // Set while the guest has not followed our target and makes no progress.
    [[nodiscard]] bool stuck(Time now) const;

  private:
    struct Move {
        Bytes from;
        Time since;
        Time last;
    };
    struct Overtaken {
        Bytes target;
        Time until;
    };
    void overtake(Bytes target, Time now);
    void rest_at(Bytes size);
    void progressed(Time now);
    void forget_target();
    void count_foreign(ForeignMove& move, Time now);
    void pause_correction(Time now);

    Bytes ram_;
    Bytes actual_;
    Bytes expected_;  // where we believe the balloon to be heading
    bool arrived_ = true;
    bool seen_moving_ = false;  // so the guest has a driver
    Time last_progress_;
    Bytes progressed_to_;  // where it was then
    std::optional<Bytes> written_;
    std::optional<Bytes> written_before_;
    std::optional<Bytes> perhaps_written_;
    std::optional<Overtaken> overtaken_;  // the lowest that was on its way
    std::optional<Bytes> asked_;
    std::optional<Bytes> ceiling_;
    std::optional<Move> move_;  // a foreign move under way
    std::optional<Time> hold_until_;
    bool found_unsettled_ = false;  // our noted target was not reached when the VM was first seen
    std::deque<Time> foreign_;      // when moves down were seen, at most k_foreign_limit
    std::optional<Time> raised_at_;
    std::optional<Time> correct_at_;
    Micros correct_in_{0};
};

}  // namespace acma::host
