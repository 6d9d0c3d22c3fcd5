// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace acma::simulation {
namespace {

using arbiter::Guest;
using arbiter::Record;
using arbiter::Why;

// Two VMs that may have 4 GiB each of 6: one works, one idles. Decided by the real arbiter, whose
// word is the next cycle's grant.
class Recorded {
  public:
    Recorded() {
        record_.wall = Seconds(1'000'000);
        record_.memory = 8_GiB;
        record_.available = 3_GiB;
        record_.host.budget = 6_GiB;
        add("busy", 3_GiB);
        add("idle", 600_MiB);
    }
    void add(const std::string& name, Bytes used) {
        Record::Vm vm{.name = name, .uuid = "uuid-" + name, .guest = {}, .grant = {}};
        vm.guest.min = 512_MiB;
        vm.guest.max = 4_GiB;
        vm.guest.shares = 1000;
        vm.guest.own = 64_MiB;
        vm.guest.grant = vm.guest.holds = 2_GiB;
        vm.guest.needs = arbiter::Needs{.active = used / 2, .used = used};
        record_.vms.push_back(vm);
    }
    const Record& next() {
        std::vector<Guest> guests;
        for (const Record::Vm& vm : record_.vms) {
            guests.push_back(vm.guest);
        }
        const arbiter::Decision decision = arbitrate(record_.host, guests);
        for (size_t i = 0; i < guests.size(); ++i) {
            record_.vms[i].grant = decision.grants[i];
        }
        last_ = record_;
        for (Record::Vm& vm : record_.vms) {
            vm.guest.grant = vm.guest.holds = vm.grant.size;
        }
        record_.wall += Seconds(1);
        return last_;
    }

  private:
    Record record_;
    Record last_;
};

const Replayed& of(const ReplayReport& report, std::string_view policy) {
    for (const Replayed& each : report.policies) {
        if (each.policy == policy) {
            return each;
        }
    }
    throw std::runtime_error("no such policy");
}

ReplayReport replay(int cycles, std::string_view policy = "") {
    Recorded recorded;
    Replay replay(policy);
    for (int i = 0; i < cycles; ++i) {
        replay.add(recorded.next());
    }
    return replay.report();
}

TEST(Replay, OursDecidesAsItDidThen) {
    const ReplayReport report = replay(60);
    EXPECT_EQ(report.cycles, 60U);
    EXPECT_EQ(report.vms, 2U);
    EXPECT_EQ(report.grants, 120U);
    EXPECT_EQ(report.until - report.from, Seconds(59));
    ASSERT_EQ(report.policies.size(), 5U);
    EXPECT_EQ(report.policies[0].policy, "recorded");
    EXPECT_EQ(of(report, "acma").differences, 0U);
    EXPECT_EQ(of(report, "acma").vm_time, Seconds(118));
    EXPECT_EQ(of(report, "acma").demand_met, of(report, "recorded").demand_met);
    EXPECT_EQ(of(report, "acma").changes, of(report, "recorded").changes);
}

TEST(Replay, TellsADecisionThatWasAnother) {
    Recorded recorded;
    Record record = recorded.next();
    record.vms[0].grant.size += 512_MiB;
    Replay replay("acma");
    replay.add(record);
    const ReplayReport report = replay.report();
    ASSERT_EQ(report.policies.size(), 2U);
    const Replayed& ours = report.policies[1];
    EXPECT_EQ(ours.differences, 1U);
    ASSERT_EQ(ours.first.size(), 1U);
    EXPECT_EQ(ours.first[0].vm, "busy");
    EXPECT_EQ(ours.first[0].granted + 512_MiB, ours.first[0].recorded);
}

TEST(Replay, OthersKeepTheirOwnTargets) {
    const ReplayReport report = replay(120);
    // 8 GiB are promised of 6, by whoever gives everybody all.
    EXPECT_EQ(of(report, "static").granted_mean, 8_GiB);
    EXPECT_EQ(of(report, "static").over_budget_max, 2_GiB + 128_MiB);
    EXPECT_EQ(of(report, "static").demand_met, of(report, "static").demand_fits);
    EXPECT_EQ(of(report, "static").changes, 0U);
    EXPECT_GT(of(report, "static").differences, 0U);
    // Every ten seconds, not every second; and it grows by steps.
    EXPECT_GT(of(report, "mom").changes, 0U);
    EXPECT_LT(of(report, "mom").changes, 30U);
    EXPECT_LT(of(report, "mom").demand_met, of(report, "acma").demand_met);
    EXPECT_EQ(of(report, "recorded").over_budget_max, Bytes(0));
}

TEST(Replay, CountsNoTimeInWhichNothingWasRecorded) {
    Recorded recorded;
    Replay replay("static");
    replay.add(recorded.next());
    Record later = recorded.next();
    later.wall += Seconds(86'400);
    later.dropped = 7;
    replay.add(later);
    later.wall -= Seconds(3'600);  // a clock that was set back
    later.dropped = 0;
    replay.add(later);
    EXPECT_EQ(replay.report().policies[0].vm_time, 2 * k_longest_cycle);
    EXPECT_EQ(replay.report().dropped, 7U);
}

TEST(Replay, LeavesAloneWhatWasLeftAlone) {
    Recorded recorded;
    Record record = recorded.next();
    record.vms[1].guest.fixed = true;
    record.vms[1].guest.needs.reset();
    record.vms[1].grant.size = record.vms[1].guest.grant;
    Replay replay("static");
    replay.add(record);
    record.vms.erase(record.vms.begin());  // the other one is gone
    replay.add(record);
    EXPECT_EQ(replay.report().policies[1].changes, 0U);
    EXPECT_EQ(replay.report().policies[1].first.size(), 1U);
    EXPECT_EQ(replay.report().policies[1].first[0].vm, "busy");
}

TEST(Replay, HasNothingToSayAboutNothing) {
    const ReplayReport report = Replay("").report();
    EXPECT_EQ(report.cycles, 0U);
    EXPECT_EQ(report.policies.size(), 5U);
    EXPECT_EQ(report.policies[0].granted_mean, Bytes(0));
}

}  // namespace
}  // namespace acma::simulation
