// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/arbiter.h"

#include <algorithm>
#include <array>

#include "engine/arbiter/share_out.h"

namespace acma::arbiter {

namespace {

Bytes promised(const Guest& guest) {
    return std::max(guest.grant, guest.holds);
}

// It gives nothing more, and could do with less.
bool is_stuck(const Guest& guest) {
    return !guest.fixed && guest.stuck_at && *guest.stuck_at > guest.grant;
}

// What it should have before anybody has something that he does not use.
Bytes needed(const Guest& guest) {
    if (!guest.needs) {
        return std::clamp(guest.grant, guest.min, guest.max);
    }
    const Bytes more =
        guest.needs->pressed ? std::max(k_pressed_more, guest.needs->used) : Bytes(0);
    return std::clamp(guest.needs->used + more, guest.min, guest.max);
}

// A guest that stalls needs all of it.
Bytes active(const Guest& guest) {
    if (!guest.needs || guest.needs->pressed) {
        return needed(guest);
    }
    return std::clamp(guest.needs->active, guest.min, guest.max);
}

// The same in an emergency: what it stalls for is not there.
Bytes accessed(const Guest& guest) {
    return guest.needs
               ? std::clamp(std::min(guest.needs->active, guest.needs->used), guest.min, guest.max)
               : needed(guest);
}

// A guest that takes more than its part by shares has some of what nobody needs before the others:
// it would call the host for each MiB.
Bytes with_headroom(const Guest& guest) {
    const Bytes need = needed(guest);
    return guest.needs ? std::min(need + need / k_headroom_part, guest.max) : need;
}

// Splits the pool by levels; each is filled before the next begins.
class FairShares {
  public:
    FairShares(const std::vector<Guest>& guests, Bytes pool) : guests_(guests), pool_(pool) {
        for (const Guest& guest : guests) {
            fair_.push_back(guest.fixed ? guest.grant : Bytes(0));
            settled_.push_back(guest.fixed);
        }
    }

    // Where not all of a level is there, what it adds is split by shares; `even`: what everybody
    // has with it.
    void fill(Bytes (*level)(const Guest&), bool even = false) {
        std::vector<Claim> claims;
        for (size_t i = 0; i < guests_.size(); ++i) {
            const Bytes wants = settled_[i] ? Bytes(0) : level(guests_[i]) - fair_[i];
            claims.push_back({wants, guests_[i].shares, even ? fair_[i] : Bytes(0)});
        }
        const std::vector<Bytes> parts = share_out(pool_, claims);
        for (size_t i = 0; i < parts.size(); ++i) {
            fair_[i] += parts[i];
            pool_ -= parts[i];
        }
    }
    // Guaranteed, whether it is there or not; what is lacking.
    Bytes guarantee() {
        Bytes sum;
        for (size_t i = 0; i < guests_.size(); ++i) {
            if (!guests_[i].fixed) {
                fair_[i] = guests_[i].min;
                sum += fair_[i];
            }
        }
        const Bytes lacking = sum - pool_;
        pool_ -= sum;
        return lacking;
    }
    // It has what it stands at, whatever it should have: the others have to do with the rest.
    void leave(size_t stuck) {
        const Bytes more = *guests_[stuck].stuck_at - fair_[stuck];
        fair_[stuck] += more;
        pool_ -= more;
        settled_[stuck] = true;
    }
    void keep_free() { pool_ -= pool_ / k_kept_free_part; }
    // What each should come to, inside its bounds.
    [[nodiscard]] Bytes fair(size_t i) const {
        const Guest& guest = guests_[i];
        return std::clamp(fair_[i], std::min(guest.min, guest.max), guest.max);
    }

