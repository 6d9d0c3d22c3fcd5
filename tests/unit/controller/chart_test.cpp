// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "host-controller/chart/charts.h"
#include "tests/fakes/fake_ports.h"

namespace acma::host {
namespace {

Time at(int64_t seconds) {
    return Time(Seconds(seconds));
}

ChartFigures seen(Bytes size, BasisPoints psi = 0_bp) {
    ChartFigures figures;
    figures.sizes[0] = size;
    figures.shares[0] = psi;
    return figures;
}

TEST(PackedSize, KeepsRoundSizes) {
    for (const Bytes exact : {0_MiB, 1_KiB, 1000_KiB, 512_MiB, 640_MiB, 1_GiB, 3_GiB, 1536_GiB}) {
        EXPECT_EQ(PackedSize(exact).unpack(), exact) << exact.count();
    }
}

RC_GTEST_PROP(PackedSizeProperty, IsWithinATwoThousandth, (uint64_t any)) {
    const Bytes size(any % (uint64_t{1} << 50U));
    const Bytes kept = *PackedSize(size).unpack();
    const Bytes error = size > kept ? size - kept : kept - size;
    RC_ASSERT(error <= size / 2048 + 1_KiB);
}

TEST(PackedSize, CutsWhatIsTooLargeAndKnowsWhatIsNotKnown) {
    EXPECT_EQ(PackedSize(std::nullopt).unpack(), std::nullopt);
    EXPECT_EQ(PackedSize().unpack(), std::nullopt);
    ASSERT_TRUE(PackedSize(Bytes::max()).unpack());
    EXPECT_GT(*PackedSize(Bytes::max()).unpack(), 1_GiB * 1024 * 1024);
}

TEST(Series, IsSmallEnoughForAThousandVms) {
    EXPECT_LE(sizeof(Series), 4200U);
}

TEST(Series, TellsMeansOfSizesAndTheHighestShareOfEachStep) {
    Series series;
    for (int64_t second = 100; second < 110; ++second) {
        series.add(seen(second < 105 ? 1_GiB : 3_GiB, BasisPoints(second == 102 ? 50 : 1)),
                   at(second));
    }
    const auto points = series.points(ChartRange::five_minutes);
    ASSERT_EQ(points.size(), 2U);
    EXPECT_EQ(points[0], (ChartPoint{at(105), seen(1_GiB, 50_bp)}));
    EXPECT_EQ(points[1], (ChartPoint{at(109), seen(3_GiB, 1_bp)})) << "not over, but told";
    const auto minute = series.points(ChartRange::hour);
    ASSERT_EQ(minute.size(), 1U);
    EXPECT_EQ(minute[0].figures, seen(2_GiB, 50_bp));
}

TEST(Series, KeepsEachRangeAsLongAsItIs) {
    Series series;
    for (int64_t second = 1; second <= 100'000; ++second) {
        series.add(seen(Bytes(static_cast<uint64_t>(second)) * 1024 * 1024), at(second));
    }
    for (const auto& [range, count] : {std::pair{ChartRange::five_minutes, 60U},
                                       {ChartRange::hour, 60U},
                                       {ChartRange::day, 144U}}) {
        const auto points = series.points(range);
        ASSERT_EQ(points.size(), count);
        for (size_t i = 1; i + 1 < points.size(); ++i) {
            EXPECT_EQ(points[i].until - points[i - 1].until, step_of(range));
        }
    }
}

TEST(Series, LeavesOutWhatWasNotSeen) {
    Series series;
    series.add(seen(1_GiB), at(0));
    series.add(seen(2_GiB), at(20));
    series.add({}, at(25));
    series.add(seen(3_GiB), at(30));
    const auto points = series.points(ChartRange::five_minutes);
    ASSERT_EQ(points.size(), 3U);
    EXPECT_EQ(points[1].until, at(25));
    EXPECT_EQ(points[1].figures.shares[1], std::nullopt);
    // A stall for longer than a round leaves nothing of what was there before.
    series.add(seen(4_GiB), at(3000));
    const auto after = series.points(ChartRange::five_minutes);
    ASSERT_EQ(after.size(), 1U);
    EXPECT_EQ(after[0].figures.sizes[0], 4_GiB);
    EXPECT_EQ(series.points(ChartRange::hour).size(), 2U);
}

RC_GTEST_PROP(SeriesProperty, TakesAnyGaps, (const std::vector<uint16_t>& gaps)) {
    Series series;
    Time now = at(1);
    for (const uint16_t gap : gaps) {
        now += Seconds(gap);
        series.add(seen(1_GiB), now);
    }
    for (const auto range : {ChartRange::five_minutes, ChartRange::hour, ChartRange::day}) {
        const auto points = series.points(range);
        RC_ASSERT(points.empty() == gaps.empty());
        for (size_t i = 1; i < points.size(); ++i) {
            RC_ASSERT(points[i - 1].until <= points[i].until);
            RC_ASSERT(*points[i].figures.sizes[0] == 1_GiB);
        }
        if (!points.empty()) {
            RC_ASSERT(points.back().until == now);
        }
    }
}

TEST(ChartRange, IsOneOfThree) {
    EXPECT_EQ(parse_chart_range("5m"), ChartRange::five_minutes);
    EXPECT_EQ(parse_chart_range("1h"), ChartRange::hour);
    EXPECT_EQ(parse_chart_range("24h"), ChartRange::day);
    for (const char* other : {"", "5", "1d", "5m ", "24H"}) {
        EXPECT_FALSE(parse_chart_range(other)) << other;
    }
}

// --- of VMs ---------------------------------------------------------------------------------

TEST(Charts, FollowTheVmsOfTheFleet) {
    fakes::FakeHypervisor hypervisor;
    fakes::FakeAgentLinks agents;
    fakes::FakeHostMemory host_memory;
    Fleet fleet{Fleet::Settings{}, Fleet::Outside{hypervisor, agents, host_memory,
                                                  [] {
                                                      return Now{at(100), Seconds(5000)};
                                                  },
                                                  [](bool, const std::string&) {}}};
    DomainFacts web;
    web.vm.uuid = "uuid-web";
    web.name = "web";
    web.ram = web.current = 4_GiB;
    web.has_balloon = true;
    web.policy = std::optional(Policy{512_MiB, 8_GiB});
    fleet.on_hypervisor(HypervisorUp{{web}});
    proto::HostSummary host;
    Charts charts;
    charts.observe(fleet.vms(), host, at(100));
    const Now now{at(102), Seconds(5002)};
    EXPECT_TRUE(charts.host(ChartRange::hour, now).empty()) << "nothing is known of the host";
    const auto points = charts.vm(web.vm, ChartRange::five_minutes, now);
    ASSERT_EQ(points.size(), 1U);
    EXPECT_EQ(points[0], (proto::VmPoint{.time = Seconds(5000),
                                         .min_mem = 512_MiB,
                                         .max_mem = 8_GiB,
                                         .grant = 4_GiB,
                                         .size = 4_GiB,
                                         .psi_target = 10_bp}));
    fleet.on_host_bytes(web.vm, HostBytes{1_GiB, 512_MiB, 0_MiB, 256_MiB});
    charts.observe(fleet.vms(), host, at(105));
    EXPECT_EQ(charts.vm(web.vm, ChartRange::five_minutes, now).at(1).host, 1536_MiB);
    host.mem_total = 16_GiB;
    host.budget = 15_GiB;
    charts.observe(fleet.vms(), host, at(106));
    EXPECT_EQ(charts.host(ChartRange::five_minutes, now).at(0).used, 1792_MiB);
    EXPECT_EQ(charts.host(ChartRange::five_minutes, now).at(0).granted, 4_GiB + 256_MiB);
    host.mem_available = 8_GiB;
    host.budget = 15_GiB;
    fleet.on_hypervisor(DomainGone{web.vm, "it ended"});
    charts.observe(fleet.vms(), host, at(190));
    EXPECT_TRUE(charts.vm(web.vm, ChartRange::five_minutes, now).empty()) << "gone with its VM";
    EXPECT_EQ(charts.host(ChartRange::hour, now).at(1), (proto::HostPoint{.time = Seconds(5090),
                                                                          .budget = 15_GiB,
                                                                          .granted = 0_MiB,
                                                                          .reserved = 0_MiB,
                                                                          .used = 0_MiB,
                                                                          .mem_available = 8_GiB,
                                                                          .psi = 0_bp}));
}

}  // namespace
}  // namespace acma::host
