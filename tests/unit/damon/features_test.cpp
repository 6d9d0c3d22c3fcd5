// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/features.h"

#include <gtest/gtest.h>

#include "tests/unit/damon/captured.h"

namespace acma::damon::test {

TEST(Features, AreAllFoundOn73) {
    EXPECT_EQ(features_of(captured("7.3")), Features::all());
}

TEST(Features, AreNoneOn612) {
    EXPECT_EQ(features_of(captured("6.12")), Features{});
    EXPECT_TRUE(features_of(captured("6.12")).names().empty());
}

TEST(Features, EveryRowOfTheTableIsAtTheIndexOfItsFeature) {
    ASSERT_EQ(feature_table().size(), k_nr_features);
    for (size_t i = 0; i < k_nr_features; i++) {
        EXPECT_EQ(static_cast<size_t>(feature_table()[i].feature), i);
        EXPECT_FALSE(feature_table()[i].name.empty());
        EXPECT_FALSE(feature_table()[i].since.empty());
    }
    EXPECT_EQ(Features::all().names().size(), k_nr_features);
}

TEST(Features, AreNotGuessedFromATreeThatWasNotStaged) {
    const Result<Features> features = detect({{"kdamonds/nr_kdamonds", "0"}}, {});
    ASSERT_FALSE(features.ok());
    EXPECT_EQ(features.error().code, ErrorCode::invalid);
    EXPECT_EQ(features.error().message,
              "kdamonds/0/contexts/0/schemes/0/action is missing: the tree was not staged, or this "
              "kernel is older than 6.12");
}

TEST(Features, OfAKernelWithoutDamonAreAnErrorThatSaysSo) {
    const Result<Features> features = detect({}, {});
    ASSERT_FALSE(features.ok());
    EXPECT_EQ(features.error().code, ErrorCode::not_found);
}

}  // namespace acma::damon::test
