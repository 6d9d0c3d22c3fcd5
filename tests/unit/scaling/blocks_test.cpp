// SPDX-License-Identifier: Apache-2.0
#include "engine/scaling/blocks.h"

#include <bit>
#include <random>

#include <gtest/gtest.h>

namespace acma::scaling {
namespace {

constexpr uint64_t k_all = ~uint64_t{0};
constexpr Time k_now{Seconds(100)};
constexpr Amounts k_plenty{.all = 1_GiB * 64, .migrated = 1_GiB * 64};

Window window(uint64_t number, uint64_t owned, uint64_t free) {
    return {.number = number, .present = k_all, .owned = owned, .free = free};
}

TEST(TakeRows, TakesTheHighestFreeBlocksOfTheHighestWindowFirst) {
    const auto rows = take_rows({window(0, 0, k_all), window(1, 0, k_all)},
                                {.all = k_block * 3, .migrated = Bytes(0)}, {}, {}, k_now);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0], (Row{.window = 1, .bits = uint64_t{7} << 61, .free_only = true}));
}

TEST(TakeRows, TakesFreeBlocksOfAWindowBeforeItEmptiesUsedOnes) {
    const auto rows = take_rows({window(5, 0, 0x0f)}, k_plenty, {}, {}, k_now);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0], (Row{.window = 5, .bits = 0x0f, .free_only = true}));
    EXPECT_EQ(rows[1], (Row{.window = 5, .bits = ~uint64_t{0x0f}, .free_only = false}));
}

TEST(TakeRows, TakesNothingBelowAWindowThatHasUsedBlocksLeft) {
    const auto rows = take_rows({window(0, 0, k_all), window(1, 0, 1)},
                                {.all = 1_GiB, .migrated = k_block * 2}, {}, {}, k_now);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[1].window, 1U);
    EXPECT_EQ(std::popcount(rows[1].bits), 2) << "no more than may be migrated";
}

TEST(TakeRows, SkipsBlocksThatDidNotMoveUntilTheirWaitIsOver) {
    BackOff back_off;
    back_off.failed(1, ~uint64_t{1}, k_now);
    const std::vector<Window> windows{window(1, 0, 1)};
    const auto rows = take_rows(windows, k_plenty, back_off, {}, k_now + k_busy_first / 2);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0], (Row{.window = 1, .bits = 1, .free_only = true}));
    EXPECT_FALSE(take_rows(windows, k_plenty, back_off, {}, k_now + k_busy_first)[1].free_only);
}

TEST(TakeRows, TakesWindowsThatCannotBeHadAsAWholeLast) {
    BackOff back_off;
    back_off.failed(2, 1, k_now);
    const std::vector<Window> windows{window(0, 0, k_all), window(1, 0, 0), window(2, 0, k_all)};
    const auto rows = take_rows(windows, k_plenty, back_off, {}, k_now);
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0].window, 1U);
    EXPECT_EQ(rows[1].window, 0U);
    EXPECT_EQ(rows[2].window, 2U);
}

TEST(TakeRows, LeavesOutHolesAndWhatIsOwned) {
    const Window odd{.number = 2, .present = 0xff, .owned = 0x0f, .free = 0xff};
    const auto rows = take_rows({odd}, k_plenty, {}, {}, k_now);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].bits, 0xf0U);
    EXPECT_TRUE(take_rows({}, k_plenty, {}, {}, k_now).empty());
}

damon::SnapshotRegion seen(uint64_t first_block, uint64_t blocks, BasisPoints rate, Micros age) {
    return {.region = {.start = damon::Address(first_block * k_block.count()),
                       .end = damon::Address((first_block + blocks) * k_block.count())},
            .access_rate = rate,
            .age = age};
}

TEST(Coldness, CountsTheHottestPartOfABlock) {
    damon::Snapshot snapshot{.regions = {seen(0, 2, 0_bp, Seconds(9)), seen(2, 1, 5_bp, Seconds(9)),
                                         seen(4, 1, 0_bp, Seconds(3))}};
    snapshot.regions[0].region.end = damon::Address(k_block.count() * 2 + 4096);
    snapshot.regions[1].region.start = snapshot.regions[0].region.end;
    const Coldness coldness(snapshot);
    EXPECT_EQ(coldness.idle(0), Micros(Seconds(9)));
    EXPECT_EQ(coldness.idle(1), Micros(Seconds(9)));
    EXPECT_EQ(coldness.idle(2), Micros(0));
    EXPECT_EQ(coldness.idle(3), std::nullopt);
    EXPECT_EQ(coldness.idle(4), Micros(Seconds(3)));
    EXPECT_EQ(Coldness().idle(0), std::nullopt);
}

TEST(TakeRows, EmptiesTheColdestBlocksOfAWindowFirstAndThoseInUseLast) {
    const uint64_t base = 64;
    const Coldness coldness(damon::Snapshot{.regions = {
                                                seen(base + 0, 4, 0_bp, Seconds(5)),
                                                seen(base + 4, 4, 0_bp, Seconds(60)),
                                                seen(base + 60, 4, 100_bp, Seconds(60)),
                                            }});
    const auto bits = [&](uint64_t blocks) {
        return take_rows({window(1, 0, 0)}, {.all = 1_GiB, .migrated = k_block * blocks}, {},
                         coldness, k_now)
            .at(0)
            .bits;
    };
    EXPECT_EQ(bits(2), 0xc0U);
    EXPECT_EQ(bits(8), 0xffU);
    EXPECT_EQ(bits(9), 0xffU | uint64_t{1} << 59);
    EXPECT_EQ(bits(60), k_all >> 4);
    EXPECT_EQ(bits(61), k_all >> 4 | uint64_t{1} << 63);
}

