// SPDX-License-Identifier: Apache-2.0
#include "engine/base/units.h"

#include <gtest/gtest.h>

namespace acma {
namespace {

TEST(Bytes, SaturatesInsteadOfWrapping) {
    EXPECT_EQ(Bytes::max() + 1_MiB, Bytes::max());
    EXPECT_EQ(1_MiB - 2_MiB, Bytes(0));
    EXPECT_EQ(Bytes::max() * 2, Bytes::max());
}

TEST(Ratio, SurvivesHugeNumbersAndZero) {
    EXPECT_EQ(ratio(Bytes::max(), Bytes::max()), 10000_bp);
    EXPECT_EQ(ratio(1_MiB, Bytes(0)), 0_bp);
    EXPECT_EQ(scale(Bytes::max(), 5000_bp).count(), Bytes::max().count() / 2);
}

TEST(Human, PrintsOneDecimalAtMost) {
    EXPECT_EQ(human(6_GiB), "6 GiB");
    EXPECT_EQ(human(1536_MiB), "1.5 GiB");
    EXPECT_EQ(human(Bytes(17)), "17 B");
    EXPECT_EQ(human(10_bp), "0.10 %");
    EXPECT_EQ(human(Micros(1'500'000)), "1.5 s");
}

}  // namespace
}  // namespace acma
