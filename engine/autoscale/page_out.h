// SPDX-License-Identifier: Apache-2.0
// A Decision as DAMON words: which kdamond, monitoring what, with which scheme.
#pragma once

#include <vector>

#include "engine/autoscale/autoscale.h"
#include "engine/damon/model.h"

namespace acma::autoscale {

// One piece of RAM and how much of it page-out could take (platform/page_map.h).
struct PieceOfRam {
    damon::Region region;
    unsigned evictable = 0;  // of `probes` places that were looked at
    unsigned probes = 0;
};

// The regions worth monitoring. Free memory and the kernel's own look cold to DAMON for ever: they
// would use up the quota and the kdamond's time and never give a byte.
// At the quick pace only dense pieces count, as long as they are most of what there is: big
// allocations, which give much for each page that may be wanted back. What is spread thin belongs
// mostly to small processes that sleep for seconds and then need just these pages; the calm pace
// finds it, with more patience.
// Pieces in `kept` are taken whatever is in them: a closer look goes on where it began. Half-way
// through it most of a dense piece is free, and what is left of it would not count any more.
// Neighbours are joined over the smallest gaps until at most k_most_regions are left.
constexpr size_t k_most_regions = 64;
[[nodiscard]] std::vector<damon::Region> worth_monitoring(const std::vector<PieceOfRam>& pieces,
                                                          Pace pace,
                                                          const std::vector<damon::Region>& kept);

// Before page-out can find a page cold, the page's Accessed bit has to be cleared once: it is set
// since the page was first touched, and the page-out action passes over such pages. This kdamond
// does nothing else, once over all regions: page-out with filters that let no page through, of
// which the first ("young") clears the bit of every page it looks at (mm/damon/paddr.c,
// damos_pa_filter_match). Saves a whole pass at the page-out rate, seconds on a big guest.
[[nodiscard]] damon::Kdamond clearing_kdamond(const std::vector<damon::Region>& regions);

// Page-out at the decision's pace and rate. decision.page_out must be true.
// Three more schemes only count, in sz_tried, once every aggregation interval: bytes of regions in
// which an access was seen, bytes of regions in which none was seen for the first time, and all.
constexpr size_t k_page_out_scheme = 0;
constexpr size_t k_accessed_scheme = 1;
constexpr size_t k_idled_scheme = 2;
constexpr size_t k_monitored_scheme = 3;
constexpr size_t k_schemes = 4;
// While less than `pause_below_free` of RAM is free, nothing is paged out: somebody takes memory
// faster than it can be found, and the kernel's own reclaim, which he waits for, must not have to
// share the swap device. DAMON looks at that before each step, sooner than any trigger can fire.
[[nodiscard]] damon::Kdamond page_out_kdamond(const Decision& decision,
                                              const std::vector<damon::Region>& regions,
                                              Permil pause_below_free);

// Once over all regions, from an aggregation interval after the start on, so much in one apply
// step: a step cannot be interrupted, and looks at millions of pages a second. Until the commit
// that ends the pass a second one may begin, which does no harm.
constexpr Micros k_clearing_apply = Millis(20);
constexpr Bytes k_clearing_step = 2_GiB;

}  // namespace acma::autoscale
