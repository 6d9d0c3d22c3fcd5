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
                                {.all = k_block * 3, .migrated = Bytes(0)}, {}, k_now);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0], (Row{.window = 1, .bits = uint64_t{7} << 61, .free_only = true}));
}

TEST(TakeRows, TakesFreeBlocksOfAWindowBeforeItEmptiesUsedOnes) {
    const auto rows = take_rows({window(5, 0, 0x0f)}, k_plenty, {}, k_now);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0], (Row{.window = 5, .bits = 0x0f, .free_only = true}));
    EXPECT_EQ(rows[1], (Row{.window = 5, .bits = ~uint64_t{0x0f}, .free_only = false}));
}

TEST(TakeRows, TakesNothingBelowAWindowThatHasUsedBlocksLeft) {
    const auto rows = take_rows({window(0, 0, k_all), window(1, 0, 1)},
                                {.all = 1_GiB, .migrated = k_block * 2}, {}, k_now);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[1].window, 1U);
    EXPECT_EQ(std::popcount(rows[1].bits), 2) << "no more than may be migrated";
}

TEST(TakeRows, SkipsBlocksThatDidNotMoveUntilTheirWaitIsOver) {
    BackOff back_off;
    back_off.failed(1, ~uint64_t{1}, k_now);
    const std::vector<Window> windows{window(0, 0, k_all), window(1, 0, 1)};
    const auto rows = take_rows(windows, k_plenty, back_off, k_now + k_busy_first / 2);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0], (Row{.window = 1, .bits = 1, .free_only = true}));
    EXPECT_EQ(rows[1].window, 0U);
    EXPECT_FALSE(take_rows(windows, k_plenty, back_off, k_now + k_busy_first)[1].free_only);
}

TEST(TakeRows, LeavesOutHolesAndWhatIsOwned) {
    const Window odd{.number = 2, .present = 0xff, .owned = 0x0f, .free = 0xff};
    const auto rows = take_rows({odd}, k_plenty, {}, k_now);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].bits, 0xf0U);
    EXPECT_TRUE(take_rows({}, k_plenty, {}, k_now).empty());
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
        for (const Row& row : take_rows(windows, amounts, {}, k_now)) {
            const Window& of = windows.at(row.window / 3);
            EXPECT_EQ(row.bits & ~(of.present & ~of.owned), 0U);
            EXPECT_EQ(row.bits & taken[row.window], 0U);
            EXPECT_EQ(row.free_only, (row.bits & ~of.free) == 0U);
            EXPECT_LE(row.window, lowest_so_far);
            lowest_so_far = row.window;
            taken[row.window] |= row.bits;
            all += size_of(row);
            migrated += row.free_only ? Bytes(0) : size_of(row);
        }
        EXPECT_LE(all, amounts.all);
        EXPECT_LE(migrated, amounts.migrated);
    }
}

}  // namespace
}  // namespace acma::scaling
