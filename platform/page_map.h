// SPDX-License-Identifier: Apache-2.0
// Which parts of RAM hold memory that page-out could take at all, found by looking at a bounded
// number of entries of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::platform {

// One piece of physical memory and at how many of the probed places a page was that reclaim could
// take: on an LRU list and not unevictable.
struct Piece {
    Bytes start;
    Bytes size;
    unsigned evictable = 0;
    bool operator==(const Piece&) const = default;
};

struct PhysicalRange {
    Bytes start;
    Bytes end;
    bool operator==(const PhysicalRange&) const = default;
};

// At most so many entries are read, whatever the size of the guest: about 10 million instructions.
constexpr size_t k_page_map_probes = 4096;
constexpr unsigned k_probes_per_piece = 4;

// Cuts `ram` into pieces of 2 MiB (larger on guests above 2 GiB, so that the number of probes stays
// bounded) and probes each at four places, one in each quarter of it, drawn by `seed`. A piece with
// few LRU pages may look empty: another seed looks at other places.
[[nodiscard]] Result<std::vector<Piece>> probe_page_map(const std::string& kpageflags,
                                                        const std::vector<PhysicalRange>& ram,
                                                        uint32_t seed);

}  // namespace acma::platform
