// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/page_out.h"

#include <algorithm>

#include "engine/damon/reclaim.h"
#include "engine/damon/regions.h"

namespace acma::autoscale {

namespace {

constexpr Bytes k_page{4096};

struct PaceAttrs {
    Micros sample;
    Micros aggr;
    Micros apply;
    Micros window;  // the quota's
};

// Quick: page-out is looked at with every sample, so that nothing but one short sleep lies between
// two windows where swap is slower than the quota. Calm: 400 page-table lookups a second at most
// (every region costs two a sample).
constexpr PaceAttrs k_quick{
    .sample = Millis(3), .aggr = k_quick_aggr, .apply = Millis(3), .window = k_quick_window};
constexpr PaceAttrs k_calm{
    .sample = Millis(500), .aggr = k_calm_aggr, .apply = Millis(500), .window = k_calm_window};

// Clearing: short, since its result and the change to page-out are only to be had when an
// aggregation interval ends (6.12).
constexpr PaceAttrs k_clearing{.sample = Millis(5),
                               .aggr = k_clearing_apply,
                               .apply = k_clearing_apply,
                               // Each step is a window of its own. With any other length the first
                               // window has no limit on 6.12 (mm/damon/core.c, damos_adjust_quota:
                               // what holds in a window is computed when it ends).
                               .window = Micros(0)};

constexpr uint64_t k_most_quick_regions = 256;
constexpr damon::Range<uint64_t> k_calm_regions{10, 100};

const PaceAttrs& attrs_of(Pace pace) {
    return pace == Pace::quick ? k_quick : k_calm;
}

damon::Intervals intervals_of(const PaceAttrs& attrs) {
    damon::Intervals intervals;
    intervals.sample = attrs.sample;
    intervals.aggr = attrs.aggr;
    // How far regions may be merged is only computed anew when this has passed (mm/damon/core.c,
    // kdamond_fn; 6.12): the calm pace would keep the grid of the quick one for a minute.
    intervals.update = attrs.aggr;
    return intervals;
}

damon::Filter reject(damon::FilterType type, bool matching) {
    return damon::Filter{.type = type, .matching = matching, .allow = false};
}

damon::AccessPattern accessed() {
    damon::AccessPattern pattern = damon::k_any_pattern;
    pattern.nr_accesses.min = SampleCount(1);
    return pattern;
}

// A region's age starts anew in the interval in which its last access is an interval ago.
damon::AccessPattern idled() {
    damon::AccessPattern pattern = damon::k_any_pattern;
    pattern.nr_accesses.max = SampleCount(0);
    pattern.age.max = AggrIntervals(0);
    return pattern;
}

damon::Scheme counting(const damon::AccessPattern& pattern) {
    return damon::Scheme{.action = damon::Action::stat, .pattern = pattern};
}

bool within(const damon::Region& region, const std::vector<damon::Region>& regions) {
    return std::any_of(regions.begin(), regions.end(), [&region](const auto& outer) {
        return outer.start <= region.start && region.end <= outer.end;
    });
}

struct Grid {
    std::vector<damon::Region> pieces;
    Bytes piece;  // the size of all but the last piece of each region
};

// Cut into pieces of one size, which DAMON then leaves as they are (with regions_of_grid).
// It merges a hot huge page in which it saw no access in one interval with its cold neighbours, and
// the sum has their age; the page-out action's own check of the Accessed bit does not save that
// page, since sampling has just cleared it. One such mistake costs 512 swap-ins.
Grid grid_of(const std::vector<damon::Region>& regions) {
    const uint64_t blocks =
        damon::size_of(regions).count() / k_block.count() / k_most_quick_regions + 1;
    Grid grid{.pieces = {}, .piece = k_block * blocks};
    for (const auto& region : regions) {
        for (damon::Address start = region.start; start < region.end;) {
            const damon::Address end =
                std::min(region.end, damon::Address(start.count() + grid.piece.count()));
            grid.pieces.push_back({.start = start, .end = end});
            start = end;
        }
    }
    return grid;
}

// mm/damon/core.c: nothing is merged to more than a min-th of all, and 7.3 cuts what is larger
// (damon_apply_min_nr_regions), so that has to be one piece, and not less. 6.12 splits everything
// while there are at most half of max; 7.3 also splits some while there are less than max
// (kdamond_split_regions), so max is only as far above as slices of the quota need room.
damon::Range<uint64_t> regions_of_grid(const Grid& grid) {
    constexpr uint64_t k_least = 3;  // that the kernel takes
    constexpr uint64_t k_room = 16;
    const uint64_t number = std::max(grid.pieces.size(), k_least);
    const uint64_t whole = damon::size_of(grid.pieces).count() / grid.piece.count();
    return {std::max(whole, k_least), number + std::min(k_room, number - 1)};
}

bool dense(const PieceOfRam& piece) {
    return piece.evictable * 4 >= piece.probes * 3;
}

}  // namespace

std::vector<damon::Region> worth_monitoring(const std::vector<PieceOfRam>& pieces, Pace pace,
                                            const std::vector<damon::Region>& kept) {
    Bytes in_dense;
    Bytes in_any;
    for (const auto& piece : pieces) {
        if (piece.evictable > 0) {
            in_any += damon::size_of(piece.region);
            in_dense += dense(piece) ? damon::size_of(piece.region) : Bytes(0);
        }
    }
    const bool only_dense = pace == Pace::quick && in_dense * 2 >= in_any;
    std::vector<damon::Region> regions;
    for (const auto& piece : pieces) {
        const bool worth = piece.evictable > 0 && (!only_dense || dense(piece));
        if (!worth && !within(piece.region, kept)) {
            continue;
        }
        if (!regions.empty() && regions.back().end == piece.region.start) {
            regions.back().end = piece.region.end;
        } else {
            regions.push_back(piece.region);
        }
    }
    // NB: may join over holes in RAM too (the PCI hole); DAMON skips pages that do not exist.
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
    damon::Kdamond kdamond;
    damon::Context& context = kdamond.contexts.emplace_back();
    context.operations = damon::Operations::paddr;
    context.attrs.intervals = intervals_of(k_clearing);
    const Grid grid = grid_of(regions);
    context.targets.emplace_back().regions = grid.pieces;
    context.attrs.nr_regions = regions_of_grid(grid);
    damon::Scheme& scheme = context.schemes.emplace_back();
    scheme.action = damon::Action::pageout;
    scheme.apply_interval = k_clearing.apply;
    scheme.pattern = damon::k_any_pattern;
    scheme.quota.bytes = k_clearing_step;
    scheme.quota.reset_interval = std::chrono::duration_cast<Millis>(k_clearing.window);
    scheme.filters = {reject(damon::FilterType::young, true), reject(damon::FilterType::anon, true),
                      reject(damon::FilterType::anon, false)};
    return kdamond;
}

damon::Kdamond page_out_kdamond(const Decision& decision, const std::vector<damon::Region>& regions,
                                Permil pause_below_free) {
    const PaceAttrs& attrs = attrs_of(decision.pace);
    damon::ReclaimSettings settings;
    settings.min_age = decision.min_age;
    // NB: whole pages. 6.12 never calls a quota full while less than a page of it is left: it then
    // starts every window at the lowest address again and never gets to the rest
    // (mm/damon/core.c, damos_apply_scheme; fixed by the "rest < min_region_sz" test of 7.3).
    settings.bytes =
        per_window(decision.rate_per_s, decision.pace) / k_page.count() * k_page.count();
    settings.reset_interval = std::chrono::duration_cast<Millis>(attrs.window);
    settings.apply_interval = attrs.apply;
    settings.pause_below_free = pause_below_free;
    // No weights: everything that matches is equally unaccessed, and ranking by age would starve
    // what has just become cold behind memory that has been cold for longer and cannot be taken.
    settings.weights = {};
    const bool quick = decision.pace == Pace::quick;
    const Grid grid = grid_of(regions);
    damon::Kdamond kdamond =
        damon::reclaim_kdamond(quick ? grid.pieces : regions, intervals_of(attrs), settings);
    auto& context = kdamond.contexts[0];
    context.attrs.nr_regions = quick ? regions_of_grid(grid) : k_calm_regions;
    context.schemes.push_back(counting(accessed()));
    context.schemes.push_back(counting(idled()));
    context.schemes.push_back(counting(damon::k_any_pattern));
    return kdamond;
}

}  // namespace acma::autoscale
