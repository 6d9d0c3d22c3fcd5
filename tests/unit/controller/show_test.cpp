// SPDX-License-Identifier: Apache-2.0
// What operators and Prometheus get to see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/acmactl/render.h"
#include "host-controller/metrics/metrics.h"

namespace acma {
namespace {

using testing::HasSubstr;
using testing::Not;

proto::VmList sample() {
    proto::VmSummary vm;
    vm.name = "web";
    vm.uuid = "u1";
    vm.id = 3;
    vm.state = proto::VmState::managed;
    vm.policy = Policy{512_MiB, 2_GiB, 10_bp, 1000, Mode::automatic};
    vm.policy_source = "metadata";
    vm.ram = 4_GiB;
    vm.balloon_target = 2_GiB;
    vm.balloon_actual = 2_GiB + 512_MiB;
    vm.host = 1_GiB;
    vm.host_swap = 10_MiB;
    vm.qemu_own = 100_MiB;
    vm.agent_connected = true;
    vm.agent_state = AgentState::settled;
    vm.psi = 5_bp;
    vm.last_reason = "max-mem is 2 GiB";
    proto::VmSummary small;
    small.name = "idle";
    small.uuid = "u2";
    small.marks = {{"silent", "no agent"}, {"stale", "old"}};
    proto::VmList list;
    list.controller_version = "1.2";
    list.host.mem_total = 16_GiB;
    list.host.psi = 33_bp;
    list.host.libvirt_connected = true;
    list.vms = {small, vm};
    return list;
}

TEST(Render, ListsInColumns) {
    const std::string text = ctl::render_list(sample());
    EXPECT_THAT(text, HasSubstr("NAME"));
    EXPECT_THAT(text, HasSubstr("web   512 MiB  2 GiB"));
    EXPECT_THAT(text, HasSubstr("silent,stale"));
    EXPECT_THAT(text, HasSubstr("settled"));
    EXPECT_THAT(text, Not(HasSubstr(" \n"))) << "no blanks at line ends";
}

TEST(Render, ListsNothingWithAHeaderOnly) {
    const std::string text = ctl::render_list({.host = {.libvirt_connected = true}});
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
    EXPECT_THAT(ctl::render_list({}), HasSubstr("libvirt is not connected"));
    EXPECT_THAT(ctl::render_list({.host = {.budget = 3_GiB, .lacking = 1_GiB}}),
                HasSubstr("beyond the budget of 3 GiB: 1 GiB; lower min-mem"));
}

TEST(Render, WritesPlainLinesForLogs) {
    EXPECT_THAT(ctl::render_plain(sample(), Seconds(1'795'000'000)),
                HasSubstr("2026-11-18T11:06:40Z web host_bytes=1073741824 target_bytes=2147483648 "
                          "actual_bytes=2684354560 psi_bp=5 state=managed marks=-\n"));
}

TEST(Render, ShowsEverythingAboutOneVm) {
    proto::VmDetail detail{sample().vms[1], {}};
    detail.agent.connected = true;
    detail.agent.version = "0.1.0";
    detail.agent.age = Millis(300);
    detail.agent.status = AgentStatus{};
    detail.agent.status->problems = {{"no-swap", "there is no swap"}};
    detail.statistics = proto::VmStatistics{
        .age = Seconds(1), .usable = 3_GiB, .decision = "shrinks", .reason = "it can"};
    const std::string text = ctl::render_detail(detail);
    EXPECT_THAT(text, HasSubstr("balloon driver    shrinks: it can"));
    EXPECT_THAT(text, HasSubstr("free -, usable 3 GiB"));
    for (const char* part :
         {"policy source     metadata", "host bytes        1 GiB, of it swapped 10 MiB",
          "300 ms ago", "no-swap: there is no swap", "last reason       max-mem is 2 GiB"}) {
        EXPECT_THAT(text, HasSubstr(part));
    }
}

TEST(Render, ExplainsInSentencesWithTimes) {
    const proto::Explanation why{"web", "u1", {{Seconds(0), "shrink", "because", {}}}};
    EXPECT_EQ(ctl::render_explanation(why), "1970-01-01T00:00:00Z  shrink: because\n");
    EXPECT_EQ(ctl::render_explanation({}), "nothing was decided yet\n");
}

TEST(Render, ShowsTheNumbersOfADecision) {
    const proto::Explanation why{
        "web",
        "u1",
        {{Seconds(0), "shrink", "because", {{"to_bytes", 1536UL << 20U}, {"psi_bp", 12}}}}};
    EXPECT_EQ(ctl::render_explanation(why),
              "1970-01-01T00:00:00Z  shrink: because (psi_bp 12, to 1.5 GiB)\n");
}

proto::UsageReport usage() {
    return {Seconds(1'793'491'200),
            Seconds(1'796'083'200),
            {{"web", "u1", 3'686'400 * 5 + 1'843'200 + 1844, 1, Seconds(360'000), Micros(400'000)},
             {"a \"b\"", "u2", 0, 0, Micros(0), Seconds(3661)}},
            std::nullopt};
}

TEST(Render, TellsUsageInGibHours) {
    EXPECT_EQ(ctl::render_usage(usage()),
              "usage from 2026-11-01T00:00:00Z until 2026-12-01T00:00:00Z\n"
              "NAME   GIB-HOURS  ABOVE-MIN   MEASURED  MISSING  UUID\n"
              "web        5.501      0.000  100:00:00  0:00:00  u1\n"
              "a \"b\"      0.000      0.000    0:00:00  1:01:01  u2\n"
              "(all)      5.501      0.000  100:00:00  1:01:01\n");
}

TEST(Render, TellsUsageAsCsv) {
    EXPECT_EQ(ctl::render_usage_csv(usage()),
              "name,uuid,since,until,used_gib_hours,above_min_gib_hours,used_mib_seconds,"
              "above_min_mib_seconds,measured_s,missing_s\r\n"
              "\"web\",\"u1\",2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,5.501,0.000,20277044,1,"
              "360000,0\r\n"
              "\"a \"\"b\"\"\",\"u2\",2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,0.000,0.000,0,0,"
              "0,3661\r\n");
}

TEST(Render, LetsNoGuestPlayTricksOnTheTerminal) {
    proto::VmDetail detail;
    detail.vm.name = "a\x1b[2J";
    detail.agent.connected = true;
    detail.agent.version = "\x1b]0;owned\x07";
    EXPECT_THAT(ctl::render_detail(detail), Not(HasSubstr("\x1b")));
    EXPECT_EQ(ctl::printable("a\tb\x7f"), "a?b?");
}

TEST(Metrics, HaveLibvirtExportersLabelsAndBaseUnits) {
    host::Figures figures{sample(), {{"u1", 7}}};
    for (const int64_t us : {1, 64, 65, 128, 129, 9'000'000}) {
        figures.timings.cycle.add(Micros(us));
    }
    const std::string text = host::metrics_text(figures);
    for (const char* line : {
             "acma_build_info{version=\"1.2\"} 1",
             "acma_domain_memory_min_bytes{domain=\"web\",uuid=\"u1\"} 536870912",
             "acma_domain_memory_max_bytes{domain=\"web\",uuid=\"u1\"} 2147483648",
             "acma_domain_memory_target_bytes{domain=\"web\",uuid=\"u1\"} 2147483648",
             "acma_domain_memory_actual_bytes{domain=\"web\",uuid=\"u1\"} 2684354560",
             "acma_domain_memory_host_bytes{domain=\"web\",uuid=\"u1\"} 1073741824",
             "acma_domain_host_swap_bytes{domain=\"web\",uuid=\"u1\"} 10485760",
             "acma_domain_psi_bp{domain=\"web\",uuid=\"u1\"} 5",
             "acma_domain_psi_target_bp{domain=\"web\",uuid=\"u1\"} 10",
             "acma_domain_agent_up{domain=\"web\",uuid=\"u1\"} 1",
             "acma_domain_agent_up{domain=\"idle\",uuid=\"u2\"} 0",
             "acma_domain_marked{domain=\"idle\",uuid=\"u2\",mark=\"silent\"} 1",
             "acma_domain_decisions_total{domain=\"web\",uuid=\"u1\"} 7",
             "acma_host_psi_bp 33",
             "acma_controller_cycle_seconds_count 6",
             "acma_controller_cycle_seconds_bucket{le=\"6.4e-05\"} 2",
             "acma_controller_cycle_seconds_bucket{le=\"0.000128\"} 4",
             "acma_controller_cycle_seconds_bucket{le=\"0.00016\"} 5",
             "acma_controller_cycle_seconds_bucket{le=\"3.670016\"} 5",
             "acma_controller_cycle_seconds_bucket{le=\"+Inf\"} 6",
             "acma_libvirt_up 1",
             "acma_usage_database_up 1",
             "acma_host_memory_lacking_bytes 0",
         }) {
        EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
    }
    EXPECT_THAT(text, Not(HasSubstr("acma_domain_psi_bp{domain=\"idle\"")));
    EXPECT_THAT(text, Not(HasSubstr("acma_domain_memory_min_bytes{domain=\"idle\"")));
}

TEST(Metrics, LeaveOutWhatAnAgentSaidThatIsGoneOrStandsStill) {
    const auto has_psi = [](bool connected, const std::vector<proto::Mark>& marks) {
        proto::VmList list = sample();
        list.vms[1].agent_connected = connected;
        list.vms[1].marks = marks;
        return host::metrics_text({list, {}}).find("acma_domain_psi_bp{") != std::string::npos;
    };
    EXPECT_TRUE(has_psi(true, {{"not-returned", "x"}}));
    EXPECT_FALSE(has_psi(true, {{"stale", "x"}}));
    EXPECT_FALSE(has_psi(false, {{"silent", "x"}}));
}

TEST(Metrics, EscapeWhateverAnOperatorCallsADomain) {
    proto::VmList list = sample();
    list.vms[1].name = "a\"b\\c\nd";
    EXPECT_THAT(host::metrics_text({list, {}}), HasSubstr(R"(domain="a\"b\\c\nd")"));
}

}  // namespace
}  // namespace acma
