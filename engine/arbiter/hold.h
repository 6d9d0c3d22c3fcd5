// SPDX-License-Identifier: Apache-2.0
// How a VM that stays above its grant is held: the limit that its cgroup should have (memory.high
// of cgroup v2). Pure.
//
// Such a VM counts with all its RAM already; the limit keeps it from really taking that. It is a
// fence around all that the VM may have, not a way to take memory: beyond the grant it leaves room
// for what else the cgroup counts, QEMU's own memory, page tables and the page cache of its disks.
#pragma once

#include <optional>

#include "engine/base/units.h"

namespace acma::arbiter {

struct HeldVm {
    Bytes ram;               // all that the guest has
    Bytes grant;             // of it, what it may have
    Bytes host;              // of it, what the host holds: resident and swapped
    Bytes swapped;           // of that; a limit does not count it
    Bytes own;               // QEMU's own
    Time measured_at;        // `host`, `swapped` and `own`
    bool goes_down = false;  // its balloon is on its way to the grant
    bool operator==(const HeldVm&) const = default;
};

// So much above the grant is above it: a measurement and a balloon are of different instants.
constexpr Bytes k_above = 32_MiB;
constexpr uint64_t k_above_part = 32;
// For so long before it is held, and so long within its grant before it is let go again: a guest
// that goes to and fro across its grant is held all the time, which costs it nothing below.
constexpr Micros k_hold_after = Seconds(10);
constexpr Micros k_let_go_after = Seconds(60);
// The page tables of QEMU and of KVM take a 256th of the RAM in small pages; the rest is for page
// cache, which the kernel gives up first, and for what QEMU needs in a hurry.
constexpr Bytes k_hold_margin = 128_MiB;
constexpr uint64_t k_hold_margin_part = 32;
// Whoever lowers a limit waits while the kernel reclaims down to it (memory_high_write), and that
// is libvirtd. So it goes down in steps, each from what is really there.
constexpr Bytes k_hold_step = 128_MiB;
constexpr uint64_t k_hold_step_part = 64;

// Where the limit goes in the end. Whole MiB: the kernel would round down to pages.
[[nodiscard]] Bytes hold_limit(const HeldVm& vm);

class HoldWatch {
  public:
    // `found`: a limit of ours that is in force already.
    explicit HoldWatch(std::optional<Bytes> found = {}) : limit_(found) {}

    // Call once a second, and when the grant has changed. The limit that should be in force;
    // nothing: none.
    std::optional<Bytes> observe(const HeldVm& vm, Time now);
    // It may not be held any more, or somebody else has set a limit.
    void let_go() { *this = HoldWatch(); }
    [[nodiscard]] std::optional<Bytes> limit() const { return limit_; }

  private:
    void begin(const HeldVm& vm, bool above, Time now);
    void go_on(const HeldVm& vm, bool above, Time now);

    std::optional<Bytes> limit_;
    std::optional<Time> above_since_;
    std::optional<Time> within_since_;
    std::optional<Time> lowered_at_;
};

}  // namespace acma::arbiter
