// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/strain.h"

#include <gtest/gtest.h>

namespace acma::arbiter {
namespace {

class StrainTest : public testing::Test {
  protected:
    // For `seconds`, of each of which the host stalls so long and swaps out so much.
    Strain run(int seconds, Bytes available, Micros stalls = Micros(0), Bytes swaps = Bytes(0)) {
        Strain strain = Strain::none;
        for (; seconds > 0; --seconds) {
            now += Seconds(1);
            psi += stalls;
            swapped += swaps;
            strain = watch.observe({available, 4_GiB, psi, swapped}, now);
        }
        return strain;
    }
    StrainWatch watch;
    Time now{Seconds(100)};
    Micros psi = Seconds(50);
    Bytes swapped = 7_GiB;
};

TEST_F(StrainTest, BeginsAtHalfOfTheReserveAndEndsAtThreeQuarters) {
    EXPECT_EQ(run(5, 2_GiB), Strain::none);
    EXPECT_EQ(watch.reason(), "");
    EXPECT_EQ(run(1, 2_GiB - 1_MiB), Strain::strained);
    EXPECT_EQ(watch.short_of(), 2_GiB + 1_MiB);
    EXPECT_EQ(run(5, 3_GiB - 1_MiB), Strain::strained);
    EXPECT_EQ(run(1, 3_GiB), Strain::none);
}

TEST_F(StrainTest, IsAnEmergencyWhereTheHostStallsToo) {
    (void)run(2, 1_GiB);
    EXPECT_EQ(run(3, 1_GiB, Millis(60)), Strain::emergency);
    EXPECT_NE(watch.reason().find("1 GiB are available of 4 GiB"), std::string::npos)
        << watch.reason();
    EXPECT_EQ(run(8, 1_GiB), Strain::emergency) << "not over at once";
    EXPECT_EQ(run(4, 1_GiB), Strain::strained);
}

TEST_F(StrainTest, IsAnEmergencyWhereTheHostSwaps) {
    (void)run(2, 1_GiB);
    EXPECT_EQ(run(3, 1_GiB, Micros(0), 10_MiB), Strain::emergency);
    EXPECT_EQ(run(20, 1_GiB, Micros(0), 1_MiB), Strain::strained) << "a page now and then";
}

TEST_F(StrainTest, PressureAloneIsNone) {
    EXPECT_EQ(run(10, 8_GiB, Millis(500), 100_MiB), Strain::none);
}

TEST_F(StrainTest, TheFirstSampleKnowsNoRate) {
    EXPECT_EQ(run(1, 1_GiB, Seconds(50), 50_GiB), Strain::strained);
}

}  // namespace
}  // namespace acma::arbiter
