// SPDX-License-Identifier: GPL-2.0-only
// The part of the kernel module that needs no kernel.
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

extern "C" {
#include "kmod-balloon-shim/map.h"
}

namespace {

constexpr u64 k_all = ~u64{0};

// A map with all memory present.
struct Map : acma_map {
    explicit Map(u64 windows) : acma_map{}, words(windows) {
        nr_windows = windows;
        window = words.data();
        for (u64 i = 0; i < windows; ++i) {
            acma_map_present(this, i, k_all);
        }
    }
    // Taken, and confirmed by the host.
    void take(u64 number, u64 bits) {
        acma_map_own(this, number, bits);
        acma_map_confirm(this, number, bits);
    }
    std::vector<acma_words> words;
};

TEST(Bits, AreThoseOfARange) {
    EXPECT_EQ(acma_bits(0, 64), k_all);
    EXPECT_EQ(acma_bits(60, 64), u64{0xf} << 60);
    EXPECT_EQ(acma_bits(3, 2), 0x18U);
    EXPECT_EQ(acma_bits(0, 0), 0U);
    EXPECT_EQ(acma_bits(64, 1), 0U);
}

TEST(Bits, HighestAndLowestAreSubsets) {
    EXPECT_EQ(acma_highest(0xf0f0, 3), 0xe000U);
    EXPECT_EQ(acma_lowest(0xf0f0, 3), 0x0070U);
    EXPECT_EQ(acma_highest(0xf0, 64), 0xf0U);
    EXPECT_EQ(acma_lowest(0xf0, 0), 0U);
}

TEST(Map, TakesFromTheHighestWindowNotFullyTaken) {
    Map map(3);
    EXPECT_EQ(acma_map_take_from(&map, ACMA_NO_WINDOW), 2U);
    map.take(2, k_all);
    EXPECT_EQ(acma_map_take_from(&map, ACMA_NO_WINDOW), 1U);
    EXPECT_EQ(acma_map_take_from(&map, 1), 0U);
    EXPECT_EQ(acma_map_take_from(&map, 0), ACMA_NO_WINDOW);
}

TEST(Map, GivesFromTheLowestPartlyTakenWindowThenFromWholeOnes) {
    Map map(4);
    EXPECT_EQ(acma_map_give_from(&map), ACMA_NO_WINDOW);
    map.take(0, k_all);
    EXPECT_EQ(acma_map_give_from(&map), 0U);
    map.take(2, 1);
    map.take(3, 2);
    EXPECT_EQ(acma_map_give_from(&map), 2U);
}

TEST(Map, ReleasesNothingThatIsPending) {
    Map map(1);
    acma_map_own(&map, 0, 0xff);
    acma_map_confirm(&map, 0, 0x0f);
    u64 unmanaged = 0;
    EXPECT_EQ(acma_map_release(&map, 0, k_all, &unmanaged), 0x0fU);
    EXPECT_EQ(map.nr_owned, 4U);
    EXPECT_EQ(map.nr_pending, 4U);
    EXPECT_EQ(acma_map_give_from(&map), ACMA_NO_WINDOW);
}

TEST(Map, CountsWhatIsRemovedUntilItIsAddedAgain) {
    Map map(3);
    u64 unmanaged = 0;
    map.take(1, k_all);
    map.take(2, 0xff);
    EXPECT_EQ(acma_map_restore_from(&map), ACMA_NO_WINDOW);
    for (const u64 window : {u64{1}, u64{2}}) {
        acma_map_leave(&map, window, k_all, &unmanaged);
        acma_map_removed(&map, window, k_all);
        acma_map_absent(&map, window, k_all);
    }
    EXPECT_EQ(map.nr_owned, 0U);
    EXPECT_EQ(map.nr_released, 64U + 8U);
    EXPECT_EQ(map.words[1].released, k_all);
    EXPECT_EQ(map.words[2].released, 0xffU);
    EXPECT_EQ(map.words[2].leaving, 0U);
    EXPECT_EQ(acma_map_take_from(&map, ACMA_NO_WINDOW), 0U);
    EXPECT_EQ(acma_map_restore_from(&map), 1U);
    acma_map_added(&map, 1, k_all);
    EXPECT_EQ(map.nr_released, 8U);
    EXPECT_EQ(acma_map_restore_from(&map), 2U);
    acma_map_added(&map, 2, k_all);
    acma_map_added(&map, 2, k_all);
    EXPECT_EQ(map.nr_released, 0U);
}

TEST(Map, TellsWhichOfTheReleasedWereUnmanaged) {
    Map map(1);
    map.take(0, 0xff);
    EXPECT_EQ(acma_map_unmanage(&map, 0, 0xf00f), 0x0fU);
    u64 unmanaged = 0;
    EXPECT_EQ(acma_map_release(&map, 0, 0x3c, &unmanaged), 0x3cU);
    EXPECT_EQ(unmanaged, 0x0cU);
    EXPECT_EQ(map.nr_unmanaged, 2U);
    EXPECT_EQ(acma_map_manage(&map, 0, k_all), 0x03U);
    EXPECT_EQ(map.nr_unmanaged, 0U);
}

TEST(Map, ForgetsWhatIsNoMemoryAnyMore) {
    Map map(1);
    map.take(0, 0xff);
    acma_map_unmanage(&map, 0, 0x0f);
    EXPECT_EQ(acma_map_absent(&map, 0, 0x3), 0x3U);
    EXPECT_EQ(map.nr_owned, 6U);
    EXPECT_EQ(map.nr_unmanaged, 2U);
    EXPECT_EQ(map.nr_present, 62U);
}

TEST(Map, GetsBackAsItWasWhatDidNotGoOfflineAfterAll) {
    Map map(1);
    map.take(0, 0xff);
    acma_map_unmanage(&map, 0, 0x0f);
    u64 unmanaged = 0;
    EXPECT_EQ(acma_map_leave(&map, 0, 0x3f3c, &unmanaged), 0x3cU);
    EXPECT_EQ(unmanaged, 0x0cU);
    EXPECT_EQ(map.nr_owned, 4U);
    EXPECT_EQ(acma_map_release(&map, 0, 0x3c, &unmanaged), 0U) << "nobody gives what is leaving";
    acma_map_stay(&map, 0, k_all);
    EXPECT_EQ(map.words[0].owned, 0xffU);
    EXPECT_EQ(map.words[0].unmanaged, 0x0fU);
    EXPECT_EQ(map.nr_pending, 0U);
}

TEST(Runs, AreAdjacentBlocksFromTheLowestOn) {
    acma_run runs[32];
    ASSERT_EQ(acma_runs(640, 0x8000'0000'0000'0f01, runs, 32), 3U);
    EXPECT_EQ(runs[0].first, 640U);
    EXPECT_EQ(runs[0].nr, 1U);
    EXPECT_EQ(runs[1].first, 648U);
    EXPECT_EQ(runs[1].nr, 4U);
    EXPECT_EQ(runs[2].first, 703U);
    ASSERT_EQ(acma_runs(0, k_all, runs, 32), 1U);
    EXPECT_EQ(runs[0].nr, 64U);
    EXPECT_EQ(acma_runs(0, 0, runs, 32), 0U);
    EXPECT_EQ(acma_runs(0, 0x5555'5555'5555'5555, runs, 32), 32U);
    EXPECT_EQ(acma_runs(0, 0x5555'5555'5555'5555, runs, 4), 4U);
}

TEST(Pieces, AreAlignedPowersOfTwoThatCoverAllAndNothingElse) {
    std::mt19937_64 random(5);
    for (int round = 0; round < 2000; ++round) {
        const u64 bits = round == 0 ? k_all : random() | (random() & random());
        acma_run pieces[64];
        const unsigned nr = acma_pieces(128, bits, pieces, 64);
        u64 covered = 0;
        for (unsigned i = 0; i < nr; ++i) {
            EXPECT_EQ(pieces[i].nr & (pieces[i].nr - 1), 0U);
            EXPECT_EQ(pieces[i].first % pieces[i].nr, 0U);
            const u64 these = acma_bits(static_cast<unsigned>(pieces[i].first - 128),
                                        static_cast<unsigned>(pieces[i].nr));
            EXPECT_EQ(covered & these, 0U);
            covered |= these;
        }
        EXPECT_EQ(covered, bits);
        EXPECT_EQ(round != 0 || nr == 1, true) << "a whole window is one piece";
    }
}

// Any calls in any order: the counts are those of the bits, and nothing is owned that is not there.
TEST(Map, CountsWhatItHoldsWhateverIsDoneToIt) {
    std::mt19937_64 random(11);
    for (int round = 0; round < 300; ++round) {
        Map map(5);
        for (int i = 0; i < 100; ++i) {
            const u64 number = random() % 5;
            const u64 bits = random() & random();
            acma_words& words = map.words[number];
            u64 unmanaged = 0;
            switch (random() % 9) {
                case 0:
                    acma_map_present(&map, number, bits);
                    break;
                case 1:
                    acma_map_absent(&map, number, bits);
                    break;
                case 2:
                    acma_map_own(&map, number, bits & words.present & ~words.owned);
                    break;
                case 3:
                    acma_map_confirm(&map, number, bits);
                    break;
                case 4:
                    acma_map_release(&map, number, bits, &unmanaged);
                    break;
                case 5:
                    acma_map_unmanage(&map, number, bits);
                    break;
                case 6:
                    acma_map_leave(&map, number, bits & ~words.pending, &unmanaged);
                    break;
                case 7:
                    acma_map_stay(&map, number, bits);
                    break;
                default:
                    acma_map_manage(&map, number, bits);
            }
            acma_map counted{};
            for (const acma_words& each : map.words) {
                EXPECT_EQ(each.owned & ~each.present, 0U);
                EXPECT_EQ((each.pending | each.unmanaged) & ~each.owned, 0U);
                EXPECT_EQ(each.leaving_unmanaged & ~each.leaving, 0U);
                counted.nr_present += acma_count(each.present);
                counted.nr_owned += acma_count(each.owned);
                counted.nr_pending += acma_count(each.pending);
                counted.nr_unmanaged += acma_count(each.unmanaged);
            }
            EXPECT_EQ(counted.nr_present, map.nr_present);
            EXPECT_EQ(counted.nr_owned, map.nr_owned);
            EXPECT_EQ(counted.nr_pending, map.nr_pending);
            EXPECT_EQ(counted.nr_unmanaged, map.nr_unmanaged);
            const u64 from = acma_map_give_from(&map);
            EXPECT_EQ(from == ACMA_NO_WINDOW, map.nr_owned == map.nr_pending);
        }
    }
}

}  // namespace
