// SPDX-License-Identifier: Apache-2.0
// The kdamond of the reclaim job: physical memory, one scheme that pages out what has not been
// accessed for a while, coldest first, within a quota that somebody else steers.
#pragma once

#include <vector>

#include "engine/damon/model.h"

namespace acma::damon {

struct ReclaimSettings {
    Micros min_age{5'000'000};  // idle at least this long
    Bytes bytes = k_no_bytes;   // per reset_interval; 0 is taken as k_no_bytes, never as "no limit"
    Millis time{0};             // CPU time per reset_interval; 0 = no limit
    Millis reset_interval{50};
    // At most half of intervals.aggr: a commit starts it anew on 6.12, and one is handled at every
    // aggregation at most, so a longer one would be starved by back-to-back commits.
    Micros apply_interval{50'000};
    // With less free memory than this share of RAM nothing is paged out; 0 = at any time.
    Permil pause_below_free{0};
    QuotaWeights weights{Permil(0), Permil(0), Permil(1000)};  // coldest = longest idle

    bool operator==(const ReclaimSettings&) const = default;
};

// The pageout scheme's place in its context.
constexpr size_t k_reclaim_scheme = 0;

[[nodiscard]] Scheme reclaim_scheme(const ReclaimSettings& settings, const Intervals& intervals);

// `regions` from target_regions().
[[nodiscard]] Kdamond reclaim_kdamond(std::vector<Region> regions, const Intervals& intervals,
                                      const ReclaimSettings& settings);

}  // namespace acma::damon
