// SPDX-License-Identifier: Apache-2.0
#include "host-controller/fleet/standing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace acma::host {
namespace {

using testing::HasSubstr;
using testing::Not;

arbiter::Record::Vm vm(const std::string& name, Bytes grant, Bytes fair) {
    arbiter::Record::Vm vm{.name = name, .uuid = "uuid-" + name, .guest = {}, .grant = {}};
    vm.guest = {.min = 512_MiB,
                .max = 4_GiB,
                .shares = 1000,
                .own = 50_MiB,
                .grant = grant,
                .holds = grant};
    vm.guest.needs = arbiter::Needs{.active = 300_MiB, .used = 1_GiB};
    vm.grant = {.size = grant, .fair = fair};
    return vm;
}

arbiter::Record host() {
    arbiter::Record record{.wall = Seconds(1)};
    record.host.budget = 8_GiB;
    record.free = 100_MiB;
    record.vms = {vm("a", 1_GiB, 2_GiB), vm("b", 2_GiB, 1_GiB), vm("c", 1536_MiB, 1_GiB),
                  vm("d", 1_GiB, 1_GiB)};
    return record;
}

TEST(Standing, SaysWhatIsMissingAndWhoHasIt) {
    const proto::ExplainEntry entry = standing_of(host(), 0);
    EXPECT_EQ(entry.decision, "standing");
    EXPECT_EQ(entry.time, Seconds(1));
    EXPECT_EQ(entry.reason,
              "it may have 1 GiB: it uses 1 GiB, of that 300 MiB actively; 1 GiB are missing to "
              "its part of 2 GiB, "
              "which others have to give up first: b (1 GiB), c (512 MiB); of the host's budget of "
              "8 GiB 100 MiB "
              "are promised to nobody");
    EXPECT_EQ(entry.numbers.at("fair_bytes"), (2_GiB).count());
    EXPECT_EQ(entry.numbers.at("used_bytes"), (1_GiB).count());
}

TEST(Standing, SaysWhoComesFirst) {
    arbiter::Record record = host();
    record.vms[3] = vm("d", 1_GiB, 3_GiB);
    record.vms[3].guest.needs->pressed = true;
    EXPECT_THAT(standing_of(record, 0).reason,
                HasSubstr("before it come those that stall or lack min-mem: d (2 GiB)"));
    EXPECT_THAT(standing_of(record, 3).reason,
                HasSubstr("and stalls longer than its policy accepts"));
    EXPECT_THAT(standing_of(record, 3).reason, Not(HasSubstr("before it")));
}

TEST(Standing, NamesTheLargestAndCountsTheRest) {
    arbiter::Record record = host();
    for (int i = 0; i < 100; ++i) {
        record.vms.push_back(vm("x" + std::to_string(i), 1_GiB + 20_MiB, 1_GiB));
    }
    EXPECT_THAT(standing_of(record, 0).reason,
                HasSubstr("b (1 GiB), c (512 MiB), x0 (20 MiB) and 99 others;"));
}

TEST(Standing, SaysWhatGoesDownWhatIsLeftAloneAndWhatIsNotKnown) {
    arbiter::Record record = host();
    EXPECT_THAT(standing_of(record, 1).reason, HasSubstr("goes down to its part of 1 GiB"));
    EXPECT_THAT(standing_of(record, 3).reason, HasSubstr("that is its part of the host"));
    record.vms[3].guest.needs.reset();
    record.vms[3].guest.holds = 2_GiB;
    EXPECT_THAT(standing_of(record, 3).reason, HasSubstr("what it needs is not known"));
    EXPECT_THAT(standing_of(record, 3).reason, HasSubstr("it has not given back 1 GiB yet"));
    record.vms[3].guest.fixed = true;
    EXPECT_EQ(standing_of(record, 3).reason,
              "it is left alone, and counts with 2 GiB and QEMU's own 50 MiB");
}

TEST(Standing, SaysThatAStuckBalloonCounts) {
    arbiter::Record record = host();
    record.vms[1].guest.stuck_at = record.vms[1].guest.holds = 3_GiB;
    record.vms[1].grant.why = arbiter::Why::stuck;
    EXPECT_THAT(standing_of(record, 1).reason, HasSubstr("does not follow and stands at 3 GiB"));
}

}  // namespace
}  // namespace acma::host
