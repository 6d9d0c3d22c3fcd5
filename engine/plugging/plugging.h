// SPDX-License-Identifier: Apache-2.0
// How much of a VM's virtio-mem devices should be plugged, and which of them goes first. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/base/units.h"

namespace acma::plugging {

struct Device {
    std::string alias;
    Bytes size;         // that can be plugged at most
    Bytes block;        // a requested size is a multiple of it
    Bytes requested;    // by the host: the guest plugs or unplugs until it has that
    Bytes current;      // plugged
    unsigned node = 0;  // of the guest
    bool operator==(const Device&) const = default;
};

struct Sums {
    Bytes size;
    Bytes requested;
    Bytes current;
    Bytes may_hold;  // the larger of requested and current, of each
    bool operator==(const Sums&) const = default;
};
[[nodiscard]] Sums sums_of(const std::vector<Device>& devices);

// What `max` leaves for the devices beside the boot memory. No more than they can plug.
[[nodiscard]] Bytes goal_of(Bytes max, Bytes boot_memory, const std::vector<Device>& devices);

// Requested sizes, in the order of `devices`, that together come nearest to `total` without being
// above it. Memory is plugged on the lowest node first and unplugged from the highest first, on one
// node in the order of the devices; what need not change stays as it is. `most` has what each may
// have at most.
[[nodiscard]] std::vector<Bytes> toward(Bytes total, const std::vector<Device>& devices,
                                        const std::vector<Bytes>& most);

}  // namespace acma::plugging
