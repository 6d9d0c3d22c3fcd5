// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/balloon_watch.h"

#include <gtest/gtest.h>

namespace acma::host {
namespace {

constexpr Time at(int64_t seconds) {
    return Time(Seconds(seconds));
}

BalloonWatch full(Bytes ram = 4_GiB) {
    return BalloonWatch({.ram = ram, .actual = ram}, at(0));
}

// Somebody sets the balloon to `to`; returns what is told when it has come to rest.
std::optional<ForeignMove> foreign(BalloonWatch& watch, Bytes to, int64_t second) {
    EXPECT_FALSE(watch.observe(to, at(second)));
    return watch.observe(to, at(second + 2));
}

TEST(BalloonWatch, HasNoCeilingWhileTheVmHasAllItsRam) {
    const BalloonWatch watch = full();
    EXPECT_FALSE(watch.ceiling());
    EXPECT_EQ(watch.target(), 4_GiB);
    EXPECT_FALSE(watch.must_wait(at(0)));
}

TEST(BalloonWatch, TakesOwnMovesAsOwn) {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    for (int i = 1; i <= 6; ++i) {
        EXPECT_FALSE(watch.observe(4_GiB - 512_MiB * static_cast<uint64_t>(i), at(i)));
    }
    EXPECT_FALSE(watch.observe(1_GiB, at(60)));
    EXPECT_FALSE(watch.ceiling());
    EXPECT_EQ(watch.written(), 1_GiB);
}

TEST(BalloonWatch, TakesALowerTargetOfSomebodyElseAsCeiling) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    (void)watch.observe(2_GiB, at(1));
    const auto move = foreign(watch, 1_GiB, 10);
    ASSERT_TRUE(move);
    EXPECT_EQ(*move, (ForeignMove{2_GiB, 1_GiB, false, false}));
    EXPECT_EQ(watch.ceiling(), 1_GiB);
    EXPECT_FALSE(watch.written());
}

// On its way down to 1 GiB when that was raised to 2 GiB.
BalloonWatch overtaken() {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    (void)watch.observe(2_GiB + 256_MiB, at(1));
    watch.wrote(2_GiB, at(2));
    return watch;
}

TEST(BalloonWatch, TakesAGuestThatStillFollowsTheTargetBeforeForNobodyElse) {
    BalloonWatch watch = overtaken();
    for (int i = 3; i < 9; ++i) {
        EXPECT_FALSE(watch.observe(1_GiB + 512_MiB, at(i)));
        EXPECT_FALSE(watch.must_wait(at(i)));
    }
    EXPECT_FALSE(watch.observe(2_GiB, at(9)));
    EXPECT_FALSE(watch.ceiling());
    EXPECT_EQ(watch.written(), 2_GiB);
}

TEST(BalloonWatch, TakesWhatStaysThereForStuckAndWhatGoesBelowItForSomebodyElses) {
    BalloonWatch stays = overtaken();
    EXPECT_FALSE(stays.observe(1_GiB + 512_MiB, at(3)));
    EXPECT_FALSE(stays.observe(1_GiB + 512_MiB, at(12)));
    EXPECT_FALSE(stays.observe(1_GiB + 512_MiB, at(14)));
    EXPECT_TRUE(stays.stuck(at(14)));
    BalloonWatch below = overtaken();
    EXPECT_TRUE(foreign(below, 768_MiB, 3));
    EXPECT_EQ(below.ceiling(), 768_MiB);
}

TEST(BalloonWatch, RemembersTheLowestOfTheTargetsThatWereOvertaken) {
    BalloonWatch watch = overtaken();
    watch.wrote(3_GiB, at(4));
    EXPECT_FALSE(watch.observe(1_GiB + 4_MiB, at(5)));
    EXPECT_FALSE(watch.observe(1_GiB + 4_MiB, at(8)));
    watch.wrote(1_GiB, at(9));  // asked for again: nothing is overtaken any more
    EXPECT_FALSE(watch.observe(1_GiB, at(10)));
    EXPECT_TRUE(foreign(watch, 900_MiB, 11));
}

TEST(BalloonWatch, WaitsUntilAForeignMoveIsOver) {
    BalloonWatch watch = full();
    EXPECT_FALSE(watch.observe(3_GiB, at(10)));
    EXPECT_TRUE(watch.must_wait(at(10)));
    EXPECT_FALSE(watch.observe(2_GiB, at(11)));
    EXPECT_FALSE(watch.observe(1_GiB, at(12)));
    EXPECT_FALSE(watch.observe(1_GiB, at(13)));
    const auto move = watch.observe(1_GiB, at(14));
    ASSERT_TRUE(move) << "one move, however many steps";
    EXPECT_EQ(move->from, 4_GiB);
    EXPECT_FALSE(watch.must_wait(at(14)));
}

TEST(BalloonWatch, LiftsTheCeilingWhenSomebodyElseGivesAllRamBack) {
    BalloonWatch watch = full();
    (void)foreign(watch, 1_GiB, 10);
    EXPECT_EQ(watch.ceiling(), 1_GiB);
    ASSERT_TRUE(foreign(watch, 4_GiB, 20));
    EXPECT_FALSE(watch.ceiling());
}

TEST(BalloonWatch, RaisesTheCeilingWithAHigherForeignTarget) {
    BalloonWatch watch = full();
    (void)foreign(watch, 1_GiB, 10);
    (void)foreign(watch, 3_GiB, 20);
    EXPECT_EQ(watch.ceiling(), 3_GiB);
}

TEST(BalloonWatch, ForgetsAMoveThatCameBackByItself) {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    (void)watch.observe(1_GiB, at(1));
    // A guest that reboots empties its balloon and fills it again.
    EXPECT_FALSE(watch.observe(4_GiB, at(10)));
    EXPECT_FALSE(watch.observe(2_GiB, at(11)));
    EXPECT_FALSE(watch.observe(1_GiB, at(12)));
    EXPECT_FALSE(watch.observe(1_GiB, at(30)));
    EXPECT_FALSE(watch.ceiling());
    EXPECT_EQ(watch.written(), 1_GiB);
}

TEST(BalloonWatch, IgnoresDifferencesOfRounding) {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    EXPECT_FALSE(watch.observe(1_GiB + 512_KiB, at(1)));
    EXPECT_FALSE(watch.observe(1_GiB - 1_MiB, at(2)));
    EXPECT_FALSE(watch.observe(1_GiB - 1_MiB, at(20)));
    EXPECT_FALSE(watch.ceiling());
}

TEST(BalloonWatch, TellsTheThirdForeignMoveWithinTenMinutes) {
    BalloonWatch watch = full();
    EXPECT_FALSE(foreign(watch, 3_GiB, 10)->repeated);
    EXPECT_FALSE(foreign(watch, 2_GiB, 20)->repeated);
    EXPECT_TRUE(foreign(watch, 1_GiB, 30)->repeated);
    EXPECT_FALSE(foreign(watch, 2_GiB, 40)->repeated) << "the count starts anew";
}

TEST(BalloonWatch, CountsNoMoveUpTowardsYielding) {
    BalloonWatch watch = full();
    (void)foreign(watch, 1_GiB, 10);
    for (int64_t i = 2; i < 10; ++i) {
        const auto move = foreign(watch, 1_GiB + 128_MiB * static_cast<uint64_t>(i), 10 * i);
        ASSERT_TRUE(move);
        EXPECT_FALSE(move->repeated) << i;
    }
}

TEST(BalloonWatch, PutsRightWhatRoseAboveItsTargetWithGrowingPauses) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    (void)watch.observe(2_GiB, at(1));
    int64_t second = 10;
    for (const int64_t pause : {0, 5, 10, 20, 40, 60, 60}) {
        const auto move = foreign(watch, 3_GiB, second);
        ASSERT_TRUE(move);
        EXPECT_EQ(*move, (ForeignMove{2_GiB, 3_GiB, false, true}));
        EXPECT_FALSE(watch.ceiling()) << "it may be the guest's own doing";
        EXPECT_FALSE(watch.written()) << "so that it is written again";
        second += 2 + pause;
        EXPECT_TRUE(pause == 0 || watch.must_wait(at(second - 1)));
        EXPECT_FALSE(watch.must_wait(at(second)));
        watch.wrote(2_GiB, at(second));
        (void)watch.observe(2_GiB, at(second + 1));
        second += 10;
    }
    EXPECT_TRUE(watch.rises(at(second)));
    EXPECT_FALSE(watch.rises(at(second + 700)));
    ASSERT_TRUE(foreign(watch, 3_GiB, second + 700));
    EXPECT_FALSE(watch.must_wait(at(second + 702))) << "the pauses start anew";
}

