// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/domain_statistics.h"

#include <array>

#include "host-controller/libvirt/handles.h"

namespace acma::host {

namespace {
// QEMU answers all ones for what the guest has not told; libvirt passes some of that on.
constexpr uint64_t k_untold_kib = UINT64_MAX / 1024;

void take(const virDomainMemoryStatStruct& stat, MemoryStatistics& statistics) {
    if (stat.val >= k_untold_kib) {
        return;
    }
    const Bytes size = to_bytes(Kibibytes(stat.val));
    switch (stat.tag) {
        case VIR_DOMAIN_MEMORY_STAT_UNUSED:
            statistics.told.unused = size;
            break;
        case VIR_DOMAIN_MEMORY_STAT_USABLE:
            statistics.told.usable = size;
            break;
        case VIR_DOMAIN_MEMORY_STAT_SWAP_IN:
            statistics.told.swap_in_total = size;
            break;
        case VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT:
            statistics.told.major_faults_total = stat.val;
            break;
        case VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE:
            statistics.updated_s = stat.val;
            break;
        default:
            break;
    }
}
}  // namespace

Result<MemoryStatistics> domain_statistics(virDomainPtr domain, ReadStatistics order) {
    if (order.set_period &&
        virDomainSetMemoryStatsPeriod(domain, static_cast<int>(k_statistics_period.count()),
                                      VIR_DOMAIN_AFFECT_LIVE) != 0) {
        return last_libvirt_error("setting the period of memory statistics");
    }
    std::array<virDomainMemoryStatStruct, VIR_DOMAIN_MEMORY_STAT_NR> stats{};
    const int count = virDomainMemoryStats(domain, stats.data(), stats.size(), 0);
    if (count < 0) {
        return last_libvirt_error("reading memory statistics");
    }
    MemoryStatistics statistics;
    for (int i = 0; i < count; ++i) {
        take(stats[static_cast<size_t>(i)], statistics);
    }
    return statistics;
}

}  // namespace acma::host
