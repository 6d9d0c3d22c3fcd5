// SPDX-License-Identifier: Apache-2.0
#include "engine/sizing/sizing.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace acma::sizing {
namespace {

constexpr Limits k_limits{.min = 512_MiB, .max = 4_GiB, .psi = 100_bp, .yields_on_oom = true};

// A guest whose balloon follows at once, and whose driver tells its statistics every two seconds.
class Guest {
  public:
    Limits limits = k_limits;
    State state;
    Bytes size = 4_GiB;
    Bytes work = 600_MiB;   // neither free nor cache
    Bytes cache = 400_MiB;  // of files; can be had
    Bytes swapped_in;
    uint64_t major_faults = 0;
    std::optional<BasisPoints> psi;
    bool tells = true;
    bool tells_usable = true;
    bool follows = true;

    Decision second() {
        now_ += Seconds(1);
        Sample sample{.size = size};
        sample.stuck = !follows && state.last.size && *state.last.size < size;
        sample.arrived = !sample.stuck;
        if (tells && now_.time_since_epoch() % Seconds(2) == Seconds(0)) {
            sample.statistics = statistics();
        }
        const Decision decision = step(limits, sample, state, now_);
        if (follows) {
            size = std::min(decision.size.value_or(limits.max), limits.max);
        }
        return decision;
    }
    Decision run(int seconds) {
        Decision decision;
        for (int i = 0; i < seconds; ++i) {
            decision = second();
        }
        return decision;
    }