TEST(TakeRows, TellsWhetherTheAmountsWereTheLimit) {
    const std::vector<Window> windows{window(0, 0, k_all), window(1, 0, 1)};
    const auto of = [&](Amounts amounts) {
        return use_up(take_rows(windows, amounts, {}, {}, k_now), amounts);
    };
    EXPECT_TRUE(of({.all = k_block * 4, .migrated = k_block * 9}));
    EXPECT_TRUE(of({.all = 1_GiB, .migrated = k_block * 9}));
    EXPECT_FALSE(of(k_plenty)) << "there was no more";
}

TEST(BackOff, WaitsTwiceAsLongEachTimeAndForgetsAWindowThatMoved) {
    BackOff back_off;
    Time now = k_now;
    Micros wait = k_busy_first;
    for (int i = 0; i < 10; ++i) {
        back_off.failed(3, 5, now);
        EXPECT_EQ(back_off.busy(3, now + wait - Micros(1)), 5U);
        EXPECT_EQ(back_off.busy(3, now + wait), 0U);
        now += wait;
        wait = std::min<Micros>(wait * 2, k_busy_most);
    }
    EXPECT_EQ(wait, k_busy_most);
    back_off.failed(3, 0, now);
    EXPECT_EQ(back_off, BackOff{});
}

TEST(GiveRows, GivesTheLowestPartlyTakenWindowFirstAndWholeOnesLast) {
    const auto rows =
        give_rows({window(0, 0, 0), window(1, k_all, 0), window(2, 0xf0, 0), window(3, k_all, 0)},
                  k_block * 6);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0].window, 2U);
    EXPECT_EQ(rows[0].bits, 0xf0U);
    EXPECT_EQ(rows[1].window, 1U);
    EXPECT_EQ(rows[1].bits, 3U);
}

TEST(GiveRows, GivesNothingThatTheHostHasNotConfirmed) {
    Window late = window(0, 0xff, 0);
    late.pending = 0xf0;
    const auto rows = give_rows({late}, 1_GiB);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].bits, 0x0fU);
}

TEST(GiveRows, RoundsUpForTheGuest) {
    EXPECT_EQ(size_of(give_rows({window(0, k_all, 0)}, Bytes(1))[0]), k_block);
}

// Whatever the map looks like: no block twice, none that is not there or owned already, no more
// than was asked for.
TEST(TakeRows, KeepsItsPromisesForAnyMap) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 2000; ++round) {
        std::vector<Window> windows;
        for (uint64_t i = 0; i < random() % 6; ++i) {
            const uint64_t present = random() | random();
            const uint64_t owned = present & random() & random();
            windows.push_back({.number = i * 3,
                               .present = present,
                               .owned = owned,
                               .free = present & ~owned & random()});
        }
        const Amounts amounts{.all = k_block * (random() % 300),
                              .migrated = k_block * (random() % 50)};
        Bytes all;
        Bytes migrated;
        std::map<uint64_t, uint64_t> taken;
        uint64_t lowest_so_far = UINT64_MAX;
        for (const Row& row : take_rows(windows, amounts, {}, {}, k_now)) {
            const Window& of = windows.at(row.window / 3);
            EXPECT_EQ(row.bits & ~(of.present & ~of.owned), 0U);
            EXPECT_EQ(row.bits & taken[row.window], 0U);
            EXPECT_EQ(row.free_only, (row.bits & ~of.free) == 0U);
            EXPECT_LE(row.window, lowest_so_far);  // nothing is spoilt here
            lowest_so_far = row.window;
            taken[row.window] |= row.bits;
            all += size_of(row);
            migrated += row.free_only ? Bytes(0) : size_of(row);
        }
        EXPECT_LE(all, amounts.all);
        EXPECT_LE(migrated, amounts.migrated);
    }
}

TEST(BlocksToOffline, AreWhollyTakenAndInsideTheirZoneTheHighestFirst) {
    std::vector<Window> windows;
    for (uint64_t i = 0; i < 6; ++i) {
        windows.push_back(window(i, k_all, 0));
    }
    EXPECT_EQ(blocks_to_offline(windows, 1), (std::vector<uint64_t>{4, 3, 2, 1}));
    windows[3].owned = 1;
    windows[2].pending = 1;
    EXPECT_EQ(blocks_to_offline(windows, 1), (std::vector<uint64_t>{4, 1}));
    windows[4].offline = true;
    EXPECT_EQ(blocks_to_offline(windows, 1), (std::vector<uint64_t>{1})) << "it is offline already";
    windows[0].zone = 1;
    EXPECT_EQ(blocks_to_offline(windows, 1), (std::vector<uint64_t>{})) << "now 1 is at an edge";
    EXPECT_EQ(blocks_to_offline({}, 1), (std::vector<uint64_t>{}));
}

TEST(BlocksToOffline, OfSeveralWindowsNeedAllOfThem) {
    std::vector<Window> windows;
    for (uint64_t i = 0; i < 8; ++i) {
        windows.push_back(window(i, i == 3 ? 1 : k_all, 0));
    }
    EXPECT_EQ(blocks_to_offline(windows, 2), (std::vector<uint64_t>{2}));
    windows[3].owned = k_all;
    EXPECT_EQ(blocks_to_offline(windows, 2), (std::vector<uint64_t>{2, 1}));
    windows[3].node = 1;
    EXPECT_EQ(blocks_to_offline(windows, 2), (std::vector<uint64_t>{2})) << "of two nodes";
}

}  // namespace
}  // namespace acma::scaling
