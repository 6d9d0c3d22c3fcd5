// SPDX-License-Identifier: Apache-2.0
// Random fleets, cycle after cycle: what holds whatever guests need, and however slowly their
// balloons follow.
#include <algorithm>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "engine/arbiter/arbiter.h"

namespace acma::arbiter {
namespace {

constexpr int k_settled_after = 120;  // cycles

Bytes mib(uint64_t least, uint64_t most) {
    return 1_MiB * *rc::gen::inRange<uint64_t>(least, most);
}

bool any() {
    return *rc::gen::arbitrary<bool>();
}

Bytes apart(Bytes a, Bytes b) {
    return a > b ? a - b : b - a;
}

// A change that is not worth a write.
Bytes still(Bytes grant) {
    return std::max(k_still, grant / k_still_part);
}

Needs any_needs() {
    const Bytes used = mib(64, 10240);
    return {.active = used / *rc::gen::inRange<uint64_t>(1, 5), .used = used, .pressed = any()};
}

struct Fleet {
    Host host;
    std::vector<Guest> guests;
    std::vector<Bytes> rates;  // of balloons, in a cycle; 0: it is stuck

    Decision cycle() {
        Decision decision = arbitrate(host, guests);
        for (size_t i = 0; i < guests.size(); ++i) {
            Guest& guest = guests[i];
            guest.grant = decision.grants[i].size;
            const Bytes moves = std::min(apart(guest.grant, guest.holds), rates[i]);
            guest.holds = guest.holds > guest.grant ? guest.holds - moves : guest.holds + moves;
            guest.stuck_at =
                rates[i] == Bytes(0) && !guest.fixed ? std::optional(guest.holds) : std::nullopt;
        }
        return decision;
    }
    Decision settle() {
        for (int i = 0; i < k_settled_after; ++i) {
            (void)cycle();
        }
        return arbitrate(host, guests);
    }
    [[nodiscard]] Bytes promised() const {
        Bytes sum;
        for (const Guest& guest : guests) {
            sum += guest.own + std::max(guest.grant, guest.holds);
        }
        return sum;
    }
    void add(const Guest& guest, Bytes rate) {
        guests.push_back(guest);
        rates.push_back(rate);
        host.budget += guest.own + std::max(guest.grant, guest.holds);
    }
};

Guest any_guest() {
    Guest guest{.min = mib(128, 2048),
                .shares = *rc::gen::inRange<uint64_t>(1, 5000),
                .own = mib(16, 200),
                .needs = any_needs()};
    guest.max = guest.min + mib(0, 8192);
    guest.grant = guest.holds = std::clamp(mib(0, 10240), guest.min, guest.max);
    return guest;
}

// It has what it was promised, and perhaps more.
Fleet any_fleet() {
    Fleet fleet;
    for (int i = *rc::gen::inRange(1, 12); i > 0; --i) {
        Guest guest = any_guest();
        guest.fixed = *rc::gen::inRange(0, 8) == 0;
        if (*rc::gen::inRange(0, 8) == 0) {
            guest.needs.reset();
        }
        const bool stuck = *rc::gen::inRange(0, 8) == 0;
        fleet.add(guest, stuck ? Bytes(0) : mib(128, 4096));
    }
    const Bytes more = mib(0, 8192);
    fleet.host.budget += more;
    fleet.host.reserved = any() ? more : Bytes(0);
    return fleet;
}

RC_GTEST_PROP(AnyFleet, IsPromisedNoMoreThanThereIsAfterEveryCycle, ()) {
    Fleet fleet = any_fleet();
    const auto strains =
        rc::gen::element(Strain::none, Strain::none, Strain::strained, Strain::emergency);
    for (int i = 0; i < 60; ++i) {
        fleet.host.strain = *strains;
        fleet.host.short_of = mib(0, 4096);
        const auto changes = *rc::gen::inRange<size_t>(0, fleet.guests.size());
        fleet.guests[changes].needs = any_needs();
        (void)fleet.cycle();
        RC_ASSERT(fleet.promised() <= fleet.host.budget - fleet.host.reserved);
        for (const Guest& guest : fleet.guests) {
            RC_ASSERT(guest.grant >= guest.min);
            RC_ASSERT(guest.grant <= guest.max);
        }
    }
}

RC_GTEST_PROP(AnyFleet, ComesToRestUnderSteadyNeeds, ()) {
    Fleet fleet = any_fleet();
    (void)fleet.settle();
    for (int i = 0; i < 30; ++i) {
        const Decision decision = arbitrate(fleet.host, fleet.guests);
        for (size_t k = 0; k < fleet.guests.size(); ++k) {
            RC_ASSERT(decision.grants[k].size == fleet.guests[k].grant);
        }
        (void)fleet.cycle();
    }
}

RC_GTEST_PROP(AnyFleet, TreatsTwoAlikeTheSameWhereverTheyBegan, ()) {
    Fleet fleet = any_fleet();
    Guest twin = any_guest();
    fleet.add(twin, 1_GiB);
    twin.grant = twin.holds = std::clamp(mib(0, 10240), twin.min, twin.max);
    fleet.add(twin, 1_GiB);
    const Decision decision = fleet.settle();
    const Grant& a = decision.grants[decision.grants.size() - 2];
    const Grant& b = decision.grants.back();
    RC_ASSERT(apart(a.fair, b.fair) <= Bytes(fleet.guests.size()));
    RC_ASSERT(apart(a.size, b.size) <= std::max(k_squeeze_least, a.size / k_squeeze_part));
}

RC_GTEST_PROP(AnyFleet, SplitsBySharesWhatIsBeyondTheMinimumsWhereAllStall, ()) {
    Fleet fleet;
    uint64_t shares = 0;
    for (int i = *rc::gen::inRange(2, 12); i > 0; --i) {
        Guest guest = any_guest();
        guest.max = 1024_GiB;
        guest.needs = Needs{.active = 512_GiB, .used = 512_GiB, .pressed = true};
        shares += guest.shares;
        fleet.add(guest, mib(256, 4096));
    }
    Bytes pool = fleet.host.budget;
    for (const Guest& guest : fleet.guests) {
        pool -= guest.own + guest.min;
    }
    const Decision decision = fleet.settle();
    for (size_t i = 0; i < fleet.guests.size(); ++i) {
        const Guest& guest = fleet.guests[i];
        const Bytes part =
            guest.min + Bytes(detail::mul_div_saturating(pool.count(), guest.shares, shares));
        RC_ASSERT(apart(decision.grants[i].fair, part) <= Bytes(fleet.guests.size()));
        // Each of the others may keep a little.
        RC_ASSERT(apart(guest.grant, part) <=
                  still(guest.grant) + (k_still + Bytes(1)) * fleet.guests.size());
    }
}

void raise_need_of_the_last(Fleet& fleet) {
    Needs& needs = *fleet.guests.back().needs;
    needs.used += mib(0, 4096);
    needs.active = std::min(needs.active + mib(0, 4096), needs.used);
    needs.pressed = needs.pressed || any();
}

RC_GTEST_PROP(AnyFleet, NeverGivesLessForANeedThatIsHigher, ()) {
    Fleet fleet = any_fleet();
    fleet.host.strain = *rc::gen::element(Strain::none, Strain::strained, Strain::emergency);
    fleet.host.short_of = mib(0, 4096);
    fleet.add(any_guest(), 1_GiB);
    Fleet higher = fleet;
    raise_need_of_the_last(higher);
    const Grant once = arbitrate(fleet.host, fleet.guests).grants.back();
    const Grant once_higher = arbitrate(higher.host, higher.guests).grants.back();
    const Bytes rounding(fleet.guests.size());
    RC_ASSERT(once_higher.fair + rounding >= once.fair);
    // Where it comes to its maximum either way, less is kept free, and others may come before it to
    // a little of that.
    RC_ASSERT(once_higher.size + still(once.fair) >= once.size);
}

// Who is not known or stuck keeps what he has got on the way.
RC_GTEST_PROP(AnyFleet, SettlesAtNoLessForANeedThatIsHigher, ()) {
    Fleet fleet;
    for (int i = *rc::gen::inRange(1, 12); i > 0; --i) {
        fleet.add(any_guest(), mib(128, 4096));
    }
    fleet.host.budget += mib(0, 8192);
    Fleet higher = fleet;
    raise_need_of_the_last(higher);
    const Bytes rounding(fleet.guests.size());
    const Grant settled = fleet.settle().grants.back();
    const Grant settled_higher = higher.settle().grants.back();
    RC_ASSERT(settled_higher.fair + rounding >= settled.fair);
    RC_ASSERT(settled_higher.size + still(settled.size) >= settled.size);
}

}  // namespace
}  // namespace acma::arbiter
