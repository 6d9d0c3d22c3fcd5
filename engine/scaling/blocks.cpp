// SPDX-License-Identifier: Apache-2.0
#include "engine/scaling/blocks.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace acma::scaling {

namespace {

unsigned count(uint64_t bits) {
    return static_cast<unsigned>(std::popcount(bits));
}

// The highest or lowest `nr` of `bits`.
uint64_t highest(uint64_t bits, uint64_t nr) {
    while (count(bits) > nr) {
        bits &= bits - 1;
    }
    return bits;
}

uint64_t lowest(uint64_t bits, uint64_t nr) {
    return count(bits) > nr ? bits & ~highest(bits, count(bits) - nr) : bits;
}

uint64_t blocks_in(Bytes amount) {
    return amount.count() / k_block.count();
}

uint64_t given_back(const Window& window) {
    return window.owned & ~window.pending;
}

}  // namespace

Bytes size_of(const Row& row) {
    return k_block * count(row.bits);
}

bool is_whole(const Row& row) {
    return row.bits == ~uint64_t{0};
}

void BackOff::failed(uint64_t window, uint64_t busy, Time now) {
    if (busy == 0) {
        failures_.erase(window);
        return;
    }
    Failure& failure = failures_[window];
    const Micros wait =
        std::min<Micros>(k_busy_first * (int64_t{1} << std::min(failure.times, 6U)), k_busy_most);
    failure.bits = now < failure.until ? failure.bits | busy : busy;
    failure.until = now + wait;
    ++failure.times;
}

uint64_t BackOff::busy(uint64_t window, Time now) const {
    const auto found = failures_.find(window);
    return found != failures_.end() && now < found->second.until ? found->second.bits : 0;
}

std::vector<Row> take_rows(const std::vector<Window>& windows, Amounts amounts,
                           const BackOff& back_off, const Coldness& coldness, Time now) {
    std::vector<Row> rows;
    uint64_t left = blocks_in(amounts.all);
    uint64_t left_to_migrate = blocks_in(amounts.migrated);
    // Whether all of it is taken or not worth emptying: then the next one's turn has come.
    const auto take_from = [&](const Window& window) {
        const uint64_t there = window.present & ~window.owned;
        const uint64_t free = highest(there & window.free, left);
        if (free != 0) {
            rows.push_back({.window = window.number, .bits = free, .free_only = true});
            left -= count(free);
        }
        const uint64_t used = there & ~window.free & ~back_off.busy(window.number, now);
        const uint64_t moved =
            coldness.coldest(window.number, used, std::min(left, left_to_migrate));
        if (moved != 0) {
            rows.push_back({.window = window.number, .bits = moved, .free_only = false});
            left -= count(moved);
            left_to_migrate -= count(moved);
        }
        return moved == used && left > 0;
    };
    for (const bool spoilt : {false, true}) {
        for (auto window = windows.rbegin(); window != windows.rend(); ++window) {
            if (back_off.spoilt(window->number) == spoilt && !take_from(*window)) {
                return rows;
            }
        }
    }
    return rows;
}

bool use_up(const std::vector<Row>& rows, Amounts amounts) {
    Amounts left = amounts;
    for (const Row& row : rows) {
        left.all -= size_of(row);
        left.migrated -= row.free_only ? Bytes(0) : size_of(row);
    }
    return left.all < k_block || left.migrated < k_block;
}

std::vector<Row> give_rows(const std::vector<Window>& windows, Bytes amount) {
    std::vector<Row> rows;
    uint64_t left = blocks_in(amount) + (amount.count() % k_block.count() != 0 ? 1 : 0);
    const auto add = [&](const Window& window) {
        const uint64_t bits = lowest(given_back(window), left);
        if (bits != 0) {
            rows.push_back({.window = window.number, .bits = bits, .free_only = true});
            left -= count(bits);
        }
    };
    const auto partly = [](const Window& window) { return window.owned != window.present; };
    for (const auto& window : windows) {
        if (partly(window)) {
            add(window);
        }
    }
    for (const auto& window : windows) {
        if (!partly(window)) {
            add(window);
        }
    }
    return rows;
}

std::vector<uint64_t> blocks_to_offline(const std::vector<Window>& windows,
                                        uint64_t block_windows) {
    using Place = std::pair<int, unsigned>;  // node and zone
    struct Block {
        uint64_t taken = 0;  // windows
        Place place;
    };
    struct Edges {
        uint64_t lowest = 0;
        uint64_t highest = 0;
    };
    std::map<uint64_t, Block> blocks;
    std::map<Place, Edges> edges;
    for (const Window& window : windows) {
        if (window.offline) {
            continue;
        }
        const uint64_t number = window.number / block_windows;
        const Place place{window.node, window.zone};
        Block& block = blocks.try_emplace(number, Block{.taken = 0, .place = place}).first->second;
        const bool wholly = given_back(window) == ~uint64_t{0} && block.place == place;
        block.taken += wholly ? 1 : 0;
        edges.try_emplace(place, Edges{.lowest = number, .highest = 0}).first->second.highest =
            number;
    }
    std::vector<uint64_t> found;
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
        const Edges& edge = edges.at(block->second.place);
        if (block->second.taken == block_windows && edge.lowest < block->first &&
            block->first < edge.highest) {
            found.push_back(block->first);
        }
    }
    return found;
}

}  // namespace acma::scaling