// A guest out of memory deflates in small steps, also while its balloon waits to be put right.
TEST(BalloonWatch, TakesNoStepAboveItsOwnTargetForACeiling) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    (void)watch.observe(2_GiB, at(1));
    ASSERT_TRUE(foreign(watch, 3_GiB, 10));
    ASSERT_TRUE(foreign(watch, 3_GiB + 8_MiB, 15));
    EXPECT_FALSE(watch.ceiling());
    EXPECT_EQ(watch.asked(), 2_GiB) << "QEMU still asks for it";
    EXPECT_EQ(watch.target(), 2_GiB);
    EXPECT_FALSE(foreign(watch, 3_GiB - 256_MiB, 20)) << "it obeys, half-way";
    EXPECT_FALSE(watch.ceiling());
    EXPECT_FALSE(watch.observe(2_GiB, at(30)));
    EXPECT_EQ(watch.written(), 2_GiB) << "it has obeyed";
    EXPECT_FALSE(watch.must_wait(at(30)));
}

TEST(BalloonWatch, TakesWhatRestsBelowItsOwnTargetForACeilingAlsoAfterARise) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    (void)watch.observe(2_GiB, at(1));
    ASSERT_TRUE(foreign(watch, 3_GiB, 10));
    ASSERT_TRUE(foreign(watch, 1_GiB, 20));
    EXPECT_EQ(watch.ceiling(), 1_GiB);
    EXPECT_FALSE(watch.asked());
}

