// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/hold.h"

#include <gtest/gtest.h>

namespace acma::arbiter {
namespace {

class HoldTest : public testing::Test {
  protected:
    // Once a second, with new measurements.
    std::optional<Bytes> run(int seconds) {
        for (; seconds > 0; --seconds) {
            now += Seconds(1);
            vm.measured_at = now;
            (void)watch.observe(vm, now);
        }
        return watch.limit();
    }
    HoldWatch watch;
    Time now{Seconds(100)};
    HeldVm vm{.ram = 4_GiB,
              .grant = 1_GiB,
              .host = 1100_MiB,
              .swapped = {},
              .own = 100_MiB,
              .measured_at = Time(Seconds(100))};
    const Bytes goal = 1_GiB + 100_MiB + 128_MiB;
};

TEST_F(HoldTest, BeginsAfterTenSecondsAboveTheGrant) {
    EXPECT_EQ(run(10), std::nullopt);
    EXPECT_EQ(run(1), goal);
}

TEST_F(HoldTest, NeverHoldsAVmThatIsNearItsGrant) {
    vm.host = vm.grant + 32_MiB;
    EXPECT_EQ(run(100), std::nullopt);
}

TEST_F(HoldTest, WaitsForABalloonThatIsOnItsWay) {
    vm.goes_down = true;
    EXPECT_EQ(run(100), std::nullopt);
    vm.goes_down = false;
    EXPECT_EQ(run(10), std::nullopt) << "it begins anew";
    EXPECT_NE(run(1), std::nullopt);
}

TEST_F(HoldTest, ProvesNothingByAnOldMeasurement) {
    for (int i = 0; i < 60; ++i) {
        now += Seconds(1);
        EXPECT_EQ(watch.observe(vm, now), std::nullopt);
    }
    EXPECT_NE(run(1), std::nullopt);
}

TEST_F(HoldTest, GoesDownInStepsFromWhatIsThere) {
    vm.host = 3_GiB;
    EXPECT_EQ(run(11), 3_GiB + 100_MiB - 128_MiB) << "below what is there, or nothing would go";
    EXPECT_EQ(run(10), 3_GiB - 28_MiB) << "nothing has gone, so it goes no deeper";
    vm.swapped = 128_MiB;
    EXPECT_EQ(run(1), 3_GiB - 156_MiB);
    now += Seconds(1);
    vm.swapped = 1_GiB;
    EXPECT_EQ(watch.observe(vm, now), 3_GiB - 156_MiB) << "not measured since";
    vm.swapped = 2_GiB;
    EXPECT_EQ(run(5), goal);
}

TEST_F(HoldTest, RisesAtOnceWithTheGrant) {
    (void)run(11);
    vm.grant = 2_GiB;
    EXPECT_EQ(watch.observe(vm, now), goal + 1_GiB);
    vm.own += 8_MiB;
    EXPECT_EQ(run(5), goal + 1_GiB) << "a little is in the margin";
}

TEST_F(HoldTest, LetsGoAfterAMinuteWithinTheGrant) {
    (void)run(11);
    vm.host = 1_GiB;
    EXPECT_EQ(run(60), goal);
    EXPECT_EQ(run(1), std::nullopt);
    vm.host = 1100_MiB;
    EXPECT_EQ(run(10), std::nullopt) << "and begins anew";
    EXPECT_EQ(run(1), goal);
}

TEST_F(HoldTest, DoesNotFlutterWithAGuestThatDoes) {
    (void)run(11);
    int changes = 0;
    std::optional<Bytes> last = watch.limit();
    for (int i = 0; i < 600; ++i) {
        vm.host = i % 30 < 15 ? 1_GiB : 1100_MiB;
        const std::optional<Bytes> limit = run(1);
        changes += limit != last ? 1 : 0;
        last = limit;
    }
    EXPECT_EQ(changes, 0);
    EXPECT_EQ(last, goal);
}

TEST_F(HoldTest, GoesOnWithALimitThatWasFound) {
    watch = HoldWatch(goal);
    EXPECT_EQ(run(1), goal);
    vm.host = 1_GiB;
    EXPECT_EQ(run(61), std::nullopt);
}

TEST_F(HoldTest, LeavesRoomForATinyGrantAndEndsBelowTheLargestSize) {
    vm = {.ram = 64_MiB,
          .grant = 4_MiB,
          .host = 64_MiB,
          .swapped = {},
          .own = {},
          .measured_at = now};
    EXPECT_EQ(run(11), 4_MiB + 128_MiB);
    vm.grant = vm.ram = Bytes::max();
    EXPECT_EQ(watch.observe(vm, now), hold_limit(vm));
    EXPECT_GT(hold_limit(vm), Bytes::max() - 1_MiB);
}

}  // namespace
}  // namespace acma::arbiter
