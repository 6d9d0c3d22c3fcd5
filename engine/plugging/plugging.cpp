// SPDX-License-Identifier: Apache-2.0
#include "engine/plugging/plugging.h"

#include <algorithm>
#include <numeric>

namespace acma::plugging {

namespace {
Bytes blocks_down(Bytes size, Bytes block) {
    return block == Bytes(0) ? size : block * (size.count() / block.count());
}

std::vector<size_t> lowest_node_first(const std::vector<Device>& devices) {
    std::vector<size_t> order(devices.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&devices](size_t a, size_t b) { return devices[a].node < devices[b].node; });
    return order;
}
}  // namespace

Sums sums_of(const std::vector<Device>& devices) {
    Sums sums;
    for (const Device& device : devices) {
        sums.size += device.size;
        sums.requested += device.requested;
        sums.current += device.current;
        sums.may_hold += std::max(device.requested, device.current);
    }
    return sums;
}

Bytes goal_of(Bytes max, Bytes boot_memory, const std::vector<Device>& devices) {
    return std::min(max - boot_memory, sums_of(devices).size);
}

std::vector<Bytes> toward(Bytes total, const std::vector<Device>& devices,
                          const std::vector<Bytes>& most) {
    std::vector<Bytes> wanted;
    wanted.reserve(devices.size());
    for (const Device& device : devices) {
        wanted.push_back(device.requested);
    }
    const Bytes requested = sums_of(devices).requested;
    std::vector<size_t> order = lowest_node_first(devices);
    Bytes missing = total - requested;
    for (const size_t i : order) {
        const Bytes room = std::min(devices[i].size, most[i]) - wanted[i];
        const Bytes more = blocks_down(std::min(missing, room), devices[i].block);
        wanted[i] += more;
        missing -= more;
    }
    Bytes excess = requested - total;
    std::reverse(order.begin(), order.end());
    for (const size_t i : order) {
        // Rounded down, what stays is not above the total.
        const Bytes less = blocks_down(wanted[i] - excess, devices[i].block);
        if (excess > Bytes(0)) {
            excess -= wanted[i] - less;
            wanted[i] = less;
        }
    }
    return wanted;
}

}  // namespace acma::plugging