TEST(BalloonWatch, IsStuckWhenTheGuestGoesUpAndDownAboveItsTarget) {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    EXPECT_FALSE(watch.observe(2_GiB, at(1)));
    for (int64_t second = 2; second < 10; ++second) {
        (void)watch.observe(2_GiB + 20_MiB * static_cast<uint64_t>(second % 2), at(second));
    }
    EXPECT_TRUE(watch.stuck(at(10)));
}

TEST(BalloonWatch, ForgivesForeignMovesThatAreFarApart) {
    BalloonWatch watch = full();
    EXPECT_FALSE(foreign(watch, 3_GiB, 10)->repeated);
    EXPECT_FALSE(foreign(watch, 2_GiB, 20)->repeated);
    EXPECT_FALSE(foreign(watch, 1_GiB, 620)->repeated);
}

TEST(BalloonWatch, IsStuckWhenTheGuestDoesNotFollow) {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    EXPECT_FALSE(watch.stuck(at(59))) << "it may be booting";
    EXPECT_TRUE(watch.stuck(at(60)));
    EXPECT_FALSE(watch.observe(3_GiB, at(61)));
    EXPECT_FALSE(watch.stuck(at(62))) << "it moves";
    EXPECT_FALSE(watch.observe(3_GiB, at(66)));
    EXPECT_TRUE(watch.stuck(at(66))) << "and has a driver";
    EXPECT_FALSE(watch.ceiling()) << "a guest that is slow is not somebody else";
}

