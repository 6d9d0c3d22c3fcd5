// SPDX-License-Identifier: Apache-2.0
// How much memory VMs used: the figures that the meter's parts hand to each other.
//
// Time is integrated by the monotonic clock and filed under hours of the wall clock (UTC). A clock
// that is set forward leaves hours empty, one that is set back makes hours in which more than 3600
// seconds were measured; no second is counted twice or lost.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "engine/base/units.h"

namespace acma::host {

using Hour = std::chrono::hours;  // since 1970-01-01 UTC: the hour that begins then

// 1 TiB for half a year does not fit 64 bits.
__extension__ using ByteSeconds = unsigned __int128;

struct Usage {
    ByteSeconds used = 0;       // integral of the host bytes
    ByteSeconds above_min = 0;  // of what was above the policy's min-mem; without a policy: all
    Micros measured{0};         // how long it was measured: what the integrals are over
    Micros missing{0};          // how long it may have run without being measured

    Usage& operator+=(const Usage& more) {
        used += more.used;
        above_min += more.above_min;
        measured += more.measured;
        missing += more.missing;
        return *this;
    }
    bool operator==(const Usage&) const = default;
};

struct VmUsage {
    std::string name;   // the last that it had
    bool runs = false;  // at the end of what was gathered
    std::map<Hour, Usage> hours;
    bool operator==(const VmUsage&) const = default;
};

struct Moment {
    Time mono;
    Micros wall{0};  // since 1970-01-01 UTC
    bool operator==(const Moment&) const = default;
};

// All that was gathered from one moment to another. Batches follow each other without a gap, but
// for the time in which nobody gathered.
struct UsageBatch {
    Moment since;
    Moment until;
    std::map<std::string, VmUsage> vms;  // by UUID; all that ran

    // How many hours of VMs it holds: its size.
    [[nodiscard]] size_t entries() const;
    // `later` follows on this one.
    void append(const UsageBatch& later);
    bool operator==(const UsageBatch&) const = default;
};

}  // namespace acma::host
