// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/reclaim.h"

#include <gtest/gtest.h>

namespace acma::damon::test {

namespace {

Kdamond make(const ReclaimSettings& settings) {
    return reclaim_kdamond({{Address(0x100000), Address(0x40000000)}}, Intervals{}, settings);
}

TEST(Reclaim, NoBytesMeansNothingAndNeverNoLimit) {
    ReclaimSettings settings;
    settings.bytes = Bytes(0);
    const Kdamond kdamond = make(settings);
    EXPECT_EQ(kdamond.contexts[0].schemes[k_reclaim_scheme].quota.bytes, k_no_bytes);
    EXPECT_EQ(make(ReclaimSettings{}).contexts[0].schemes[k_reclaim_scheme].quota.bytes,
              k_no_bytes);
}

TEST(Reclaim, PagesOutOnlyWhatWasNotAccessedForTheMinimumAge) {
    ReclaimSettings settings;
    settings.min_age = Micros(1'234'567);
    const AccessPattern pattern = make(settings).contexts[0].schemes[k_reclaim_scheme].pattern;
    EXPECT_EQ(pattern.nr_accesses.max, SampleCount(0));
    EXPECT_EQ(pattern.age.min, AggrIntervals(13));
}

TEST(Reclaim, ChargesInFullWhatIsStillBeingWritten) {
    const Quota quota = make(ReclaimSettings{}).contexts[0].schemes[k_reclaim_scheme].quota;
    EXPECT_EQ(quota.fail_charge_denom, 0U);
}

}  // namespace
}  // namespace acma::damon::test
