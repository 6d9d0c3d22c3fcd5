// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/page_out.h"

#include <algorithm>

namespace acma::autoscale {

namespace {

struct PaceAttrs {
    Micros sample;
    Micros aggr;
    damon::Range<uint64_t> nr_regions;
    Micros apply;        // also the quota's window
    AggrIntervals cold;  // not accessed for so many aggregation intervals
};

// Quick: one second without access is cold enough to try, since every page is asked again and the
// loop hears within half a second what came back. Calm: 100 page-table lookups a second at most.
constexpr PaceAttrs k_quick{.sample = Millis(5),
                            .aggr = Millis(100),
                            .nr_regions = {100, 1000},
                            .apply = k_quick_window,
                            .cold = AggrIntervals(10)};
constexpr PaceAttrs k_calm{.sample = Millis(500),
                           .aggr = Seconds(5),
                           .nr_regions = {10, 100},
                           .apply = Millis(500),
                           .cold = AggrIntervals(1)};

damon::Kdamond kdamond_for(const PaceAttrs& attrs, const std::vector<damon::Region>& regions,
                           damon::Scheme scheme) {
    damon::Context context;
    context.operations = damon::Operations::paddr;
    context.attrs.intervals.sample = attrs.sample;
    context.attrs.intervals.aggr = attrs.aggr;
    context.attrs.nr_regions = attrs.nr_regions;
    context.targets.push_back(damon::Target{.regions = regions});
    context.schemes.push_back(std::move(scheme));
    damon::Kdamond kdamond;
    kdamond.contexts.push_back(std::move(context));
    return kdamond;
}

damon::Filter reject(damon::FilterType type, bool matching) {
    return damon::Filter{.type = type, .matching = matching, .allow = false};
}

}  // namespace

std::vector<damon::Region> worth_monitoring(const std::vector<PieceOfRam>& pieces) {
    const bool any =
        std::any_of(pieces.begin(), pieces.end(), [](const auto& p) { return p.on_lru; });
    std::vector<damon::Region> regions;
    for (const auto& piece : pieces) {
        if (any && !piece.on_lru) {
            continue;
        }
        if (!regions.empty() && regions.back().end == piece.region.start) {
            regions.back().end = piece.region.end;
        } else {
            regions.push_back(piece.region);
        }
    }
    // NB: joins over holes in RAM too (the PCI hole); DAMON skips pages that do not exist.
    while (regions.size() > k_most_regions) {
        size_t best = 1;
        for (size_t i = 2; i < regions.size(); ++i) {
            if (regions[i].start - regions[i - 1].end <
                regions[best].start - regions[best - 1].end) {
                best = i;
            }
        }
        regions[best - 1].end = regions[best].end;
        regions.erase(regions.begin() + static_cast<std::ptrdiff_t>(best));
    }
    return regions;
}

damon::Kdamond clearing_kdamond(const std::vector<damon::Region>& regions) {
    damon::Scheme scheme;
    scheme.action = damon::Action::pageout;
    scheme.apply_interval = k_clearing_apply;
    scheme.pattern = damon::k_any_pattern;
    scheme.filters = {reject(damon::FilterType::young, true), reject(damon::FilterType::anon, true),
                      reject(damon::FilterType::anon, false)};
    return kdamond_for(k_quick, regions, std::move(scheme));
}

damon::Kdamond page_out_kdamond(const Decision& decision,
                                const std::vector<damon::Region>& regions) {
    const PaceAttrs& attrs = decision.pace == Pace::quick ? k_quick : k_calm;
    damon::Scheme scheme;
    scheme.action = damon::Action::pageout;
    scheme.apply_interval = attrs.apply;
    scheme.pattern = damon::k_any_pattern;
    scheme.pattern.nr_accesses.max = SampleCount(0);
    scheme.pattern.age.min = attrs.cold;
    // No weights: everything that matches is equally unaccessed, and ranking by age would starve
    // what has just become cold behind kernel memory that has looked cold since boot.
    scheme.quota.reset_interval = std::chrono::duration_cast<Millis>(attrs.apply);
    // The same slice at both paces: an apply step must be as short at the calm one.
    const auto windows_per_s = static_cast<uint64_t>(Micros(Seconds(1)) / k_quick_window);
    scheme.quota.bytes = std::max(damon::k_no_bytes, decision.rate_per_s / windows_per_s);
    return kdamond_for(attrs, regions, std::move(scheme));
}

}  // namespace acma::autoscale
