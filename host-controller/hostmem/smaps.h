// SPDX-License-Identifier: Apache-2.0
// Host bytes of a guest, the only ruler for memory: resident + swapped + hugetlb bytes of its RAM
// mappings alone, from the text of /proc/PID/smaps. QEMU's own memory (under TCG more than 100 MB)
// is kept apart.
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::host {

struct HostBytes {
    Bytes resident;
    Bytes swapped;
    Bytes hugetlb;
    Bytes qemu_own;  // resident + swapped bytes of everything else in the process

    [[nodiscard]] Bytes total() const { return resident + swapped + hugetlb; }
    bool operator==(const HostBytes&) const = default;
};

// `ram_blocks`: the sizes of the guest's RAM blocks (boot memory or one per NUMA cell, each memory
// device). A block's mapping is the writable, not executable one of exactly that size: measured
// with QEMU 7.2 and 10.0, private, memfd and hugetlbfs alike, since QEMU maps each block on its
// own behind a guard page. A block that the kernel shows in pieces (madvise, mbind on a part) is
// found as a run of adjoining mappings. not_found: a block has no mapping.
[[nodiscard]] Result<HostBytes> host_bytes_of(std::string_view smaps,
                                              const std::vector<Bytes>& ram_blocks);

// Cheap figures of /proc/PID/status that tell whether smaps is worth reading again.
struct ProcessMemory {
    Bytes resident;
    Bytes swapped;
    Bytes hugetlb;
    bool operator==(const ProcessMemory&) const = default;
};
[[nodiscard]] Result<ProcessMemory> parse_process_status(std::string_view status);

}  // namespace acma::host
