// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/return_watch.h"

#include <gtest/gtest.h>

namespace acma::host {
namespace {

// A guest's sample each second; the host's figure is always measured just now unless a test says
// so.
class ReturnWatchTest : public testing::Test {
  protected:
    void see(bool held) { see(held, now); }
    void see(bool held, Time measured_at) {
        watch.see(held ? std::optional<std::string>("held") : std::nullopt, measured_at, now);
    }
    void see_for(int seconds, bool held) {
        for (int i = 0; i < seconds; ++i) {
            see(held);
            now += Seconds(1);
        }
    }
    [[nodiscard]] bool told() const { return watch.told(now).has_value(); }

    ReturnWatch watch;
    Time now{Seconds(1000)};
};

TEST_F(ReturnWatchTest, TellsWhatLastsAMinute) {
    see_for(60, true);
    EXPECT_FALSE(told());
    see(true);
    EXPECT_TRUE(told());
}

TEST_F(ReturnWatchTest, TellsTheLatestSentence) {
    see_for(61, true);
    watch.see("held still", now, now);
    EXPECT_EQ(watch.told(now), "held still");
}

TEST_F(ReturnWatchTest, StartsAnewWhenTheMinuteIsBroken) {
    see_for(59, true);
    see_for(1, false);
    see_for(60, true);
    EXPECT_FALSE(told());
    see_for(1, true);
    EXPECT_TRUE(told());
}

TEST_F(ReturnWatchTest, StartsAnewWhenTheGuestWasSilentMeanwhile) {
    see_for(59, true);
    now += Seconds(30);
    see_for(60, true);
    EXPECT_FALSE(told());
}

TEST_F(ReturnWatchTest, TellsNothingByAMeasurementFromBeforeTheClaim) {
    const Time before = now;
    for (int i = 0; i < 300; ++i) {
        see(true, before + k_host_follows - Seconds(1));
        now += Seconds(1);
    }
    EXPECT_FALSE(told());
    see(true, before + k_host_follows);
    EXPECT_TRUE(told());
}

TEST_F(ReturnWatchTest, TellsNothingMoreTenSecondsAfterTheLastTime) {
    see_for(61, true);
    see_for(8, false);
    EXPECT_TRUE(told()) << "the last time was 9 s ago";
    see_for(1, false);
    EXPECT_FALSE(told());
    see_for(60, true);
    EXPECT_FALSE(told()) << "it takes a minute again";
}

TEST_F(ReturnWatchTest, TellsNothingMoreOfAGuestThatIsSilent) {
    see_for(61, true);
    now += Seconds(9);
    EXPECT_FALSE(told());
}

TEST_F(ReturnWatchTest, DoesNotFlapWhenTheFiguresStandAtTheBound) {
    int changes = 0;
    bool before = false;
    for (int i = 0; i < 1000; ++i) {
        see_for(1, i < 100 || i % 3 == 0);
        changes += told() != before ? 1 : 0;
        before = told();
    }
    EXPECT_EQ(changes, 1);
    ReturnWatch fresh;
    for (int i = 0; i < 1000; ++i) {
        fresh.see(i % 3 != 0 ? std::optional<std::string>("held") : std::nullopt, now, now);
        now += Seconds(1);
        EXPECT_FALSE(fresh.told(now)) << i;
    }
}

}  // namespace
}  // namespace acma::host