TEST(BalloonWatch, IsStuckWhenTheGuestGivesAFewPagesNowAndThen) {
    BalloonWatch watch = full();
    watch.wrote(1_GiB, at(0));
    EXPECT_FALSE(watch.observe(3_GiB, at(1)));
    for (uint64_t i = 1; i <= 60; ++i) {
        EXPECT_FALSE(watch.observe(3_GiB - 4_KiB * i, at(1 + static_cast<int64_t>(i))));
    }
    EXPECT_TRUE(watch.stuck(at(61)));
    EXPECT_FALSE(watch.observe(2_GiB, at(62)));
    EXPECT_FALSE(watch.stuck(at(62)));
}

TEST(BalloonWatch, EndsAMoveThatNeverRests) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    (void)watch.observe(2_GiB, at(1));
    std::optional<ForeignMove> move;
    int64_t second = 10;
    for (; !move && second < 100; ++second) {
        move = watch.observe(3_GiB + 2_MiB * static_cast<uint64_t>(second % 2), at(second));
    }
    ASSERT_TRUE(move);
    EXPECT_TRUE(move->cut);
    EXPECT_TRUE(move->raised);
    EXPECT_EQ(second, 41) << "after half a minute";
    EXPECT_FALSE(watch.must_wait(at(40))) << "it is put right";
}

TEST(BalloonWatch, TakesNoLongMoveForSeveral) {
    BalloonWatch watch = full(512_GiB);
    std::optional<ForeignMove> last;
    for (int64_t second = 0; second < 300; ++second) {
        const uint64_t gone = static_cast<uint64_t>(std::min<int64_t>(second, 200));
        if (const auto move = watch.observe(512_GiB - 2_GiB * gone, at(second))) {
            EXPECT_FALSE(move->repeated);
            last = move;
        }
    }
    ASSERT_TRUE(last);
    EXPECT_FALSE(last->cut);
    EXPECT_EQ(watch.ceiling(), 112_GiB);
}

TEST(BalloonWatch, IsAsBeforeWhenAWriteFailed) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    (void)watch.observe(2_GiB, at(1));
    watch.wrote(1_GiB, at(2));
    watch.write_failed(false);
    EXPECT_EQ(watch.written(), 2_GiB);
    EXPECT_EQ(watch.target(), 2_GiB);
    EXPECT_FALSE(watch.observe(2_GiB, at(20)));
    EXPECT_FALSE(watch.stuck(at(60)));
}

TEST(BalloonWatch, TakesATargetThatWasPerhapsWrittenForItsOwnWhenTheBalloonGetsThere) {
    for (const bool perhaps : {true, false}) {
        BalloonWatch watch = full();
        watch.wrote(2_GiB, at(0));
        watch.write_failed(perhaps);
        EXPECT_FALSE(watch.written());
        EXPECT_FALSE(watch.observe(3_GiB, at(1)));
        EXPECT_FALSE(watch.observe(2_GiB, at(2)));
        EXPECT_EQ(watch.observe(2_GiB, at(4)).has_value(), !perhaps);
        EXPECT_EQ(watch.written(), perhaps ? std::optional(2_GiB) : std::nullopt);
        EXPECT_EQ(watch.ceiling(), perhaps ? std::nullopt : std::optional(2_GiB));
    }
}

TEST(BalloonWatch, ForgetsWhatWasPerhapsWrittenWithTheNextTarget) {
    BalloonWatch watch = full();
    watch.wrote(2_GiB, at(0));
    watch.write_failed(true);
    watch.wrote(3_GiB, at(1));
    (void)watch.observe(3_GiB, at(2));
    EXPECT_TRUE(foreign(watch, 2_GiB, 10));
    EXPECT_EQ(watch.ceiling(), 2_GiB);
}

// --- when the VM is first seen --------------------------------------------------------------

TEST(BalloonStart, KnowsItsOwnTargetByTheNoteAfterARestart) {
    const BalloonWatch watch({.ram = 4_GiB, .actual = 1_GiB, .noted = 1_GiB, .wanted = 2_GiB},
                             at(0));
    EXPECT_EQ(watch.written(), 1_GiB);
    EXPECT_FALSE(watch.ceiling());
}

