// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/sim_vm.h"

#include <gtest/gtest.h>

namespace acma::simulation {
namespace {

VmConfig config() {
    VmConfig vm{.start = 4_GiB, .demand = {{{Micros(0), {1_GiB, 512_MiB}}}}};
    vm.policy.min_mem = 512_MiB;
    vm.policy.max_mem = 4_GiB;
    return vm;
}

class Guest {
  public:
    Guest(VmConfig config, bool agent) : vm(std::move(config), agent) {}

    void run(Micros span) {
        for (const Time end = now + span; now < end; now += Millis(100)) {
            vm.run(now, Millis(100));
            stalled += vm.stalled_in_last_run();
        }
    }

    SimVm vm;
    Time now{};
    Micros stalled{0};
};

TEST(SimVm, WithAnAgentItKeepsWhatItUsesAndAReserve) {
    Guest guest(config(), true);
    guest.run(Seconds(60));
    EXPECT_EQ(guest.vm.resident(), 1_GiB + 128_MiB);
    EXPECT_LE(guest.vm.free(), 256_MiB);
    EXPECT_EQ(guest.vm.actual(), 4_GiB) << "voluntary blocks are not seen in actual";
    EXPECT_EQ(guest.stalled, Micros(0));
}

TEST(SimVm, WithoutAnAgentItKeepsEverything) {
    Guest guest(config(), false);
    guest.run(Seconds(60));
    EXPECT_EQ(guest.vm.resident(), 1_GiB + 512_MiB + 128_MiB);
    EXPECT_EQ(guest.vm.free(), 4_GiB - guest.vm.resident());
}

TEST(SimVm, TakesBackUpToItsGrantWithoutTheHost) {
    VmConfig grows = config();
    grows.demand.points.push_back({Seconds(30), {3_GiB, 512_MiB}});
    Guest guest(grows, true);
    guest.run(Seconds(32));
    EXPECT_TRUE(guest.vm.has_all());
    EXPECT_LE(guest.stalled, Seconds(1));
}

TEST(SimVm, NeverHoldsMoreThanItsGrant) {
    VmConfig grows = config();
    grows.start = 2_GiB;
    grows.demand.points.push_back({Seconds(30), {3_GiB, 512_MiB}});
    Guest guest(grows, true);
    guest.run(Seconds(60));
    EXPECT_FALSE(guest.vm.has_all());
    EXPECT_LE(guest.vm.resident(), 2_GiB);
    EXPECT_GE(guest.stalled, Seconds(25));
}

TEST(SimVm, WithoutItsAgentTheShimGivesBackWhatIsNeeded) {
    VmConfig grows = config();
    grows.demand.points.push_back({Seconds(30), {3_GiB, 512_MiB}});
    Guest guest(grows, true);
    guest.run(Seconds(20));
    guest.vm.set_agent_running(false);
    guest.run(Seconds(12));
    EXPECT_TRUE(guest.vm.has_all());
    EXPECT_FALSE(guest.vm.agent_word());
}

TEST(SimVm, MemoryThatBecomesHotAgainComesBackFromSwap) {
    VmConfig idles = config();
    idles.demand.points = {{Micros(0), {2_GiB, Bytes(0)}},
                           {Seconds(10), {1_GiB, 1_GiB}},
                           {Seconds(60), {2_GiB, Bytes(0)}}};
    Guest guest(idles, true);
    guest.run(Seconds(60));
    EXPECT_EQ(guest.vm.cold_resident(), Bytes(0));
    guest.run(Seconds(3));
    EXPECT_FALSE(guest.vm.has_all()) << "1 GiB takes seven seconds";
    guest.run(Seconds(10));
    EXPECT_TRUE(guest.vm.has_all());
    EXPECT_GE(guest.stalled, Seconds(6));
}

TEST(SimVm, ABalloonFollowsAsItsDriverCan) {
    using Kind = BalloonDriver::Kind;
    const auto goes_to = [](BalloonDriver driver, Bytes start, Bytes target) {
        VmConfig vm = config();
        vm.demand = {};
        vm.start = start;
        vm.balloon = driver;
        Guest guest(vm, false);
        guest.vm.set_target(target);
        guest.run(Seconds(10));
        return guest.vm.actual();
    };
    const Bytes slow = 100_MiB;
    EXPECT_EQ(goes_to({.kind = Kind::ideal}, 4_GiB, 1_GiB), 1_GiB);
    EXPECT_EQ(goes_to({.kind = Kind::ideal, .rate_per_s = slow}, 4_GiB, 1_GiB), 4_GiB - slow * 10);
    EXPECT_EQ(goes_to({.kind = Kind::stuck}, 4_GiB, 1_GiB), 4_GiB);
    EXPECT_EQ(goes_to({.kind = Kind::lower_limit, .limit = 2_GiB}, 4_GiB, 1_GiB), 2_GiB);
    EXPECT_EQ(goes_to({.kind = Kind::upper_limit, .limit = 2_GiB}, 1_GiB, 4_GiB), 2_GiB);
    EXPECT_EQ(goes_to({.kind = Kind::ideal, .inaccuracy = 1_MiB}, 4_GiB, 1_GiB), 1_GiB + 1_MiB);
    const Bytes jerks = goes_to(
        {.kind = Kind::intermittent, .rate_per_s = slow, .interval = Seconds(2)}, 4_GiB, 1_GiB);
    EXPECT_LT(jerks, 4_GiB - slow * 5);
    EXPECT_GT(jerks, 4_GiB - slow * 7);
}

TEST(SimVm, AStockGuestSwapsForItsBalloon) {
    Guest guest(config(), false);
    guest.vm.set_target(1_GiB);
    guest.run(Seconds(30));
    EXPECT_EQ(guest.vm.actual(), 1_GiB);
    EXPECT_FALSE(guest.vm.has_all());
}

}  // namespace
}  // namespace acma::simulation
