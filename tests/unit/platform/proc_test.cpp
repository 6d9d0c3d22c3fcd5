// SPDX-License-Identifier: Apache-2.0
#include "platform/proc.h"

#include <gtest/gtest.h>

namespace acma::platform {
namespace {

TEST(ParsePsi, ReadsTheTotalOfTheLineSome) {
    EXPECT_EQ(parse_psi_some_total("some avg10=0.12 avg60=0.00 avg300=0.00 total=10235\n"
                                   "full avg10=0.00 avg60=0.00 avg300=0.00 total=99\n")
                  .value(),
              Micros(10235));
}

TEST(ParsePsi, RefusesWhatIsNoPressureFile) {
    for (const auto* text :
         {"", "full avg10=0.00 avg60=0.00 avg300=0.00 total=99\n", "some avg10=0.00\n",
          "some total=\n", "some total=-5\n", "some total=18446744073709551615\n",
          "some total=99999999999999999999999\n"}) {
        EXPECT_FALSE(parse_psi_some_total(text).ok()) << text;
    }
}

TEST(ParseVmStat, TurnsPagesIntoBytesAndTellsLikeNamesApart) {
    const auto stat = parse_vmstat(
        "nr_free_pages 1\npswpin 3\npswpin_other 77\npswpout 5\nworkingset_refault_anon 7\n"
        "workingset_refault_file 9\noom_kill 2\noom_kill_x 9\n",
        4_KiB);
    EXPECT_EQ(stat.swap_in_total, 12_KiB);
    EXPECT_EQ(stat.swap_out_total, 20_KiB);
    EXPECT_EQ(stat.refault_anon_total, 28_KiB);
    EXPECT_EQ(stat.refault_file_total, 36_KiB);
    EXPECT_EQ(stat.oom_kills_total, 2U);
}

TEST(ParseVmStat, LeavesWhatIsMissingAtZero) {
    EXPECT_EQ(parse_vmstat("", 4_KiB), VmStat{});
    EXPECT_EQ(parse_vmstat("pswpin\npswpout abc\n", 4_KiB), VmStat{});
}

TEST(ParseVmStat, SaturatesInsteadOfWrapping) {
    EXPECT_EQ(parse_vmstat("pswpin 18446744073709551615\n", 4_KiB).swap_in_total, Bytes::max());
}

TEST(ParseMemInfo, ReadsKibibytes) {
    const auto info = parse_meminfo(
        "MemTotal:        2020452 kB\nMemFree:          725384 kB\nMemAvailable:     651200 kB\n"
        "SwapTotal:       2097148 kB\nSwapFree:        1886204 kB\n");
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->total, to_bytes(Kibibytes(2020452)));
    EXPECT_EQ(info->swap_free, to_bytes(Kibibytes(1886204)));
}

TEST(ParseZoneInfo, SumsUpTheZones) {
    const auto zones = parse_zoneinfo(
        "Node 0, zone      DMA\n  pages free     3840\n        boost    0\n        min      21\n"
        "        low      26\n        high     31\n        managed  3840\n        cma      0\n"
        "  pagesets\n    cpu: 0\n              count:    0\n              high:     7\n"
        "              low:      9\nNode 0, zone    DMA32\n  pages free     130000\n"
        "        low      3404\n        managed  497000\nNode 0, zone   Normal\n"
        "        low      0\n        managed  0\n",
        4_KiB);
    ASSERT_TRUE(zones.ok());
    EXPECT_EQ(zones->low_watermarks, 4_KiB * (26 + 3404));
    EXPECT_EQ(zones->managed, 4_KiB * (3840 + 497000));
    EXPECT_FALSE(parse_zoneinfo("", 4_KiB).ok());
}

TEST(ParseMemInfo, NeedsATotal) {
    EXPECT_FALSE(parse_meminfo("MemFree: 1 kB\n").ok());
    EXPECT_FALSE(parse_meminfo("").ok());
}

}  // namespace
}  // namespace acma::platform
