// SPDX-License-Identifier: Apache-2.0
// What DAMON saw, in units that mean something without the intervals: the tried regions of a scheme
// that matches everything (usually `stat`) as sizes, access rates and ages.
#pragma once

#include <vector>

#include "engine/base/units.h"
#include "engine/damon/model.h"

namespace acma::damon {

struct SnapshotRegion {
    Region region;
    Bytes size;
    BasisPoints access_rate;  // share of the samples that found an access
    Micros age{0};            // how long this has been the pattern
    Bytes filter_passed;  // of it, what the scheme's page level filters let through (since 6.14)

    bool operator==(const SnapshotRegion&) const = default;
};

struct Snapshot {
    std::vector<SnapshotRegion> regions;
    Bytes total;

    bool operator==(const Snapshot&) const = default;
};

// `intervals`: those that the kdamond ran with (read them after update_tuned_intervals where the
// kernel tunes them). nr_accesses above the possible number counts as 100 %.
[[nodiscard]] Snapshot take_snapshot(const TriedRegions& tried, const Intervals& intervals,
                                     uint64_t addr_unit = 1);

// Working set: bytes that were accessed, or have not been left alone for `window` yet.
// NB: pages that are on no LRU list (kernel, slab, page tables) are never seen as accessed.
[[nodiscard]] Bytes working_set(const Snapshot& snapshot, Micros window = Micros(0));

// Bytes with no access seen for at least `idle`. total = working_set(idle) + cold(idle).
[[nodiscard]] Bytes cold(const Snapshot& snapshot, Micros idle);

// Limits of an access pattern. Rounded so that the pattern matches less rather than more.
[[nodiscard]] AggrIntervals age_at_least(Micros age, const Intervals& intervals);
[[nodiscard]] SampleCount accesses_at_least(BasisPoints rate, const Intervals& intervals);
[[nodiscard]] SampleCount accesses_at_most(BasisPoints rate, const Intervals& intervals);

}  // namespace acma::damon
