// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/share_out.h"

#include <algorithm>

namespace acma::arbiter {

namespace {
__extension__ using Wide = unsigned __int128;

// The level of memory per share at which somebody begins to get some, or has all that he wants.
struct Turn {
    size_t claim;
    Bytes at;  // for all his shares
    bool begins;
};
}  // namespace

// The level rises from turn to turn, until the amount is used up.
std::vector<Bytes> share_out(Bytes amount, const std::vector<Claim>& claims) {
    std::vector<Turn> turns;
    turns.reserve(claims.size() * 2);
    for (size_t i = 0; i < claims.size(); ++i) {
        if (claims[i].shares != 0 && claims[i].wants != Bytes(0)) {
            turns.push_back({i, claims[i].has, true});
            turns.push_back({i, claims[i].has + claims[i].wants, false});
        }
    }
    std::sort(turns.begin(), turns.end(), [&claims](const Turn& a, const Turn& b) {
        const Wide left = Wide{a.at.count()} * claims[b.claim].shares;
        const Wide right = Wide{b.at.count()} * claims[a.claim].shares;
        return left != right ? left < right : a.claim < b.claim;
    });
    std::vector<Bytes> parts(claims.size());
    std::vector<bool> rises(claims.size());
    uint64_t shares = 0;    // of those whose part rises with the level
    Bytes theirs = amount;  // what is left of it, and what they had
    for (const Turn& turn : turns) {
        const Claim& claim = claims[turn.claim];
        if (Wide{turn.at.count()} * shares > Wide{theirs.count()} * claim.shares) {
            break;
        }
        rises[turn.claim] = turn.begins;
        if (turn.begins) {
            shares += claim.shares;
            theirs += claim.has;
        } else {
            shares -= claim.shares;
            theirs -= claim.has + claim.wants;
            parts[turn.claim] = claim.wants;
        }
    }
    for (size_t i = 0; i < claims.size(); ++i) {
        if (rises[i]) {
            parts[i] = Bytes(detail::mul_div_saturating(theirs.count(), claims[i].shares, shares)) -
                       claims[i].has;
        }
    }
    return parts;
}

}  // namespace acma::arbiter