  private:
    const std::vector<Guest>& guests_;
    Bytes pool_;
    std::vector<Bytes> fair_;
    std::vector<bool> settled_;
};

struct Plan {
    std::vector<Bytes> fair;
    std::vector<bool> stuck;  // so planned
    Bytes lacking;
};

Plan plan_with(const Host& host, const std::vector<Guest>& guests, std::vector<bool> stuck) {
    Bytes pool = host.budget - host.reserved;
    Plan plan;
    for (const Guest& guest : guests) {
        const Bytes fixed = guest.own + (guest.fixed ? promised(guest) : Bytes(0));
        plan.lacking += fixed - pool;
        pool -= fixed;
    }
    FairShares shares(guests, pool);
    plan.lacking += shares.guarantee();
    for (size_t i = 0; i < guests.size(); ++i) {
        if (stuck[i]) {
            shares.leave(i);
        }
    }
    const bool emergency = host.strain == Strain::emergency;
    shares.fill(emergency ? accessed : active);
    if (!emergency) {
        shares.fill(needed);
    }
    if (host.strain == Strain::none) {
        shares.keep_free();
        shares.fill(with_headroom);
        shares.fill([](const Guest& guest) { return guest.max; }, true);
    }
    for (size_t i = 0; i < guests.size(); ++i) {
        plan.fair.push_back(shares.fair(i));
    }
    plan.stuck = std::move(stuck);
    return plan;
}

// What a stuck guest does not give the others have to: it is planned with where it stands. But
// where it should have more than that, nothing keeps it from growing.
Plan plan_of(const Host& host, const std::vector<Guest>& guests) {
    std::vector<bool> stuck(guests.size());
    for (;;) {
        Plan plan = plan_with(host, guests, stuck);
        for (size_t i = 0; i < guests.size(); ++i) {
            stuck[i] = stuck[i] || (is_stuck(guests[i]) && plan.fair[i] <= *guests[i].stuck_at);
        }
        if (stuck == plan.stuck) {
            return plan;
        }
    }
}

// What is promised now.
struct Promises {
    Bytes pool;     // of the budget, what is not reserved
    Bytes taken;    // by promises in force, of everybody
    Bytes granted;  // the same once everybody has followed
    bool others_wait = false;

    [[nodiscard]] bool too_much() const { return taken > pool; }
    // What a guest holds already costs nothing, unless more is held than there is: a balloon that
    // is stuck may count for all RAM, and a grant must not grow into what is only feared.
    [[nodiscard]] Bytes costs_nothing(const Guest& guest) const {
        return too_much() ? guest.grant : promised(guest);
    }
};

bool is_inside(const Guest& guest) {
    return guest.min <= guest.grant && guest.grant <= guest.max;
}

// It keeps what it has: that is so near to what it should come to. What is granted beyond the
// budget is given up, however little it is, and all but a few MiB of what others wait for: a small
// part of what one has can be all that another lacks. Where a guest only lags behind its grant, a
// few MiB less for the others would not help.
bool keeps(const Guest& guest, Bytes fair, const Promises& promises) {
    if (!is_inside(guest)) {
        return false;
    }
    const Bytes still = std::max(k_still, guest.grant / k_still_part);
    if (fair < guest.grant) {
        return promises.granted <= promises.pool &&
               guest.grant - fair < (promises.others_wait ? k_still : still);
    }
    return fair == guest.grant || (fair != guest.max && fair - guest.grant < still);
}

Promises promises_of(const Host& host, const std::vector<Guest>& guests,
                     const std::vector<Bytes>& fair) {
    Promises promises{.pool = host.budget - host.reserved};
    for (const Guest& guest : guests) {
        const Bytes stays = is_stuck(guest) ? *guest.stuck_at : guest.grant;
        promises.taken += guest.own + promised(guest);
        promises.granted += guest.own + (guest.fixed ? promised(guest) : stays);
    }
    Bytes wanted;
    for (size_t i = 0; i < guests.size() && host.strain != Strain::emergency; ++i) {
        const Guest& guest = guests[i];
        if (!guest.fixed && fair[i] > guest.grant && !keeps(guest, fair[i], promises)) {
            wanted += fair[i] - promises.costs_nothing(guest);
        }
    }
    promises.others_wait = wanted > promises.pool - promises.taken;
    return promises;
}

// Down: a step, and at once all that is not used.
Grant shrunk(const Guest& guest, Bytes fair, Strain strain) {
    const Bytes in_use = std::clamp(needed(guest), fair, guest.grant);
    const Bytes step = std::max(k_squeeze_least, guest.grant / k_squeeze_part);
    const Bytes size = std::max({fair, std::min(in_use, guest.grant - step), guest.min});
    const Why free = strain == Strain::none ? Why::unused : Why::strained;
    const Why used = strain == Strain::emergency ? Why::emergency : Why::others;
    return {.size = size, .fair = fair, .why = size < in_use ? used : free};
}

// No more of what is used comes back at once than helps: first from whoever has the most, for his
// shares, that he does not access.
void take_in_order(const std::vector<Guest>& guests, Bytes short_of, std::vector<Grant>& grants) {
    std::vector<size_t> order;
    for (size_t i = 0; i < guests.size(); ++i) {
        if (grants[i].why == Why::emergency) {
            order.push_back(i);
        }
    }
    const auto idle_per_share = [&](size_t i) {
        return (guests[i].grant - grants[i].fair) / std::max<uint64_t>(guests[i].shares, 1);
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return idle_per_share(a) > idle_per_share(b); });
    for (const size_t i : order) {
        if (short_of == Bytes(0)) {
            grants[i] = {guests[i].grant, grants[i].fair, Why::keeps};
        }
        short_of -= guests[i].grant - grants[i].size;
    }
}

Why why_up(const Guest& guest, Bytes size) {
    if (guest.needs && guest.needs->pressed) {
        return Why::pressed;
    }
    return size > needed(guest) ? Why::spare : Why::needs;
}

// Whoever waits gets of what is promised to nobody now, those first who stall or lack what they are
// guaranteed. What is left.
Bytes grow(const Host& host, const std::vector<Guest>& guests, const Promises& promises,
           std::vector<Grant>& grants) {
    std::vector<Claim> urgent(guests.size());
    std::vector<Claim> others(guests.size());
    for (size_t i = 0; i < guests.size(); ++i) {
        const Guest& guest = guests[i];
        const bool guaranteed = guest.grant < guest.min;
        // In an emergency it would be taken from the host.
        if (grants[i].why == Why::waits && (guaranteed || host.strain != Strain::emergency)) {
            const bool first = guaranteed || (guest.needs && guest.needs->pressed);
            (first ? urgent : others)[i] = {grants[i].fair - promises.costs_nothing(guest),
                                            guest.shares};
        }
    }
    Bytes free = promises.pool - promises.taken;
    for (const auto* claims : {&urgent, &others}) {
        const std::vector<Bytes> parts = share_out(free, *claims);
        for (size_t i = 0; i < parts.size(); ++i) {
            Grant& grant = grants[i];
            const Guest& guest = guests[i];
            if (grant.why != Why::waits || (*claims)[i].shares == 0) {
                continue;
            }
            const Bytes size = std::min(promises.costs_nothing(guest), grant.fair) + parts[i];
            free -= parts[i];
            if (size > guest.grant) {
                grant.size = size;
                grant.why = why_up(guest, size);
            }
        }
    }
    return free;
}

}  // namespace

