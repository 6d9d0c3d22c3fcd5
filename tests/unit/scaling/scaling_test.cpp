// SPDX-License-Identifier: Apache-2.0
#include "engine/scaling/scaling.h"

#include <gtest/gtest.h>

namespace acma::scaling {
namespace {

const Policy k_policy{.min_mem = 512_MiB, .max_mem = 2_GiB, .psi = 10_bp};

// A guest of 2 GiB, of which 1 GiB is free.
Sample idle() {
    return {.ram = 2_GiB,
            .floor = 64_MiB,
            .mem_free = 1_GiB,
            .mem_available = 1_GiB + 100_MiB,
            .psi = 0_bp};
}

// Steps until nothing more is done, as if every order were carried out at once.
class Loop {
  public:
    explicit Loop(Sample start) : sample(start) {}

    Decision once() {
        const Decision decision = step(policy, sample, state, now);
        sample.had_all = decision.action == Action::take;
        if (decision.action == Action::take) {
            move(decision.take.all, 1);
        } else if (decision.action == Action::give) {
            move(decision.give, -1);
        }
        now += decision.next_step;
        least_size = std::min(least_size, sample.ram - sample.owned);
        sample.pressed = false;
        return decision;
    }
    void run(Micros span) {
        for (const Time end = now + span; now < end;) {
            (void)once();
        }
    }

    Sample sample;
    Policy policy = k_policy;
    State state;
    Time now{Seconds(1000)};
    Bytes least_size = Bytes(UINT64_MAX);

  private:
    void move(Bytes amount, int sign) {
        if (sign > 0) {
            sample.owned += amount;
            sample.voluntary += amount;
            sample.mem_free -= amount;
            sample.mem_available -= amount;
        } else {
            sample.owned -= amount;
            sample.voluntary -= amount;
            sample.mem_free += amount;
            sample.mem_available += amount;
        }
    }
};

TEST(ScalingStep, TakesWhatIsFreeDownToTheReserveWithinSeconds) {
    Loop loop(idle());
    loop.run(Seconds(5));
    EXPECT_LE(loop.sample.mem_free, reserve(loop.sample) + k_block * 2);
    EXPECT_GE(loop.sample.mem_free, reserve(loop.sample));
    EXPECT_EQ(loop.once().action, Action::hold);
}

TEST(ScalingStep, NeverTakesBelowMinMem) {
    Loop loop(idle());
    loop.policy.min_mem = 1536_MiB;
    loop.run(Seconds(60));
    EXPECT_EQ(loop.least_size, 1536_MiB);
    EXPECT_NE(loop.once().reason.find("of at least 1.5 GiB"), std::string::npos)
        << loop.once().reason;
}

TEST(ScalingStep, RestsWhenThereIsNothingToDo) {
    Loop loop(idle());
    loop.run(Seconds(30));
    EXPECT_EQ(loop.once().next_step, k_resting_step);
}

TEST(ScalingStep, GivesABurstUnderPressureAndMoreWhileItLasts) {
    Loop loop(idle());
    loop.run(Seconds(30));
    Bytes last;
    for (int i = 0; i < 3; ++i) {
        loop.sample.pressed = true;
        const Decision decision = loop.once();
        ASSERT_EQ(decision.action, Action::give) << decision.reason;
        EXPECT_GT(decision.give, last);
        last = decision.give;
        loop.sample.mem_free = 10_MiB;  // all of it is used at once
    }
    EXPECT_EQ(loop.once().action, Action::hold) << "nothing is taken soon after";
}

TEST(ScalingStep, GivesNoMoreWhileWhatItGaveLiesFree) {
    Loop loop(idle());
    loop.run(Seconds(30));
    const Bytes owned = loop.sample.owned;
    loop.sample.psi = 70_bp;  // looks back over two seconds
    for (const Time end = loop.now + Seconds(2); loop.now < end;) {
        (void)loop.once();
    }
    const Bytes first = std::max(k_give_least, loop.sample.ram / k_give_part);
    EXPECT_GE(loop.sample.owned + first * 2, owned);
    EXPECT_NE(loop.once().reason.find("no help"), std::string::npos) << loop.once().reason;
}

TEST(ScalingStep, TakesAgainAfterTheHold) {
    Loop loop(idle());
    loop.run(Seconds(30));
    const Bytes small = loop.sample.ram - loop.sample.owned;
    loop.sample.pressed = true;
    (void)loop.once();
    loop.run(Seconds(10));
    EXPECT_EQ(loop.sample.ram - loop.sample.owned, small);
}

TEST(ScalingStep, HoldsLongerEachTimeThatPressureComesSoonAfterTaking) {
    Loop loop(idle());
    Micros longest{0};
    for (int i = 0; i < 6; ++i) {
        loop.run(loop.state.hold + Millis(600));
        loop.sample.pressed = true;
        (void)loop.once();
        EXPECT_GE(loop.state.hold, longest);
        longest = loop.state.hold;
    }
    EXPECT_EQ(longest, k_hold_most);
}

TEST(ScalingStep, GivesBackBeforeThereIsPressureWhenLittleIsAvailable) {
    Loop loop(idle());
    loop.run(Seconds(30));
    loop.sample.mem_available = 70_MiB;
    loop.sample.mem_free = 40_MiB;
    const Decision decision = loop.once();
    ASSERT_EQ(decision.action, Action::give);
    EXPECT_GE(decision.give + 70_MiB, reserve(loop.sample));
}

TEST(ScalingStep, GivesWhenPsiIsTwiceItsTarget) {
    Loop loop(idle());
    loop.run(Seconds(30));
    loop.sample.psi = 20_bp;
    EXPECT_EQ(loop.once().action, Action::give);
}

TEST(ScalingStep, SaysThatNothingIsLeftToGive) {
    Loop loop(idle());
    loop.sample.pressed = true;
    const Decision decision = loop.once();
    EXPECT_EQ(decision.action, Action::hold);
    EXPECT_NE(decision.reason.find("nothing is left"), std::string::npos) << decision.reason;
}

TEST(ScalingStep, TakesNothingInModesObserveAndOff) {
    for (const Mode mode : {Mode::observe, Mode::off}) {
        Loop loop(idle());
        loop.policy.mode = mode;
        loop.run(Seconds(30));
        EXPECT_EQ(loop.sample.owned, Bytes(0));
    }
}

TEST(ScalingStep, GivesBackWhatIsNeededInEveryMode) {
    for (const Mode mode : {Mode::observe, Mode::off}) {
        Loop loop(idle());
        loop.run(Seconds(30));
        ASSERT_GT(loop.sample.owned, 100_MiB);
        loop.policy.mode = mode;
        EXPECT_EQ(loop.once().action, Action::hold);
        loop.sample.pressed = true;
        EXPECT_EQ(loop.once().action, Action::give);
    }
}

TEST(ScalingStep, DoesNotWindUpWhileBlocksCannotBeHad) {
    Loop loop(idle());
    for (int i = 0; i < 200; ++i) {  // orders that are never carried out
        const Decision decision = step(loop.policy, loop.sample, loop.state, loop.now);
        loop.now += decision.next_step;
    }
    EXPECT_EQ(loop.state.rate_per_s, k_take_first);
}

TEST(ScalingStep, SettlesAndStaysWhereItIs) {
    Loop loop(idle());
    loop.run(Seconds(30));
    const Bytes owned = loop.sample.owned;
    for (int i = 0; i < 300; ++i) {
        EXPECT_EQ(loop.once().action, Action::hold);
    }
    EXPECT_EQ(loop.sample.owned, owned);
}

}  // namespace
}  // namespace acma::scaling