  private:
    [[nodiscard]] Statistics statistics() const {
        Statistics told{.unused = size - work - cache};
        if (tells_usable) {
            told.usable = size - work;
        }
        told.swap_in_total = swapped_in;
        told.major_faults_total = major_faults;
        told.psi = psi;
        return told;
    }
    Time now_{Seconds(1000)};
};

TEST(Sizing, TakesAnIdleGuestDownToWhatItUsesAndItsHeadroom) {
    Guest guest;
    guest.run(600);
    EXPECT_GE(guest.size, guest.work + guest.state.last.headroom);
    EXPECT_LE(guest.size, guest.work + guest.state.last.headroom * 2);
}

TEST(Sizing, GoesDownInSmallStepsWithTimeBetweenThem) {
    Guest guest;
    Bytes before = guest.size;
    int still = 100;
    for (int i = 0; i < 300; ++i) {
        guest.second();
        ++still;
        if (guest.size < before) {
            EXPECT_LE(before - guest.size, std::max(k_least_step, before / k_step_part));
            EXPECT_GE(still, 6);
            still = 0;
        }
        before = guest.size;
    }
}

TEST(Sizing, DoesNothingBeforeTheSecondStatistics) {
    Guest guest;
    EXPECT_FALSE(guest.run(2).size);
}

TEST(Sizing, RaisesAGuestAtOnceWhenItsHeadroomGoes) {
    Guest guest;
    guest.run(600);
    guest.work += guest.state.last.headroom * 3 / 4;
    EXPECT_EQ(guest.run(2).why, Why::pressed);
    EXPECT_GE(guest.size - guest.work, 256_MiB);
}

TEST(Sizing, ExpectsOfAGuestThatGrowsThatItGoesOn) {
    Guest guest;
    guest.run(600);
    guest.work += guest.state.last.headroom / 2;
    const Decision decision = guest.run(2);
    EXPECT_EQ(decision.why, Why::grows);
    EXPECT_GE(*decision.size, guest.work + decision.headroom + decision.headroom / 2);
}

TEST(Sizing, NeverShrinksAGuestThatHasFallenSilentAndGivesItsMemoryBack) {
    Guest guest;
    guest.run(600);
    guest.tells = false;
    Bytes before = guest.size;
    for (int i = 0; i < 60; ++i) {
        guest.second();
        EXPECT_GE(guest.size, before);
        before = guest.size;
    }
    EXPECT_EQ(guest.size, guest.limits.max);
    EXPECT_EQ(guest.state.last.why, Why::stale);
    EXPECT_FALSE(guest.state.last.used);
}

TEST(Sizing, LeavesAGuestAloneThatTellsNothing) {
    Guest guest;
    guest.tells = false;
    const Decision decision = guest.run(600);
    EXPECT_EQ(decision.why, Why::no_statistics);
    EXPECT_FALSE(decision.size);
}

TEST(Sizing, CountsCacheAsUsedWhereTheDriverDoesNotTellWhatCanBeHad) {
    Guest guest;
    guest.tells_usable = false;
    guest.run(600);
    EXPECT_GE(guest.size, guest.work + guest.cache + guest.state.last.headroom);
    EXPECT_LT(guest.size, 2_GiB);
}

TEST(Sizing, TakesNothingFromAGuestThatCouldNotHaveItBackInTime) {
    Guest guest;
    guest.limits.yields_on_oom = false;
    const Decision decision = guest.run(600);
    EXPECT_EQ(decision.why, Why::at_risk);
    EXPECT_FALSE(decision.size);
    EXPECT_EQ(*decision.used, guest.work) << "the arbiter is told all the same";
    guest.work = 3900_MiB;
    EXPECT_EQ(guest.run(2).why, Why::pressed);
    EXPECT_FALSE(guest.state.last.size) << "nor has it a bound afterwards";
}

TEST(Sizing, StopsAndRaisesWhenTheGuestSwapsIn) {
    Guest guest;
    guest.run(60);
    const Bytes before = guest.size;
    guest.swapped_in += 64_MiB;
    EXPECT_EQ(guest.run(2).why, Why::pressed);
    EXPECT_GT(guest.size, before);
    const Bytes raised = guest.size;
    guest.run(25);
    EXPECT_EQ(guest.size, raised);
}

TEST(Sizing, TakesReadingFilesForPressureOnlyWhereMemoryIsShort) {
    Guest guest;
    guest.run(20);
    guest.major_faults += 100'000;
    EXPECT_FALSE(guest.run(2).pressed);
    guest.run(600);
    guest.major_faults += 100'000;
    EXPECT_TRUE(guest.run(2).pressed);
}

TEST(Sizing, TrustsPsiWhereItIsKnown) {
    Guest guest;
    guest.psi = 50_bp;
    guest.run(600);
    EXPECT_LE(guest.size, guest.work + 192_MiB);
    guest.psi = 150_bp;
    EXPECT_EQ(guest.run(2).why, Why::pressed);
}

TEST(Sizing, WaitsForLongerWhereTakingMemoryHurt) {
    Guest guest;
    guest.run(100);
    for (int i = 0; i < 5; ++i) {
        while (guest.second().why != Why::shrinks) {
        }
        guest.swapped_in += 64_MiB;
        guest.run(2);
    }
    EXPECT_GE(guest.state.settle, Seconds(6 * 32));
    EXPECT_LE(guest.state.settle, k_longest_settle);
}

TEST(Sizing, GivesUpWhatTheGuestDoesNotGive) {
    Guest guest;
    guest.follows = false;
    bool gave_up = false;
    for (int i = 0; i < 60; ++i) {
        gave_up = guest.second().why == Why::stuck || gave_up;
    }
    EXPECT_TRUE(gave_up);
    EXPECT_GT(guest.state.settle, k_first_settle);
}

RC_GTEST_PROP(Sizing, KeepsTheBoundsAndNeverTakesMoreThanAStepWhateverTheGuestSays, ()) {
    const Limits limits{.min = 512_MiB, .max = 4_GiB, .psi = 10_bp, .yields_on_oom = true};
    State state;
    Bytes size = 4_GiB;
    Time now{Seconds(1000)};
    const auto any = [] {
        return std::optional(Bytes(*rc::gen::oneOf(rc::gen::inRange<uint64_t>(0, uint64_t{8} << 30),
                                                   rc::gen::arbitrary<uint64_t>())));
    };
    for (int i = *rc::gen::inRange(1, 60); i > 0; --i) {
        now += Seconds(*rc::gen::inRange(1, 20));
        Sample sample{.size = size};
        sample.stuck = *rc::gen::arbitrary<bool>();
        sample.arrived = *rc::gen::arbitrary<bool>();
        if (*rc::gen::arbitrary<bool>()) {
            sample.statistics = Statistics{.unused = any(), .usable = any()};
            sample.statistics->swap_in_total = any();
            sample.statistics->major_faults_total = *rc::gen::arbitrary<uint64_t>();
            sample.statistics->psi = BasisPoints(*rc::gen::arbitrary<uint32_t>());
        }
        const Decision decision = step(limits, sample, state, now);
        const Bytes next = decision.size.value_or(limits.max);
        RC_ASSERT(next >= limits.min);
        RC_ASSERT(next <= limits.max);
        RC_ASSERT(next + std::max(k_least_step, size / k_step_part) >= size);
        RC_ASSERT(next >= size || sample.statistics.has_value());
        size = next;
    }
}

}  // namespace
}  // namespace acma::sizing
