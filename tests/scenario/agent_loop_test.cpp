// SPDX-License-Identifier: Apache-2.0
// The agent's loop closed against a simulated guest, on a manual clock.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "engine/autoscale/autoscale.h"
#include "engine/simulation/sim_guest.h"

namespace acma {
namespace {

using autoscale::Decision;
using simulation::SimGuest;
using simulation::SimGuestConfig;

class Loop {
  public:
    Loop(SimGuestConfig config, Policy policy) : guest(config), policy_(policy) {}

    // Every step of the loop for `span`, as the agent takes them: a trigger cuts the wait short.
    void run(Micros span) {
        const Time end = guest.now() + span;
        while (guest.now() < end) {
            Micros left = decision.next_step;
            while (left > Micros(0) && !fired_) {
                const Micros slice = std::min<Micros>(left, Millis(50));
                guest.run(slice, decision);
                least = std::min(least, guest.resident());
                most = std::max(most, guest.resident());
                left -= slice;
                fired_ = guest.take_trigger(autoscale::trigger_for(policy_.psi));
            }
            auto sample = guest.sample();
            sample.trigger_fired = std::exchange(fired_, false);
            sample.oom_kills_total = oom_kills;
            const autoscale::Pace before = state.pace;
            decision = autoscale::step(policy_, sample, state, guest.now());
            pace_changes += state.pace == before ? 0 : 1;
            ++steps;
            page_outs += decision.page_out ? 1 : 0;
            highest_rate = std::max(highest_rate, decision.rate_per_s);
        }
    }

    SimGuest guest;
    autoscale::State state;
    Decision decision{.next_step = Millis(10)};
    uint64_t oom_kills = 0;
    int steps = 0;
    int page_outs = 0;
    int pace_changes = 0;
    Bytes highest_rate;
    Bytes least = Bytes(UINT64_MAX);  // resident, at any time
    Bytes most;

