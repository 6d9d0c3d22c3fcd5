// SPDX-License-Identifier: Apache-2.0
// What the hypervisor can tell of a guest's memory where no agent of ours does.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/base/result.h"
#include "engine/sizing/sizing.h"

namespace acma::host {

struct MemoryStatistics {
    sizing::Statistics told;
    // Changes when the guest has told them anew: seconds by the host's clock (libvirt's
    // last-update). 0: it never has.
    uint64_t updated_s = 0;
};
using StatisticsDone = std::function<void(const Result<MemoryStatistics>&)>;

// Every two seconds, so that a guest which grows is seen before it has used up its headroom.
constexpr Seconds k_statistics_period{2};

struct ReadStatistics {
    bool set_period =
        false;  // have QEMU ask the guest for them every k_statistics_period; live only
    bool operator==(const ReadStatistics&) const = default;
};

// What the stock guest agent has read in the guest: /proc/pressure/memory and /proc/meminfo.
struct GuestAgentReading {
    Micros psi_some_total{0};
    Bytes unused;
    Bytes usable;
};
using GuestAgentDone = std::function<void(const Result<GuestAgentReading>&)>;

struct ReadGuestAgent {
    bool operator==(const ReadGuestAgent&) const = default;
};

}  // namespace acma::host
