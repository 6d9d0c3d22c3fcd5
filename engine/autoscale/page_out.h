// SPDX-License-Identifier: Apache-2.0
// A Decision as DAMON words: which kdamond, monitoring what, with which scheme.
#pragma once

#include <vector>

#include "engine/autoscale/autoscale.h"
#include "engine/damon/model.h"

namespace acma::autoscale {

// One piece of RAM and whether page-out could find anything in it (platform/page_map.h).
struct PieceOfRam {
    damon::Region region;
    bool on_lru = false;
};

// The regions worth monitoring. Free memory and the kernel's own look cold to DAMON for ever: they
// would use up the quota and the kdamond's time and never give a byte. Neighbours are joined over
// the smallest gaps until at most k_most_regions are left; all pieces when none is on an LRU list.
constexpr size_t k_most_regions = 64;
[[nodiscard]] std::vector<damon::Region> worth_monitoring(const std::vector<PieceOfRam>& pieces);

// Before page-out can find a page cold, the page's Accessed bit has to be cleared once: it is set
// since the page was first touched, and the page-out action passes over such pages. This kdamond
// does nothing else, once over all regions: page-out with filters that let no page through, of
// which the first ("young") clears the bit of every page it looks at (mm/damon/paddr.c,
// damos_pa_filter_match). Saves a whole pass at the page-out rate, seconds on a big guest.
[[nodiscard]] damon::Kdamond clearing_kdamond(const std::vector<damon::Region>& regions);

// Page-out at the decision's pace and rate. decision.page_out must be true.
[[nodiscard]] damon::Kdamond page_out_kdamond(const Decision& decision,
                                              const std::vector<damon::Region>& regions);

// Windows of the quick pace. The quota is given in slices this short so that an apply step, which
// nothing can interrupt, stays under 50 ms even when page-out is several times slower than hoped.
constexpr Micros k_quick_window = Millis(10);
// Once over all regions in one apply step; the kdamond gets k_quick_window after it.
constexpr Micros k_clearing_apply = Millis(100);

}  // namespace acma::autoscale