  private:
    Policy policy_;
    bool fired_ = false;
};

Policy policy() {
    return Policy{.min_mem = 256_MiB, .max_mem = 2_GiB, .psi = 10_bp};
}

// 200 MiB hot, 1000 MiB cold: the idle guest of the benchmark.
Loop idle_guest() {
    Loop loop({}, policy());
    (void)loop.guest.allocate(200_MiB, Millis(100));
    (void)loop.guest.allocate(1000_MiB, Micros(0));
    return loop;
}

TEST(AgentLoop, ShrinksAnIdleGuestToItsWorkingSetWithinAMinute) {
    Loop loop = idle_guest();
    loop.run(Seconds(60));
    EXPECT_LE(loop.guest.resident(), 250_MiB);
    EXPECT_GE(loop.guest.resident(), 200_MiB);
    EXPECT_EQ(loop.guest.stalled_total(), Micros(0));
}

TEST(AgentLoop, ReachesTheDevicesRateWithinFiveSeconds) {
    Loop loop = idle_guest();
    loop.run(Seconds(4));
    const Bytes before = loop.guest.sample().swap_out_total;
    loop.run(Seconds(1));
    EXPECT_GE(loop.guest.sample().swap_out_total - before, 135_MiB);
}

TEST(AgentLoop, SettlesAndThenLooksRarely) {
    Loop loop = idle_guest();
    loop.run(Seconds(60));
    EXPECT_EQ(loop.decision.state, AgentState::settled);
    const int steps = loop.steps;
    loop.run(Seconds(60));
    EXPECT_LE(loop.steps - steps, 31);
    EXPECT_EQ(loop.decision.state, AgentState::settled);
}

TEST(AgentLoop, DoesNotWindUpWhileThereIsNothingToPageOut) {
    Loop loop({}, policy());
    (void)loop.guest.allocate(400_MiB, Millis(100));
    loop.run(Seconds(300));
    EXPECT_LE(loop.highest_rate, autoscale::k_start_rate);
    EXPECT_EQ(loop.guest.swap_in_total(), Bytes(0));
}

// What happens in ten minutes to a guest whose load stays the same, once the loop has settled.
struct TenMinutes {
    Bytes swing;  // of resident bytes
    Bytes came_back;
    int pace_changes = 0;
};
TenMinutes ten_settled_minutes(Loop& loop) {
    loop.run(Seconds(300));
    loop.least = loop.most = loop.guest.resident();
    loop.pace_changes = 0;
    const Bytes before = loop.guest.swap_in_total();
    loop.run(Seconds(600));
    return {.swing = loop.most - loop.least,
            .came_back = loop.guest.swap_in_total() - before,
            .pace_changes = loop.pace_changes};
}

TEST(AgentLoop, StaysWhereItIsWhileAnIdleGuestStaysIdle) {
    Loop loop = idle_guest();
    const TenMinutes seen = ten_settled_minutes(loop);
    EXPECT_EQ(seen.swing, Bytes(0));
    EXPECT_EQ(seen.came_back, Bytes(0));
    EXPECT_EQ(seen.pace_changes, 0);
    EXPECT_EQ(loop.guest.resident(), 200_MiB);
}

// Whatever the period is, also right at the idle age of a pace: once learned, what is wanted again
// and again stays. It may look closely now and then (each change of 64 MiB may be worth it), but
// rests for minutes after looks that found nothing.
TEST(AgentLoop, DoesNotOscillateWithALoadWhosePeriodLiesAtAnIdleAge) {
    for (const Millis period : {Millis(1'400), Millis(1'500), Millis(1'600), Millis(3'000),
                                Millis(9'900), Millis(10'000), Millis(10'100), Millis(23'900)}) {
        for (const Bytes size : {40_MiB, 300_MiB}) {
            Loop loop = idle_guest();
            (void)loop.guest.allocate(size, period);
            const TenMinutes seen = ten_settled_minutes(loop);
            const std::string load = human(size) + " every " + human(period);
            EXPECT_LE(seen.swing, k_block) << load;
            EXPECT_LE(seen.came_back, 4_MiB) << load;
            EXPECT_LE(seen.pace_changes, 6) << load;
            EXPECT_EQ(loop.guest.resident(), 200_MiB + size) << load;
        }
    }
}

// Slower than most things. Learning its period costs a stall for each doubling of the idle age;
// from then on it is tried again only when the last try is paid off.
TEST(AgentLoop, TriesRarelyWhatIsWantedEveryMinute) {
    for (const Bytes size : {40_MiB, 300_MiB}) {
        Loop loop = idle_guest();
        (void)loop.guest.allocate(size, Seconds(60));
        loop.run(Seconds(3'600));
        const Micros stalled = loop.guest.stalled_total();
        loop.run(Seconds(3'600));
        const auto share =
            static_cast<double>((loop.guest.stalled_total() - stalled).count()) / 3'600e6;
        EXPECT_LE(share, 0.002) << human(size) << ", of the second hour stalled";
    }
}

// Several slow loads together, of which the slowest is beyond any patience (96 s): only that one
// swings, and each access brings back no more than was taken from it. NB: with swap as slow as this
// that is more stall than the policy accepts, for as long as the load lasts.
TEST(AgentLoop, SwingsByNoMoreThanWhatIsSlowerThanItsPatience) {
    Loop loop = idle_guest();
    for (const int period_s : {4, 13, 60, 200}) {
        (void)loop.guest.allocate(20_MiB, Seconds(period_s));
    }
    const TenMinutes seen = ten_settled_minutes(loop);
    EXPECT_LE(seen.swing, 20_MiB);
    EXPECT_LE(seen.came_back, 20_MiB * (600 / 200));
    EXPECT_LE(seen.pace_changes, 10);
    EXPECT_GE(loop.least, 260_MiB) << "what comes every 4, 13 and 60 s stays";
}

TEST(AgentLoop, FollowsAWorkingSetThatShrinksWhileItIsSettled) {
    Loop loop = idle_guest();
    const size_t more = loop.guest.allocate(400_MiB, Millis(100));
    loop.run(Seconds(60));
    EXPECT_GE(loop.guest.resident(), 600_MiB);
    EXPECT_NEAR(static_cast<double>(autoscale::working_set(loop.state).value_or(Bytes(0)).count()),
                static_cast<double>((600_MiB).count()), static_cast<double>((60_MiB).count()));
    loop.guest.set_period(more, Micros(0));
    loop.run(Seconds(20));
    EXPECT_LE(loop.guest.resident(), 260_MiB);
}

// What it learned from small things that are wanted back must not keep it from a big one.
TEST(AgentLoop, FollowsABigChangeEvenWhenItHasBecomePatient) {
    Loop loop = idle_guest();
    const size_t more = loop.guest.allocate(700_MiB, Millis(100));
    for (int i = 0; i < 6; ++i) {
        (void)loop.guest.allocate(4_MiB, Seconds(4) + Millis(700 * i));
    }
    loop.run(Seconds(120));
    ASSERT_GE(loop.state.patience, 4U);
    loop.guest.set_period(more, Micros(0));
    loop.run(Seconds(30));
    EXPECT_LE(loop.guest.resident(), 400_MiB);
}

TEST(AgentLoop, StopsOnASpikeAndRampsAgainAfterwards) {
    Loop loop = idle_guest();
    const size_t sleeper = loop.guest.allocate(300_MiB, Micros(0));
    loop.run(Seconds(40));
    ASSERT_LE(loop.guest.resident(), 260_MiB);
    loop.guest.set_period(sleeper, Millis(100));  // all of it is wanted back at once
    loop.run(Seconds(2));
    EXPECT_EQ(loop.decision.state, AgentState::holding);
    EXPECT_FALSE(loop.decision.page_out);
    EXPECT_GE(loop.guest.resident(), 490_MiB);
    loop.guest.set_period(sleeper, Micros(0));
    loop.run(Seconds(180));
    EXPECT_LE(loop.guest.resident(), 260_MiB) << "it must find its way down again";
}

TEST(AgentLoop, HoldsLongerWhenPressureComesBackAndForgives) {
    Loop loop = idle_guest();
    loop.run(Seconds(20));
    loop.oom_kills = 1;
    loop.run(Seconds(1));
    const Micros first = loop.state.hold;
    EXPECT_EQ(loop.decision.state, AgentState::holding);
    loop.run(first + Seconds(1));
    loop.oom_kills = 2;
    loop.run(Seconds(1));
    EXPECT_EQ(loop.state.hold, first * 2);
    loop.run(autoscale::k_hold_forgiven_after + loop.state.hold + Seconds(10));
    loop.oom_kills = 3;
    loop.run(Seconds(1));
    EXPECT_EQ(loop.state.hold, autoscale::k_hold_first);
}

// Pages that are wanted every few seconds look cold in between: the loop has to learn to wait.
TEST(AgentLoop, LearnsToLeaveAloneWhatIsWantedBackAgainAndAgain) {
    Loop loop({}, policy());
    (void)loop.guest.allocate(100_MiB, Millis(100));
    for (int i = 0; i < 20; ++i) {
        (void)loop.guest.allocate(10_MiB, Seconds(5) + Millis(300 * i));
    }
    loop.run(Seconds(300));
    const Micros stalled = loop.guest.stalled_total();
    loop.run(Seconds(300));
    const double share =
        static_cast<double>((loop.guest.stalled_total() - stalled).count()) / 300e6;
    EXPECT_LE(share, 0.002) << "of time stalled in steady state";
    EXPECT_GT(loop.state.patience, 1U);
}

TEST(AgentLoop, SeesSwapInsThatPsiDoesNotShow) {
    SimGuestConfig config;
    config.stall_seen_by_psi = 0_bp;
    Loop blind(config, policy());
    (void)blind.guest.allocate(100_MiB, Millis(100));
    (void)blind.guest.allocate(200_MiB, Seconds(4));
    blind.run(Seconds(300));
    const Bytes before = blind.guest.swap_in_total();
    blind.run(Seconds(300));
    // Without the price it would page all of it out and in again every four seconds: 15 GiB.
    EXPECT_LE(blind.guest.swap_in_total() - before, 1_GiB);
}

TEST(AgentLoop, ChangesNothingInObserveAndOff) {
    for (const Mode mode : {Mode::observe, Mode::off}) {
        Policy quiet = policy();
        quiet.mode = mode;
        Loop loop({}, quiet);
        (void)loop.guest.allocate(1000_MiB, Micros(0));
        loop.run(Seconds(30));
        EXPECT_EQ(loop.page_outs, 0);
        EXPECT_EQ(loop.guest.resident(), 1000_MiB);
    }
}

// A single spike is a single offence, however often the trigger fires while it lasts.
TEST(AgentLoop, DoesNotHoldLongerBecauseOneSpikeLasts) {
    Loop loop = idle_guest();
    loop.run(Seconds(20));
    auto sample = loop.guest.sample();
    sample.trigger_fired = true;
    for (int i = 0; i < 6; ++i) {
        (void)autoscale::step(policy(), sample, loop.state, loop.guest.now() + Millis(500 * i));
    }
    EXPECT_EQ(loop.state.hold, autoscale::k_hold_first);
    EXPECT_EQ(loop.state.hold_until, loop.guest.now() + Millis(2500) + autoscale::k_hold_first);
}

TEST(AgentLoop, LooksCloselyAtOnceWhenItMayActAgain) {
    Loop loop = idle_guest();
    loop.run(Seconds(60));
    Policy observe = policy();
    observe.mode = Mode::observe;
    Time now = loop.guest.now();
    (void)autoscale::step(observe, loop.guest.sample(), loop.state, now);
    now += Seconds(100);
    const Decision decision = autoscale::step(policy(), loop.guest.sample(), loop.state, now);
    EXPECT_EQ(decision.pace, autoscale::Pace::quick);
    EXPECT_EQ(decision.rate_per_s, autoscale::k_start_rate);
}

TEST(AgentLoop, CallsAThirdOfTheTimeASpikeUnlessThatIsAccepted) {
    EXPECT_EQ(autoscale::trigger_for(1_bp).stall, Micros(Millis(50)));
    EXPECT_EQ(autoscale::trigger_for(10_bp).stall, Micros(Millis(50)));
    EXPECT_EQ(autoscale::trigger_for(100_bp).stall, Micros(Millis(150)));
    EXPECT_EQ(autoscale::trigger_for(10'000_bp).stall, Micros(Millis(500)));
}

// What min-mem and max-mem mean to this loop: nothing. They bound a VM's size, which is RAM that
// the host gave less blocks that are owned (docs/design.md, "What comes next"): max-mem is held by
// the host's balloon, min-mem will bound scale-down. Page-out changes no size, so it may go below
// min-mem, and a guest takes back what it needs without asking.
TEST(AgentLoop, PagesOutTheSameWhateverTheSizesOfThePolicy) {
    const auto course = [](Bytes min_mem, Bytes max_mem) {
        Policy sized = policy();
        sized.min_mem = min_mem;
        sized.max_mem = max_mem;
        Loop loop({}, sized);
        (void)loop.guest.allocate(200_MiB, Millis(100));
        const size_t sleeper = loop.guest.allocate(1000_MiB, Micros(0));
        std::vector<Decision> decisions;
        for (int i = 0; i < 240; ++i) {
            loop.run(Millis(500));
            decisions.push_back(loop.decision);
            if (i == 120) {  // a spike in the middle
                loop.guest.set_period(sleeper, Seconds(5));
            }
        }
        return decisions;
    };
    const auto usual = course(256_MiB, 2_GiB);
    EXPECT_EQ(course(64_MiB, 64_MiB), usual);
    EXPECT_EQ(course(2_GiB, 2_GiB), usual);
    EXPECT_EQ(course(64_MiB, 1024_GiB), usual);
}

TEST(AgentLoop, GoesBelowMinMemWhereThatIsColdAndLeavesWhatIsHot) {
    Policy large = policy();
    large.min_mem = large.max_mem = 2_GiB;
    Loop loop({}, large);
    (void)loop.guest.allocate(200_MiB, Millis(100));
    (void)loop.guest.allocate(1000_MiB, Micros(0));
    loop.run(Seconds(120));
    EXPECT_EQ(loop.guest.resident(), 200_MiB);
}

// However much a policy accepts and however fast swap is: the rate has a ceiling of its own.
TEST(AgentLoop, NeverTriesMoreThanItsCeilingHoweverMuchPressureIsAccepted) {
    Policy bold = policy();
    bold.psi = k_full_bp;
    SimGuestConfig config;
    config.page_out_per_s = 100_GiB;  // swap is no bound here
    Loop loop(config, bold);
    (void)loop.guest.allocate(1800_MiB, Micros(0));
    loop.run(Seconds(60));
    EXPECT_LE(loop.highest_rate, autoscale::k_ceiling);
    EXPECT_EQ(loop.guest.resident(), Bytes(0));
}

TEST(AgentLoop, ATighterTargetNeverPagesOutFaster) {
    const auto stalled = [](BasisPoints psi) {
        Policy p = policy();
        p.psi = psi;
        Loop loop({}, p);
        (void)loop.guest.allocate(100_MiB, Millis(100));
        for (int i = 0; i < 20; ++i) {
            (void)loop.guest.allocate(20_MiB, Seconds(3) + Millis(500 * i));
        }
        loop.run(Seconds(300));
        return loop.guest.swap_in_total();
    };
    EXPECT_LE(stalled(10_bp), stalled(1000_bp));
}

}  // namespace
}  // namespace acma