std::string_view to_string(Why why) {
    constexpr std::array<std::string_view, 11> k_words{"keeps",    "fixed",     "needs",  "pressed",
                                                       "spare",    "waits",     "others", "unused",
                                                       "strained", "emergency", "stuck"};
    return k_words.at(static_cast<size_t>(why));
}

Decision arbitrate(const Host& host, const std::vector<Guest>& guests) {
    const Plan plan = plan_of(host, guests);
    const Promises promises = promises_of(host, guests, plan.fair);
    Decision decision{.lacking = plan.lacking};
    // First whoever has to give up something; it counts for others once it has come back.
    for (size_t i = 0; i < guests.size(); ++i) {
        const Guest& guest = guests[i];
        const Bytes fair = plan.fair[i];
        if (guest.fixed) {
            decision.grants.push_back({guest.grant, guest.grant, Why::fixed});
        } else if (plan.stuck[i] && is_inside(guest)) {
            decision.grants.push_back({guest.grant, fair, Why::stuck});  // it is asked on
        } else if (keeps(guest, fair, promises)) {
            decision.grants.push_back({guest.grant, fair, Why::keeps});
        } else if (fair < guest.grant) {
            decision.grants.push_back(shrunk(guest, fair, host.strain));
        } else {
            decision.grants.push_back({guest.grant, fair, Why::waits});
        }
    }
    if (host.strain == Strain::emergency && !promises.too_much()) {
        take_in_order(guests, host.short_of, decision.grants);
    }
    decision.free = grow(host, guests, promises, decision.grants);
    decision.missing = promises.taken - promises.pool;
    return decision;
}

}  // namespace acma::arbiter
