// SPDX-License-Identifier: Apache-2.0
// What /proc says of memory, as numbers. Pure parsers: text in, struct out; the readers are file.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::platform {

// /proc/pressure/memory, line "some": cumulative stall time since boot.
[[nodiscard]] Result<Micros> parse_psi_some_total(std::string_view text);

// /proc/vmstat. A counter that this kernel does not have stays 0.
struct VmStat {
    Bytes swap_in_total;       // pswpin
    Bytes swap_out_total;      // pswpout
    Bytes refault_anon_total;  // workingset_refault_anon
    Bytes refault_file_total;  // workingset_refault_file
    uint64_t oom_kills_total = 0;
    bool operator==(const VmStat&) const = default;
};
[[nodiscard]] VmStat parse_vmstat(std::string_view text, Bytes page_size);

// /proc/meminfo; MemTotal must be there.
struct MemInfo {
    Bytes total;
    Bytes free;
    Bytes available;
    Bytes swap_total;
    Bytes swap_free;
    bool operator==(const MemInfo&) const = default;
};
[[nodiscard]] Result<MemInfo> parse_meminfo(std::string_view text);

// /proc/zoneinfo, summed over all zones.
struct ZoneInfo {
    Bytes managed;         // RAM in the page allocator's hands
    Bytes low_watermarks;  // with less free memory than this the kernel reclaims in the background
    bool operator==(const ZoneInfo&) const = default;
};
[[nodiscard]] Result<ZoneInfo> parse_zoneinfo(std::string_view text, Bytes page_size);

}  // namespace acma::platform
