// SPDX-License-Identifier: Apache-2.0
#include "engine/scaling/coldness.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/scaling/blocks.h"

namespace acma::scaling {

Coldness::Coldness(damon::Snapshot snapshot) : regions_(std::move(snapshot.regions)) {
    std::sort(regions_.begin(), regions_.end(),
              [](const auto& a, const auto& b) { return a.region.start < b.region.start; });
}

std::optional<Micros> Coldness::idle(uint64_t block) const {
    const damon::Address start(block * k_block.count());
    const damon::Address end(start.count() + k_block.count());
    std::optional<Micros> least;
    const auto first = std::partition_point(regions_.begin(), regions_.end(),
                                            [&](const auto& r) { return r.region.end <= start; });
    for (auto region = first; region != regions_.end() && region->region.start < end; ++region) {
        const bool accessed = region->access_rate > BasisPoints(0);
        const Micros idle = accessed ? Micros(0) : region->age;
        least = std::min(least.value_or(idle), idle);
    }
    return least;
}

uint64_t Coldness::coldest(uint64_t window, uint64_t bits, uint64_t nr) const {
    struct Candidate {
        Micros idle;
        uint64_t bit;
    };
    std::vector<Candidate> candidates;
    for (; bits != 0; bits &= bits - 1) {
        const auto place = static_cast<uint64_t>(std::countr_zero(bits));
        const uint64_t block = window * k_window_blocks + place;
        candidates.push_back(
            {.idle = idle(block).value_or(Micros(1)), .bit = uint64_t{1} << place});
    }
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
        return a.idle != b.idle ? a.idle > b.idle : a.bit > b.bit;
    });
    uint64_t chosen = 0;
    for (const auto& candidate : candidates) {
        if (nr-- == 0) {
            break;
        }
        chosen |= candidate.bit;
    }
    return chosen;
}

}  // namespace acma::scaling
