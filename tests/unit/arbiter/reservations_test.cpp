// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/reservations.h"

#include <gtest/gtest.h>

namespace acma::arbiter {
namespace {

constexpr Time k_now{Seconds(100)};

TEST(Reservations, AreUsedUpByTheStartOfTheirDomainAlone) {
    Reservations kept;
    ASSERT_TRUE(kept.add(2_GiB, "web", Seconds(60), k_now));
    ASSERT_TRUE(kept.add(1_GiB, "", Seconds(60), k_now));
    EXPECT_FALSE(kept.use("db", "uuid-db"));
    EXPECT_EQ(kept.total(), 3_GiB);
    EXPECT_EQ(kept.use("other", "web")->size, 2_GiB) << "by its UUID";
    EXPECT_FALSE(kept.use("other", "web")) << "once only";
    EXPECT_FALSE(kept.use("", "")) << "nobody's";
    EXPECT_EQ(kept.total(), 1_GiB);
}

TEST(Reservations, EndUnusedOrAreGivenUp) {
    Reservations kept;
    const uint64_t first = kept.add(2_GiB, "", Seconds(60), k_now)->id;
    const uint64_t second = kept.add(1_GiB, "", Seconds(10), k_now)->id;
    EXPECT_TRUE(kept.end(k_now + Seconds(9)).empty());
    const auto ended = kept.end(k_now + Seconds(10));
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].id, second);
    EXPECT_EQ(kept.give_up(second).error().code, ErrorCode::not_found);
    EXPECT_EQ(kept.give_up(first)->size, 2_GiB);
    EXPECT_EQ(kept.total(), Bytes(0));
    EXPECT_GT(kept.add(1_GiB, "", Seconds(10), k_now)->id, second) << "a number is not used again";
}

TEST(Reservations, RefusesWhatMakesNoSense) {
    Reservations kept;
    EXPECT_EQ(kept.add(Bytes(0), "", Seconds(60), k_now).error().code, ErrorCode::invalid);
    EXPECT_EQ(kept.add(1_GiB, "", Seconds(0), k_now).error().code, ErrorCode::invalid);
    EXPECT_EQ(kept.add(1_GiB, "", Seconds(86'401), k_now).error().code, ErrorCode::invalid);
    ASSERT_TRUE(kept.add(1_GiB, "web", Seconds(60), k_now));
    EXPECT_EQ(kept.add(1_GiB, "web", Seconds(60), k_now).error().code, ErrorCode::busy);
    while (kept.all().size() < Reservations::k_most) {
        ASSERT_TRUE(kept.add(1_GiB, "", Seconds(60), k_now));
    }
    EXPECT_EQ(kept.add(1_GiB, "", Seconds(60), k_now).error().code, ErrorCode::busy);
}

}  // namespace
}  // namespace acma::arbiter
