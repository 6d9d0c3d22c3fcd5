// SPDX-License-Identifier: Apache-2.0
// Which physical memory to monitor: the System RAM ranges of /proc/iomem as DAMON target regions.
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/damon/model.h"

namespace acma::damon {

// All System RAM of a /proc/iomem text, sorted, not overlapping; ends are exclusive. RAM that a
// driver added (dax, virtio-mem) is nested there and counts as well.
// permission: the kernel shows zeros (not root). invalid: a malformed line. not_found: no RAM.
// too_large: more text or ranges than any machine has.
[[nodiscard]] Result<std::vector<Region>> parse_iomem(std::string_view text);

// Ranges below this are left out: they hold firmware leftovers (the first 640 KiB), and every
// region costs samples.
constexpr Bytes k_least_range = 1_MiB;

// Target regions of a paddr context: aligned inwards to pages, neighbours joined, tiny ranges left
// out. not_found when nothing remains.
[[nodiscard]] Result<std::vector<Region>> target_regions(const std::vector<Region>& ram,
                                                         Bytes least = k_least_range);

[[nodiscard]] Bytes size_of(const Region& region);
[[nodiscard]] Bytes size_of(const std::vector<Region>& regions);

}  // namespace acma::damon
