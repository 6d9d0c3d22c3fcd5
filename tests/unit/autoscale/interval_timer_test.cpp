// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/interval_timer.h"

#include <gtest/gtest.h>

namespace acma::autoscale {
namespace {

constexpr Time at(Micros time) {
    return Time(Seconds(1000) + time);
}

TEST(IntervalTimer, TellsHowLongAnIntervalReallyIs) {
    IntervalTimer timer;
    timer.start();
    timer.count(at(Millis(0)), 70, true);
    timer.count(at(Millis(400)), 73, false);
    EXPECT_EQ(timer.interval(), Micros(0)) << "three say little";
    timer.count(at(Millis(840)), 77, false);
    EXPECT_EQ(timer.interval(), Millis(120));
    timer.count(at(Seconds(10)), 78, false);
    EXPECT_EQ(timer.interval(), Millis(120)) << "once is enough";
}

TEST(IntervalTimer, LeavesOutWhatPageOutStretches) {
    IntervalTimer timer;
    timer.start();
    timer.count(at(Millis(0)), 0, true);
    timer.count(at(Seconds(9)), 10, true);
    timer.count(at(Seconds(10)), 20, false);
    EXPECT_EQ(timer.interval(), Micros(0));
}

TEST(IntervalTimer, KeepsWhatItKnowsUntilTheNextKdamondIsTimed) {
    IntervalTimer timer;
    timer.count(at(Millis(0)), 0, false);
    timer.count(at(Seconds(1)), 10, false);
    EXPECT_EQ(timer.interval(), Micros(0)) << "nothing was started";
    timer.start();
    timer.count(at(Seconds(2)), 10, false);
    timer.count(at(Seconds(3)), 20, false);
    EXPECT_EQ(timer.interval(), Millis(100));
    timer.start();
    timer.count(at(Seconds(60)), 20, false);
    EXPECT_EQ(timer.interval(), Millis(100));
    timer.count(at(Seconds(62)), 30, false);
    EXPECT_EQ(timer.interval(), Millis(200));
}

}  // namespace
}  // namespace acma::autoscale
