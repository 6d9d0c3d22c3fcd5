// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/reclaim.h"

#include <algorithm>
#include <utility>

#include "engine/damon/snapshot.h"

namespace acma::damon {

Scheme reclaim_scheme(const ReclaimSettings& settings, const Intervals& intervals) {
    Scheme scheme;
    scheme.action = Action::pageout;
    scheme.apply_interval = settings.apply_interval;
    scheme.pattern.sz = k_any<Bytes>;
    scheme.pattern.nr_accesses = {SampleCount(0), SampleCount(0)};
    scheme.pattern.age = {age_at_least(settings.min_age, intervals), AggrIntervals::max()};
    scheme.quota.time = settings.time;
    scheme.quota.bytes = std::max(settings.bytes, k_no_bytes);
    scheme.quota.reset_interval = settings.reset_interval;
    scheme.quota.weights = settings.weights;
    if (settings.pause_below_free > Permil(0)) {
        constexpr Permil k_all{1000};
        scheme.watermarks = {.metric = WatermarkMetric::free_mem_rate,
                             .interval = settings.apply_interval,
                             .high = k_all,
                             .mid = k_all,
                             .low = settings.pause_below_free};
    }
    // NB: no fail_charge, although 7.2 and later have it: a page that is being written to a swap
    // disk is not freed yet and counts as failed. Charged at 1/1024 the quota bounds nothing
    // (measured on 7.3.4 with a quota of 100 MiB/s: 800 MiB written in one apply step of six
    // seconds).
    return scheme;
}

Kdamond reclaim_kdamond(std::vector<Region> regions, const Intervals& intervals,
                        const ReclaimSettings& settings) {
    Context context;
    context.operations = Operations::paddr;
    context.attrs.intervals = intervals;
    context.targets.emplace_back().regions = std::move(regions);
    context.schemes.push_back(reclaim_scheme(settings, intervals));
    Kdamond kdamond;
    kdamond.contexts.push_back(std::move(context));
    return kdamond;
}

}  // namespace acma::damon