TEST(BalloonStart, TakesASmallerBalloonWithoutANoteAsCeiling) {
    const BalloonWatch watch({.ram = 4_GiB, .actual = 1_GiB, .wanted = 2_GiB}, at(0));
    EXPECT_EQ(watch.ceiling(), 1_GiB);
}

TEST(BalloonStart, TakesTheSizeThatItsPolicyWantsAsItsOwn) {
    const BalloonWatch watch({.ram = 4_GiB, .actual = 2_GiB, .wanted = 2_GiB}, at(0));
    EXPECT_FALSE(watch.ceiling());
    EXPECT_EQ(watch.written(), 2_GiB);
}

TEST(BalloonStart, TakesALowerTargetThatWasSetWhileWeWereDownAsCeiling) {
    BalloonWatch watch({.ram = 4_GiB, .actual = 1_GiB, .noted = 3_GiB, .wanted = 3_GiB}, at(0));
    EXPECT_FALSE(watch.ceiling()) << "it may still be on its way";
    EXPECT_FALSE(watch.observe(1_GiB, at(9)));
    const auto move = watch.observe(1_GiB, at(10));
    ASSERT_TRUE(move);
    EXPECT_EQ(watch.ceiling(), 1_GiB);
}

TEST(BalloonStart, FinishesAMoveThatWasUnderWayWhenWeDied) {
    BalloonWatch watch({.ram = 4_GiB, .actual = 3_GiB, .noted = 1_GiB, .wanted = 1_GiB}, at(0));
    EXPECT_FALSE(watch.observe(2_GiB, at(1)));
    EXPECT_FALSE(watch.observe(1_GiB, at(2)));
    EXPECT_FALSE(watch.observe(1_GiB, at(60)));
    EXPECT_FALSE(watch.ceiling());
}

TEST(BalloonStart, ForgetsItsTargetWhenTheBalloonStandsAboveItWithoutProgress) {
    BalloonWatch watch({.ram = 4_GiB, .actual = 4_GiB, .noted = 1_GiB, .wanted = 1_GiB}, at(0));
    EXPECT_FALSE(watch.observe(3_GiB, at(5)));
    EXPECT_FALSE(watch.observe(3_GiB, at(14)));
    EXPECT_EQ(watch.written(), 1_GiB) << "it has moved nine seconds ago";
    EXPECT_FALSE(watch.observe(3_GiB, at(15)));
    EXPECT_FALSE(watch.written());
    EXPECT_EQ(watch.target(), 3_GiB);
    EXPECT_FALSE(watch.ceiling());
    EXPECT_FALSE(watch.must_wait(at(15)));
}

TEST(BalloonStart, WaitsForTheTargetThatLibvirtGaveToABootingGuest) {
    BalloonWatch watch({.ram = 4_GiB, .actual = 4_GiB, .wanted = 2_GiB, .start_target = 1_GiB},
                       at(0));
    EXPECT_TRUE(watch.must_wait(at(0)));
    (void)foreign(watch, 1_GiB, 5);
    EXPECT_EQ(watch.ceiling(), 1_GiB) << "its driver is there now, and the target is not ours";
    EXPECT_FALSE(watch.must_wait(at(8)));
}

TEST(BalloonStart, DoesNotWaitForEverForAGuestWithoutADriver) {
    const BalloonWatch watch(
        {.ram = 4_GiB, .actual = 4_GiB, .wanted = 2_GiB, .start_target = 1_GiB}, at(0));
    EXPECT_FALSE(watch.must_wait(at(60)));
}

TEST(BalloonStart, DoesNotWaitWhereLibvirtGaveMoreThanThePolicy) {
    const BalloonWatch watch(
        {.ram = 4_GiB, .actual = 4_GiB, .wanted = 2_GiB, .start_target = 3_GiB}, at(0));
    EXPECT_FALSE(watch.must_wait(at(0)));
}

}  // namespace
}  // namespace acma::host
