// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/arbiter.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace acma::arbiter {
namespace {

Guest guest(Bytes used, Bytes grant, Bytes max = 8_GiB) {
    return Guest{.min = 1_GiB,
                 .max = max,
                 .shares = 1000,
                 .own = 64_MiB,
                 .grant = grant,
                 .holds = grant,
                 .needs = Needs{.active = used / 2, .used = used}};
}

Guest pressed(Guest guest) {
    guest.needs->pressed = true;
    return guest;
}

Bytes promised(const std::vector<Guest>& guests) {
    Bytes sum;
    for (const Guest& guest : guests) {
        sum += guest.own + std::max(guest.grant, guest.holds);
    }
    return sum;
}

// Balloons follow at once, unless told otherwise.
std::vector<Guest> follow(std::vector<Guest> guests, const Decision& decision, bool obey = true) {
    for (size_t i = 0; i < guests.size(); ++i) {
        guests[i].grant = decision.grants[i].size;
        if (guests[i].fixed) {
            continue;
        }
        guests[i].holds = obey ? guests[i].grant : std::max(guests[i].holds, guests[i].grant);
    }
    return guests;
}

std::vector<Guest> settle(const Host& host, std::vector<Guest> guests) {
    for (int i = 0; i < 100; ++i) {
        guests = follow(guests, arbitrate(host, guests));
    }
    return guests;
}

TEST(Arbiter, GivesEachItsMaximumWhereTheHostHasIt) {
    const auto guests = settle({.budget = 64_GiB}, {guest(2_GiB, 2_GiB), guest(1_GiB, 1_GiB)});
    EXPECT_GE(guests[0].grant + 256_MiB, 8_GiB);
    EXPECT_GE(guests[1].grant + 256_MiB, 8_GiB);
}

// A balloon that is stuck counts for all RAM. That is feared, not given.
TEST(Arbiter, AGrantDoesNotGrowIntoWhatIsHeldWhileMoreIsHeldThanThereIs) {
    Guest stuck = pressed(guest(2_GiB, 2_GiB));
    stuck.holds = 8_GiB;
    const Decision decision = arbitrate({.budget = 8_GiB}, {stuck, guest(5_GiB, 5_GiB)});
    EXPECT_EQ(decision.grants[0].size, 2_GiB);
}

// It stands above its target: the others give up what it does not.
TEST(Arbiter, WhatAStuckGuestDoesNotGiveTheOthersHaveTo) {
    Guest stuck = guest(2_GiB, 3_GiB);
    stuck.holds = 6_GiB;
    const Host host{.budget = 10_GiB + 128_MiB, .reserved = 1_GiB};
    EXPECT_EQ(arbitrate(host, {stuck, guest(2_GiB, 4_GiB)}).grants[1].size, 4_GiB);
    stuck.stuck_at = 6_GiB;
    const auto guests = settle(host, {stuck, guest(2_GiB, 4_GiB)});
    EXPECT_EQ(guests[0].grant, 3_GiB) << "it is asked on";
    EXPECT_LE(guests[1].grant, 3_GiB);
    EXPECT_EQ(arbitrate(host, guests).grants[0].why, Why::stuck);
    EXPECT_EQ(arbitrate(host, guests).grants[0].fair, 6_GiB);
}

TEST(Arbiter, AStuckGuestThatNeedsMoreThanItHoldsGrows) {
    Guest stuck = guest(7_GiB, 3_GiB);
    stuck.holds = 6_GiB;
    stuck.stuck_at = 6_GiB;
    EXPECT_GE(arbitrate({.budget = 16_GiB}, {stuck, guest(2_GiB, 4_GiB)}).grants[0].size, 7_GiB);
}

TEST(Arbiter, WhatIsSpareMakesAllEqualWhoUseLessThanTheirPart) {
    const auto guests = settle({.budget = 14_GiB + 192_MiB},
                               {guest(1_GiB, 1_GiB), guest(3_GiB, 3_GiB), guest(5_GiB, 5_GiB)});
    EXPECT_NEAR(static_cast<double>(guests[0].grant.count()),
                static_cast<double>(guests[1].grant.count()), 128e6);
    EXPECT_GE(guests[2].grant, 5_GiB + 512_MiB) << "and who uses more has headroom";
}

TEST(Arbiter, WhatOneNeedsDoesNotChangeWhatOthersHaveWhoUseLessThanTheirPart) {
    const Host host{.budget = 10_GiB + 128_MiB};
    auto guests = settle(host, {guest(1_GiB, 1_GiB), guest(1_GiB, 1_GiB)});
    guests[0].needs->used = 3_GiB;
    for (const Grant& grant : arbitrate(host, guests).grants) {
        EXPECT_EQ(grant.why, Why::keeps);
    }
}

TEST(Arbiter, WhatIsUnknownTakesNoMoreThanItsPart) {
    Guest unknown = guest(1_GiB, 2_GiB);
    unknown.needs.reset();
    const auto guests =
        settle({.budget = 10_GiB + 128_MiB}, {unknown, guest(2_GiB, 2_GiB), guest(2_GiB, 2_GiB)});
    EXPECT_LE(guests[0].grant, 10_GiB / 3);
}

TEST(Arbiter, WhatIsUsedComesBeforeWhatIsSpare) {
    const auto guests = settle({.budget = 8_GiB}, {guest(5_GiB, 3_GiB), guest(1_GiB, 5_GiB)});
    EXPECT_GE(guests[0].grant, 5_GiB);
    EXPECT_GE(guests[1].grant, 1_GiB);
}

TEST(Arbiter, AGuestThatStallsComesBeforeIdleMemory) {
    const Host host{.budget = 8_GiB + 128_MiB};
    auto guests = settle(host, {guest(4_GiB, 4_GiB), guest(4_GiB, 4_GiB)});
    EXPECT_EQ(guests[0].grant, 4_GiB);
    guests[0] = pressed(guests[0]);
    guests = settle(host, guests);
    EXPECT_GT(guests[0].grant, 5_GiB);
    EXPECT_GE(guests[1].grant, 2_GiB) << "what is active is not idle";
}

TEST(Arbiter, SharesDecideAmongThoseWhoStall) {
    Guest more = pressed(guest(8_GiB, 4_GiB));
    more.shares = 3000;
    const auto guests = settle({.budget = 8_GiB + 128_MiB}, {more, pressed(guest(8_GiB, 4_GiB))});
    EXPECT_NEAR(static_cast<double>(guests[0].grant.count()), 5.5 * (1ULL << 30), 3e8);
    EXPECT_NEAR(static_cast<double>(guests[1].grant.count()), 2.5 * (1ULL << 30), 3e8);
}

TEST(Arbiter, NobodyGrowsBeforeAnotherHasGivenUp) {
    const Host host{.budget = 8_GiB + 128_MiB};
    const std::vector<Guest> guests{pressed(guest(4_GiB, 2_GiB)), guest(2_GiB, 6_GiB)};
    const Decision first = arbitrate(host, guests);
    EXPECT_EQ(first.grants[0].why, Why::waits);
    EXPECT_EQ(first.grants[0].size, 2_GiB);
    EXPECT_EQ(first.grants[1].why, Why::unused);
    const auto stuck = follow(guests, first, false);
    EXPECT_EQ(arbitrate(host, stuck).grants[0].why, Why::waits) << "it still holds it";
    const auto gone = follow(guests, first);
    EXPECT_EQ(arbitrate(host, gone).grants[0].why, Why::pressed);
}

TEST(Arbiter, TakesInStepsWhatIsUsed) {
    const std::vector<Guest> guests{pressed(guest(8_GiB, 4_GiB)), guest(4_GiB, 4_GiB)};
    const Decision decision = arbitrate({.budget = 8_GiB + 128_MiB}, guests);
    EXPECT_EQ(decision.grants[1].why, Why::others);
    EXPECT_EQ(decision.grants[1].size, 4_GiB - 512_MiB);
}

TEST(Arbiter, KeepsAPartOfTheSpareForWhoeverNeedsItNext) {
    const Host host{.budget = 8_GiB + 128_MiB};
    auto guests = settle(host, {guest(1_GiB, 1_GiB), guest(1_GiB, 1_GiB)});
    EXPECT_GE(host.budget - promised(guests), 512_MiB);
    guests[0].needs->used = guests[0].grant;
    guests[0] = pressed(guests[0]);
    EXPECT_GE(arbitrate(host, guests).grants[0].size, guests[0].grant + 512_MiB) << "at once";
}

TEST(Arbiter, AHostThatIsShortGivesNothingThatNobodyUses) {
    const auto guests =
        settle({.budget = 64_GiB, .strain = Strain::strained}, {guest(2_GiB, 6_GiB)});
    EXPECT_EQ(guests[0].grant, 2_GiB);
}

TEST(Arbiter, InAnEmergencyTakesWhatIsNotAccessedInOrderAndNoMoreThanHelps) {
    std::vector<Guest> guests{guest(4_GiB, 2_GiB), guest(4_GiB, 4_GiB), guest(4_GiB, 4_GiB)};
    guests[1].needs->active = 1_GiB;
    guests[2].needs->active = 3_GiB;
    Host host{.budget = 64_GiB, .strain = Strain::emergency, .short_of = 128_MiB};
    Decision decision = arbitrate(host, guests);
    EXPECT_EQ(decision.grants[1].why, Why::emergency);
    EXPECT_EQ(decision.grants[1].size, 4_GiB - 512_MiB) << "a step";
    EXPECT_EQ(decision.grants[2].size, 4_GiB) << "the first one's is enough";
    host.short_of = 2_GiB;
    decision = arbitrate(host, guests);
    EXPECT_EQ(decision.grants[2].why, Why::emergency);
    guests[0] = pressed(guests[0]);
    EXPECT_EQ(arbitrate(host, guests).grants[0].size, guests[0].grant) << "nobody grows";
    guests = settle(host, guests);
    EXPECT_GE(guests[2].grant, 3_GiB) << "what it accesses stays";
    EXPECT_LE(guests[1].grant, 1_GiB + 64_MiB);
}

TEST(Arbiter, WhoIsNotKnownKeepsWhatHeHas) {
    Guest unknown = guest(1_GiB, 4_GiB);
    unknown.needs.reset();
    const auto guests =
        settle({.budget = 8_GiB + 128_MiB}, {unknown, pressed(guest(6_GiB, 3_GiB))});
    EXPECT_GE(guests[0].grant + 64_MiB, 4_GiB);
}

TEST(Arbiter, LeavesAloneWhoIsFixedAndCountsAllThatHeMayHold) {
    Guest fixed = guest(1_GiB, 2_GiB);
    fixed.fixed = true;
    fixed.holds = 6_GiB;
    const Host host{.budget = 9_GiB};
    const auto guests = settle(host, {fixed, guest(8_GiB, 1_GiB)});
    EXPECT_EQ(guests[0].grant, 2_GiB);
    EXPECT_LE(guests[1].grant, 3_GiB);
    EXPECT_EQ(arbitrate(host, {fixed}).grants[0].why, Why::fixed);
}

TEST(Arbiter, SaysWhatIsLackingWhereTheGuaranteesDoNotFit) {
    const Decision decision = arbitrate(
        {.budget = 2_GiB}, {guest(1_GiB, 2_GiB), guest(1_GiB, 2_GiB), guest(1_GiB, 1_GiB)});
    EXPECT_EQ(decision.lacking, 1_GiB + 192_MiB);
    for (const Grant& grant : decision.grants) {
        EXPECT_EQ(grant.size, 1_GiB);
    }
}

TEST(Arbiter, AReservationIsNobodysElse) {
    const auto guests = settle({.budget = 8_GiB, .reserved = 5_GiB}, {guest(8_GiB, 1_GiB)});
    EXPECT_LE(guests[0].grant, 3_GiB);
}

Guest any_guest() {
    const auto size = [](uint64_t most) { return 1_MiB * *rc::gen::inRange<uint64_t>(0, most); };
    Guest any;
    any.min = size(4096);
    any.max = any.min + size(8192);
    any.shares = *rc::gen::inRange<uint64_t>(1, 5000);
    any.own = size(300);
    any.grant = std::clamp(size(12288), any.min, any.max);
    any.holds = *rc::gen::arbitrary<bool>() ? any.grant : size(12288);
    if (*rc::gen::inRange(0, 5) != 0) {
        any.needs = Needs{
            .active = size(8192), .used = size(12288), .pressed = *rc::gen::arbitrary<bool>()};
    }
    any.fixed = *rc::gen::inRange(0, 6) == 0;
    return any;
}

std::vector<Guest> any_guests() {
    std::vector<Guest> guests;
    for (int i = *rc::gen::inRange(1, 12); i > 0; --i) {
        guests.push_back(any_guest());
    }
    return guests;
}

Host any_host() {
    return Host{.budget = 1_MiB * *rc::gen::inRange<uint64_t>(0, 65536),
                .reserved = 1_MiB * *rc::gen::inRange<uint64_t>(0, 4096),
                .strain = *rc::gen::element(Strain::none, Strain::strained, Strain::emergency),
                .short_of = *rc::gen::map(rc::gen::inRange<uint64_t>(0, 8),
                                          [](uint64_t n) { return 1_GiB * n; })};
}

RC_GTEST_PROP(Arbiter, NeverPromisesWhatIsNotThere, ()) {
    const Host host = any_host();
    const std::vector<Guest> guests = any_guests();
    const Decision decision = arbitrate(host, guests);
    const auto after = follow(guests, decision, false);
    RC_ASSERT(promised(after) <= std::max(promised(guests), host.budget - host.reserved));
    for (size_t i = 0; i < guests.size(); ++i) {
        const Guest& before = guests[i];
        if (before.fixed) {
            RC_ASSERT(decision.grants[i].size == before.grant);
        } else {
            RC_ASSERT(decision.grants[i].size >= before.min);
            RC_ASSERT(decision.grants[i].size <= before.max);
        }
    }
}

RC_GTEST_PROP(Arbiter, ComesDownToTheBudget, ()) {
    const Host host = any_host();
    auto guests = any_guests();
    Bytes least;
    for (Guest& guest : guests) {
        guest.fixed = false;
        least += guest.own + guest.min;
    }
    const Bytes pool = host.budget - host.reserved;
    RC_PRE(least <= pool);
    guests = settle(host, guests);
    RC_ASSERT(promised(guests) <= pool);
}

RC_GTEST_PROP(Arbiter, SettlesAndStaysWhereItIs, ()) {
    const Host host = any_host();
    auto guests = settle(host, any_guests());
    for (int i = 0; i < 5; ++i) {
        const Decision decision = arbitrate(host, guests);
        for (size_t k = 0; k < guests.size(); ++k) {
            RC_ASSERT(decision.grants[k].size == guests[k].grant);
        }
        guests = follow(guests, decision);
    }
}

}  // namespace
}  // namespace acma::arbiter
