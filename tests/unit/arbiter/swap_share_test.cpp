// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/swap_share.h"

#include <numeric>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace acma::arbiter {
namespace {

TEST(SwapShare, OneAloneHasMostOfIt) {
    EXPECT_EQ(share_swap(512_MiB, {{1000, true}}), std::vector{512_MiB});
    const auto shares = share_swap(512_MiB, {{1000, true}, {1000, false}});
    EXPECT_EQ(shares[0], 256_MiB);
    EXPECT_EQ(shares[1], 64_MiB);
}

TEST(SwapShare, GoesByShares) {
    const auto shares = share_swap(512_MiB, {{3000, true}, {1000, true}});
    EXPECT_EQ(shares[0], 256_MiB);
    EXPECT_EQ(shares[1], 128_MiB);
}

TEST(SwapShare, NobodyGetsNothing) {
    const auto shares = share_swap(8_MiB, std::vector<SwapUser>(100, {1000, true}));
    for (const Bytes share : shares) {
        EXPECT_EQ(share, k_least_swap_share);
    }
    EXPECT_TRUE(share_swap(512_MiB, {}).empty());
}

RC_GTEST_PROP(SwapShare, TogetherAtMostTheLimit, ()) {
    std::vector<SwapUser> users;
    for (int i = *rc::gen::inRange(1, 100); i > 0; --i) {
        users.push_back({*rc::gen::inRange<uint64_t>(1, 5000), *rc::gen::arbitrary<bool>()});
    }
    const Bytes limit = 1_MiB * *rc::gen::inRange<uint64_t>(0, 4096);
    const auto shares = share_swap(limit, users);
    const Bytes sum = std::accumulate(shares.begin(), shares.end(), Bytes(0),
                                      [](Bytes a, Bytes b) { return a + b; });
    RC_ASSERT(sum <= limit + k_least_swap_share * users.size());
}

}  // namespace
}  // namespace acma::arbiter
