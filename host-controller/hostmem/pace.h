// SPDX-License-Identifier: Apache-2.0
// When to read smaps. The kernel walks the page tables of the whole guest for it (about 10 ms per
// GiB in 4 KiB pages), so the cost is bounded as a share of one core over all VMs, and a guest
// whose process figures stand still is read rarely.
#pragma once

#include <optional>

#include "engine/base/units.h"
#include "host-controller/hostmem/smaps.h"

namespace acma::host {

struct PaceLimits {
    Micros at_most_every{1'000'000};    // a VM whose memory moves
    Micros at_least_every{30'000'000};  // a VM that stands still: changes that cancel out
    Bytes moved{1024 * 1024};           // process figures that moved less stand still
    uint64_t rest_factor = 50;          // after a read of t, rest 50 t: 2 % of one core at most
};

// What is remembered of one VM between reads.
struct PaceState {
    std::optional<Time> last_read;
    ProcessMemory at_last_read;
};

// Whether this VM's smaps is worth reading now.
[[nodiscard]] bool is_due(const PaceState& state, const ProcessMemory& seen, Time now,
                          const PaceLimits& limits);

[[nodiscard]] Bytes distance(Bytes a, Bytes b);

// When the sampler may read any VM's smaps again, after a read that took `cost`.
[[nodiscard]] Time rest_until(Time now, Micros cost, const PaceLimits& limits);

}  // namespace acma::host
