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

// Splits the pool by levels; each is filled before the next begins.
class FairShares {
  public:
    FairShares(const std::vector<Guest>& guests, Bytes pool) : guests_(guests), pool_(pool) {
        for (const Guest& guest : guests) {
            fair_.push_back(guest.fixed ? guest.grant : Bytes(0));
        }
    }

    void fill(Bytes (*level)(const Guest&)) {
        std::vector<Claim> claims;
        for (size_t i = 0; i < guests_.size(); ++i) {
            const Bytes wants = guests_[i].fixed ? Bytes(0) : level(guests_[i]) - fair_[i];
            claims.push_back({wants, guests_[i].shares});
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
    void keep_free() { pool_ -= pool_ / k_kept_free_part; }
    [[nodiscard]] const std::vector<Bytes>& fair() const { return fair_; }

  private:
    const std::vector<Guest>& guests_;
    Bytes pool_;
    std::vector<Bytes> fair_;
};

bool near(Bytes a, Bytes b) {
    const Bytes apart = a > b ? a - b : b - a;
    return apart < std::max(k_still, b / k_still_part);
}

// Down: at once what is not used, the rest in steps.
Grant shrunk(const Guest& guest, Bytes fair, Strain strain) {
    const Bytes in_use = std::clamp(needed(guest), fair, guest.grant);
    const Bytes step = std::max(k_squeeze_least, guest.grant / k_squeeze_part);
    const Bytes size =
        std::max({fair, in_use < guest.grant ? in_use : guest.grant - step, guest.min});
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

}  // namespace

std::string_view to_string(Why why) {
    constexpr std::array<std::string_view, 10> k_words{"keeps",    "fixed",    "needs",  "pressed",
                                                       "spare",    "waits",    "others", "unused",
                                                       "strained", "emergency"};
    return k_words.at(static_cast<size_t>(why));
}

Decision arbitrate(const Host& host, const std::vector<Guest>& guests) {
    Bytes pool = host.budget - host.reserved;
    Bytes taken;    // by promises in force, of everybody
    Bytes granted;  // the same once everybody has followed
    Bytes beyond_pool;
    for (const Guest& guest : guests) {
        const Bytes fixed = guest.own + (guest.fixed ? promised(guest) : Bytes(0));
        beyond_pool += fixed - pool;
        pool -= fixed;
        taken += guest.own + promised(guest);
        granted += guest.own + (guest.fixed ? promised(guest) : guest.grant);
    }
    FairShares shares(guests, pool);
    Decision decision{.lacking = shares.guarantee() + beyond_pool};
    const bool emergency = host.strain == Strain::emergency;
    shares.fill(emergency ? accessed : active);
    if (!emergency) {
        shares.fill(needed);
    }
    if (host.strain == Strain::none) {
        shares.keep_free();
        shares.fill([](const Guest& guest) { return guest.max; });
    }

    // What a guest holds already costs nothing, unless more is held than there is: a balloon that
    // is stuck may count for all RAM, and a grant must not grow into what is only feared.
    const bool beyond = taken > host.budget - host.reserved;
    const bool over_granted = granted > host.budget - host.reserved;
    const auto costs_nothing = [beyond](const Guest& guest) {
        return beyond ? guest.grant : promised(guest);
    };

    // First whoever has to give up something; it counts for others once it has come back.
    std::vector<Claim> urgent(guests.size());
    std::vector<Claim> others(guests.size());
    for (size_t i = 0; i < guests.size(); ++i) {
        const Guest& guest = guests[i];
        const Bytes fair = std::clamp(shares.fair()[i], std::min(guest.min, guest.max), guest.max);
        // What is granted beyond the budget is given up, however little it is. Where a guest only
        // lags behind its grant, a few MiB less for the others would not help.
        const bool inside = guest.min <= guest.grant && guest.grant <= guest.max &&
                            !(over_granted && fair < guest.grant);
        if (guest.fixed) {
            decision.grants.push_back({guest.grant, guest.grant, Why::fixed});
        } else if (inside &&
                   (fair == guest.grant || (fair != guest.max && near(fair, guest.grant)))) {
            decision.grants.push_back({guest.grant, fair, Why::keeps});
        } else if (fair < guest.grant) {
            decision.grants.push_back(shrunk(guest, fair, host.strain));
        } else {
            decision.grants.push_back({guest.grant, fair, Why::waits});
            const bool guaranteed = guest.grant < guest.min;
            const bool first = guaranteed || (guest.needs && guest.needs->pressed);
            if (emergency && !guaranteed) {
                continue;  // it would be taken from the host
            }
            (first ? urgent : others)[i] = {fair - costs_nothing(guest), guest.shares};
        }
    }
    if (emergency && !beyond) {
        take_in_order(guests, host.short_of, decision.grants);
    }
    // Then whoever may have more, of what is promised to nobody now.
    Bytes free = host.budget - host.reserved - taken;
    for (const auto* claims : {&urgent, &others}) {
        const std::vector<Bytes> parts = share_out(free, *claims);
        for (size_t i = 0; i < parts.size(); ++i) {
            Grant& grant = decision.grants[i];
            const Guest& guest = guests[i];
            if (grant.why != Why::waits || (*claims)[i].shares == 0) {
                continue;
            }
            const Bytes size = std::min(costs_nothing(guest), grant.fair) + parts[i];
            free -= parts[i];
            if (size > guest.grant) {
                grant.size = size;
                grant.why = why_up(guest, size);
            }
        }
    }
    decision.free = free;
    decision.missing = taken - (host.budget - host.reserved);
    return decision;
}

}  // namespace acma::arbiter
