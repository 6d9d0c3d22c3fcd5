// SPDX-License-Identifier: Apache-2.0
#include "engine/plugging/plug_watch.h"

#include <gtest/gtest.h>

namespace acma::plugging {
namespace {

class PlugWatchTest : public testing::Test {
  protected:
    void SetUp() override { (void)see(); }
    std::optional<Foreign> see(int seconds = 1) {
        std::optional<Foreign> found;
        for (; seconds > 0; --seconds) {
            now += Seconds(1);
            if (const auto foreign = watch.observe(devices, now); foreign && !found) {
                found = foreign;
            }
        }
        return found;
    }
    // Each request is written, and the guest follows at once; how many it took.
    int settle(Bytes goal, Bytes allowed = Bytes::max()) {
        int writes = 0;
        while (const auto order = watch.next(goal, allowed)) {
            write(*order);
            device(*order).current = order->requested;
            (void)see();
            ++writes;
        }
        return writes;
    }
    Device& device(const Order& order) { return devices[order.alias == "a" ? 0 : 1]; }
    void write(const Order& order) {
        watch.writes(order);
        device(order).requested = order.requested;
        EXPECT_FALSE(watch.wrote(order, order.requested, now));
    }
    std::vector<Device> devices{{"a", 1_GiB, 2_MiB, 1_GiB, 1_GiB, 0},
                                {"b", 1_GiB, 2_MiB, 512_MiB, 512_MiB, 1}};
    PlugWatch watch;
    Time now{Seconds(100)};
};

TEST_F(PlugWatchTest, TakesWhatItFindsForNobodysCeiling) {
    EXPECT_FALSE(watch.has_ceiling());
    EXPECT_EQ(settle(2_GiB), 1);
    EXPECT_EQ(watch.sums().requested, 2_GiB);
}

TEST_F(PlugWatchTest, UnplugsInStepsEachOnceTheLastHasArrived) {
    auto order = watch.next(Bytes(0), Bytes::max());
    ASSERT_TRUE(order);
    EXPECT_EQ(order->alias, "b");
    EXPECT_EQ(order->requested, 256_MiB);
    write(*order);
    EXPECT_FALSE(watch.next(Bytes(0), Bytes::max())) << "the guest has not followed";
    (void)see(30);
    EXPECT_FALSE(watch.next(Bytes(0), Bytes::max()));
    devices[1].current = 256_MiB;
    (void)see();
    order = watch.next(Bytes(0), Bytes::max());
    ASSERT_TRUE(order);
    EXPECT_EQ(order->requested, Bytes(0));
    EXPECT_EQ(settle(Bytes(0)), 5);
    EXPECT_EQ(watch.sums(), (Sums{2_GiB, {}, {}, {}}));
}

TEST_F(PlugWatchTest, GivesBackWithoutWaitingForWhatIsUnplugged) {
    const auto order = watch.next(Bytes(0), Bytes::max());
    ASSERT_TRUE(order);
    write(*order);
    const auto back = watch.next(2_GiB, Bytes::max());
    ASSERT_TRUE(back);
    EXPECT_EQ(back->requested, 1_GiB);
}

TEST_F(PlugWatchTest, PlugsNoMoreThanTheHostAllows) {
    EXPECT_EQ(settle(2_GiB, 1792_MiB), 1);
    EXPECT_EQ(watch.sums().requested, 1792_MiB);
    EXPECT_EQ(settle(2_GiB, 1_GiB), 0) << "what is plugged stays";
}

TEST_F(PlugWatchTest, CountsWhatIsNotYetUnplugged) {
    const auto order = watch.next(1_GiB, Bytes::max());
    ASSERT_TRUE(order);
    write(*order);
    EXPECT_EQ(watch.sums().requested, 1280_MiB);
    EXPECT_EQ(watch.sums().may_hold, 1536_MiB);
}

TEST_F(PlugWatchTest, TakesAForeignRequestForACeiling) {
    devices[0].requested = 256_MiB;
    const auto foreign = see();
    ASSERT_TRUE(foreign);
    EXPECT_EQ(*foreign, (Foreign{"a", 1_GiB, 256_MiB, false}));
    EXPECT_TRUE(watch.has_ceiling());
    EXPECT_EQ(watch.most(), 1280_MiB);
    devices[0].current = 256_MiB;
    EXPECT_FALSE(see());
    EXPECT_EQ(settle(2_GiB), 1);
    EXPECT_EQ(watch.devices()[0].requested, 256_MiB) << "it goes on with the other";
    EXPECT_EQ(watch.devices()[1].requested, 1_GiB);
}

TEST_F(PlugWatchTest, KnowsAnUndoFromALateWord) {
    const auto order = watch.next(1280_MiB, Bytes::max());
    ASSERT_TRUE(order);
    write(*order);
    devices[1].requested = 512_MiB;
    EXPECT_FALSE(see()) << "read before it was written";
    EXPECT_EQ(watch.devices()[1].requested, 256_MiB);
    EXPECT_TRUE(see(2)) << "somebody has put it back";
    EXPECT_EQ(watch.devices()[1].requested, 512_MiB);
}

TEST_F(PlugWatchTest, LeavesAForeignRequestThatIsOnlyFoundWhenItWrites) {
    const auto order = watch.next(Bytes(0), Bytes::max());
    ASSERT_TRUE(order);
    watch.writes(*order);
    const auto foreign = watch.wrote(*order, 768_MiB, now);
    ASSERT_TRUE(foreign);
    EXPECT_EQ(foreign->to, 768_MiB);
    EXPECT_EQ(watch.devices()[1].requested, 768_MiB);
    EXPECT_TRUE(watch.has_ceiling());
}

TEST_F(PlugWatchTest, ThreeForeignChangesAreSomebodyElsesVm) {
    for (const Bytes size : {768_MiB, 512_MiB, 256_MiB}) {
        devices[0].requested = size;
        const auto foreign = see();
        ASSERT_TRUE(foreign);
        EXPECT_EQ(foreign->repeated, size == 256_MiB);
    }
}

TEST_F(PlugWatchTest, IsStuckWhereNothingMovesForAMinute) {
    devices[1].requested = 256_MiB;
    (void)see(60);
    EXPECT_FALSE(watch.stuck(now));
    (void)see();
    EXPECT_TRUE(watch.stuck(now));
    devices[1].current = 500_MiB;
    (void)see();
    EXPECT_FALSE(watch.stuck(now));
}

TEST_F(PlugWatchTest, GivesBackWhatWasThereBefore) {
    settle(256_MiB);
    ASSERT_EQ(watch.sums().requested, 256_MiB);
    while (const auto order = watch.give_back()) {
        write(*order);
    }
    EXPECT_EQ(watch.devices()[0].requested, 1_GiB);
    EXPECT_EQ(watch.devices()[1].requested, 512_MiB) << "not all that could be";
    settle(2_GiB);
    EXPECT_FALSE(watch.give_back()) << "and takes nothing";
}

TEST_F(PlugWatchTest, FindsItsOwnAgainByTheNote) {
    const auto order = watch.next(Bytes(0), Bytes::max());
    ASSERT_TRUE(order);
    watch.writes(*order);
    const std::vector<Noted> noted{{"b", 512_MiB, {512_MiB, 256_MiB}}};
    EXPECT_EQ(watch.noted(), noted);
    for (const Bytes found : {512_MiB, 256_MiB}) {  // died before, or after
        PlugWatch again(noted);
        devices[1].requested = found;
        EXPECT_FALSE(again.observe(devices, now));
        const auto back = again.give_back();
        EXPECT_EQ(back ? back->requested : 512_MiB, 512_MiB);
    }
    PlugWatch again(noted);
    devices[1].requested = 128_MiB;
    EXPECT_TRUE(again.observe(devices, now)) << "somebody else, meanwhile";
}

}  // namespace
}  // namespace acma::plugging
