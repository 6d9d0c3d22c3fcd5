// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/share_out.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace acma::arbiter {
namespace {

Bytes sum(const std::vector<Bytes>& parts) {
    Bytes all;
    for (const Bytes part : parts) {
        all += part;
    }
    return all;
}

TEST(ShareOut, GivesEachWhatHeWantsWhereThereIsEnough) {
    EXPECT_EQ(share_out(10_GiB, {{1_GiB, 1}, {2_GiB, 1000}}), (std::vector<Bytes>{1_GiB, 2_GiB}));
}

TEST(ShareOut, SplitsBySharesWhereThereIsNot) {
    EXPECT_EQ(share_out(4_GiB, {{9_GiB, 3000}, {9_GiB, 1000}}), (std::vector<Bytes>{3_GiB, 1_GiB}));
}

TEST(ShareOut, WhatOneDoesNotWantGoesToTheOthers) {
    EXPECT_EQ(share_out(4_GiB, {{9_GiB, 1}, {1_GiB, 1}, {9_GiB, 2}}),
              (std::vector<Bytes>{1_GiB, 1_GiB, 2_GiB}));
}

TEST(ShareOut, GivesNothingForNoShares) {
    EXPECT_EQ(share_out(4_GiB, {{1_GiB, 0}, {1_GiB, 1}}), (std::vector<Bytes>{0_MiB, 1_GiB}));
    EXPECT_TRUE(share_out(4_GiB, {}).empty());
}

TEST(ShareOut, EvensOutWhatEachHasInTheEnd) {
    EXPECT_EQ(share_out(4_GiB, {{9_GiB, 1, 1_GiB}, {9_GiB, 1, 2_GiB}, {9_GiB, 1, 5_GiB}}),
              (std::vector<Bytes>{2_GiB + 512_MiB, 1_GiB + 512_MiB, 0_MiB}));
    EXPECT_EQ(share_out(4_GiB, {{1_GiB, 1, 1_GiB}, {9_GiB, 2, 3_GiB}}),
              (std::vector<Bytes>{1_GiB, 3_GiB}));
}

RC_GTEST_PROP(ShareOut, GivesNobodyTooMuchAndLeavesNothingLying, ()) {
    std::vector<Claim> claims;
    Bytes wanted;
    for (int i = *rc::gen::inRange(1, 30); i > 0; --i) {
        claims.push_back({Bytes(*rc::gen::inRange<uint64_t>(0, 1ULL << 40)),
                          *rc::gen::inRange<uint64_t>(1, 1'000'001),
                          Bytes(*rc::gen::inRange<uint64_t>(0, 1ULL << 40))});
        wanted += claims.back().wants;
    }
    const Bytes amount(*rc::gen::inRange<uint64_t>(0, 1ULL << 44));
    const std::vector<Bytes> parts = share_out(amount, claims);
    for (size_t i = 0; i < parts.size(); ++i) {
        RC_ASSERT(parts[i] <= claims[i].wants);
    }
    RC_ASSERT(sum(parts) <= amount);
    RC_ASSERT(sum(parts) + Bytes(claims.size()) >= std::min(amount, wanted));
}

}  // namespace
}  // namespace acma::arbiter
