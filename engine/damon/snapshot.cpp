// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/snapshot.h"

#include <algorithm>

#include "engine/damon/regions.h"

namespace acma::damon {

namespace {

SampleCount samples_per_aggregation(const Intervals& intervals) {
    const Micros sample = std::max(intervals.sample, Micros(1));
    return SampleCount(static_cast<uint64_t>(std::max(intervals.aggr / sample, Micros::rep{1})));
}

Micros to_micros(AggrIntervals age, const Intervals& intervals) {
    const uint64_t aggr = static_cast<uint64_t>(std::max(intervals.aggr, Micros(0)).count());
    const uint64_t micros = detail::mul_saturating(age.count(), aggr);
    return Micros(
        static_cast<Micros::rep>(std::min(micros, static_cast<uint64_t>(Micros::max().count()))));
}

// DAMON's age is of the pattern: how long nothing was seen, for a region without accesses.
bool is_cold(const SnapshotRegion& region, Micros idle) {
    return region.access_rate == BasisPoints(0) && region.age >= idle;
}

}  // namespace

Snapshot take_snapshot(const TriedRegions& tried, const Intervals& intervals, uint64_t addr_unit) {
    const SampleCount most = samples_per_aggregation(intervals);
    Snapshot snapshot;
    snapshot.regions.reserve(tried.regions.size());
    for (const TriedRegion& region : tried.regions) {
        const Bytes size = size_of(Region{region.start, region.end}) * addr_unit;
        snapshot.regions.push_back({
            .region = {region.start * addr_unit, region.end * addr_unit},
            .size = size,
            // A seen access must not round down to none.
            .access_rate = region.nr_accesses == SampleCount(0)
                               ? BasisPoints(0)
                               : std::clamp(ratio(region.nr_accesses, most), 1_bp, k_full_bp),
            .age = to_micros(region.age, intervals),
            .filter_passed = region.sz_filter_passed * addr_unit,
        });
        snapshot.total += size;
    }
    return snapshot;
}

Bytes cold(const Snapshot& snapshot, Micros idle) {
    Bytes sum;
    for (const SnapshotRegion& region : snapshot.regions) {
        if (is_cold(region, idle)) {
            sum += region.size;
        }
    }
    return sum;
}

Bytes working_set(const Snapshot& snapshot, Micros window) {
    return snapshot.total - cold(snapshot, window);
}

AggrIntervals age_at_least(Micros age, const Intervals& intervals) {
    const Micros aggr = std::max(intervals.aggr, Micros(1));
    const Micros::rep whole = age / aggr + (age % aggr > Micros(0) ? 1 : 0);
    return AggrIntervals(static_cast<uint64_t>(std::max(whole, Micros::rep{0})));
}

SampleCount accesses_at_least(BasisPoints rate, const Intervals& intervals) {
    const SampleCount floor = scale(samples_per_aggregation(intervals), rate);
    const bool exact = ratio(floor, samples_per_aggregation(intervals)) == rate;
    return exact ? floor : floor + SampleCount(1);
}

SampleCount accesses_at_most(BasisPoints rate, const Intervals& intervals) {
    return scale(samples_per_aggregation(intervals), rate);
}

}  // namespace acma::damon
