// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/ownership.h"

#include <gtest/gtest.h>

#include "engine/damon/reclaim.h"
#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/kernels.h"
#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

class OwnershipOnKernel : public OnKernel {
  protected:
    [[nodiscard]] Kdamond reclaim() const {
        ReclaimSettings settings;
        settings.bytes = 1_MiB;
        return reclaim_kdamond({{Address(0x100000), Address(0x40000000)}}, Intervals{}, settings);
    }
    void set_up(const Kdamonds& kdamonds) {
        const Result<Plan> writes = plan(kdamonds, sysfs_.tree(), features_);
        ASSERT_TRUE(writes.ok()) << writes.error().message;
        ASSERT_EQ(sysfs_.apply(*writes), "ok");
    }
    void start(size_t index) {
        ASSERT_EQ(sysfs_.write(state_write(index, StateCommand::on)), "ok");
    }
    [[nodiscard]] Ownership decide(const OwnershipRecord& record = {},
                                   const DamonModules& modules = {}) const {
        const Result<Ownership> result = decide_ownership(sysfs_.tree(), record, modules);
        EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
        return result.ok() ? *result : Ownership{};
    }
    [[nodiscard]] OwnershipRecord record(int pid, size_t index = 0) const {
        return {.kdamonds = {{index, shape(reclaim()), pid}}};
    }
};
ON_ALL_KERNELS(OwnershipOnKernel);

TEST_P(OwnershipOnKernel, AnUntouchedKernelIsNobodys) {
    EXPECT_EQ(decide().claim, Claim::none);
    EXPECT_EQ(decide().reason, "nobody uses DAMON");
}

TEST_P(OwnershipOnKernel, EmptyDirectoriesAreNobodysHoweverManyThereAre) {
    for (const Write& write : staging().build) {
        ASSERT_EQ(sysfs_.write(write), "ok");
    }
    EXPECT_EQ(decide().claim, Claim::none);
    ASSERT_EQ(sysfs_.write("kdamonds/nr_kdamonds", "3"), "ok");
    EXPECT_EQ(decide().claim, Claim::none);
}

TEST_P(OwnershipOnKernel, ARunningKdamondThatWeDidNotNoteIsForeignAndTheReasonSaysHowToFreeIt) {
    set_up({reclaim()});
    start(0);
    const Ownership ownership = decide();
    EXPECT_EQ(ownership.claim, Claim::foreign);
    EXPECT_EQ(ownership.reason,
              "kdamond 0 (pid 100) is on and not ours; stop the program that started it, or: echo "
              "off > /sys/kernel/mm/damon/admin/kdamonds/0/state && echo 0 > "
              "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds");
}

TEST_P(OwnershipOnKernel, AConfiguredKdamondThatIsOffIsForeignToo) {
    set_up({reclaim()});
    const Ownership ownership = decide();
    EXPECT_EQ(ownership.claim, Claim::foreign);
    EXPECT_EQ(ownership.reason,
              "kdamond 0 is off but has been set up by somebody else; when nobody needs it: echo 0 "
              "> /sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds");
}

TEST_P(OwnershipOnKernel, OneWrittenValueMakesItForeign) {
    ASSERT_EQ(sysfs_.write("kdamonds/nr_kdamonds", "1"), "ok");
    ASSERT_EQ(sysfs_.write("kdamonds/0/contexts/nr_contexts", "1"), "ok");
    ASSERT_EQ(sysfs_.write("kdamonds/0/contexts/0/operations", "paddr"), "ok");
    EXPECT_EQ(decide().claim, Claim::foreign);
}

TEST_P(OwnershipOnKernel, WhatWeNotedIsOursAlsoAfterItsQuotaChanged) {
    set_up({reclaim()});
    start(0);
    ASSERT_EQ(sysfs_.write("kdamonds/0/contexts/0/schemes/0/quotas/bytes", "12345"), "ok");
    const Ownership ownership = decide(record(100));
    EXPECT_EQ(ownership.claim, Claim::ours);
    EXPECT_EQ(ownership.ours, std::vector<size_t>{0});
}

TEST_P(OwnershipOnKernel, WhatWeNotedBeforeSwitchingItOnIsOurs) {
    set_up({reclaim()});
    EXPECT_EQ(decide(record(-1)).claim, Claim::ours);
    start(0);
    EXPECT_EQ(decide(record(-1)).claim, Claim::ours);
}

TEST_P(OwnershipOnKernel, OursThatHasEndedIsStillOurs) {
    set_up({reclaim()});
    start(0);
    ASSERT_EQ(sysfs_.write(state_write(0, StateCommand::off)), "ok");
    EXPECT_EQ(decide(record(100)).claim, Claim::ours);
}

TEST_P(OwnershipOnKernel, AnotherPidOrAnotherShapeIsNotOurs) {
    set_up({reclaim()});
    start(0);
    EXPECT_EQ(decide(record(99)).claim, Claim::foreign);
    EXPECT_EQ(decide(record(100, 1)).claim, Claim::foreign);
    ASSERT_EQ(sysfs_.write("kdamonds/0/contexts/0/schemes/0/action", "stat"), "ok");
    EXPECT_EQ(decide(record(100)).claim, Claim::foreign);
}

TEST_P(OwnershipOnKernel, OneForeignKdamondBesideOursIsEnoughToRefuse) {
    set_up({reclaim(), reclaim()});
    start(0);
    start(1);
    const Ownership ownership = decide(record(100));
    EXPECT_EQ(ownership.claim, Claim::foreign);
    EXPECT_NE(ownership.reason.find("kdamond 1 (pid 101)"), std::string::npos);
    EXPECT_TRUE(ownership.ours.empty());
}

TEST_P(OwnershipOnKernel, ACommandBeingHandledMeansLaterAndNotForeign) {
    set_up({reclaim()});
    start(0);
    sysfs_.set_command_pending(true);
    EXPECT_EQ(decide(record(100)).claim, Claim::busy);
}

TEST_P(OwnershipOnKernel, DamonStatGivesWayAndIsRestored) {
    const Ownership ownership = decide({}, {.stat = true});
    EXPECT_EQ(ownership.claim, Claim::none);
    EXPECT_TRUE(ownership.clear_damon_stat);
    EXPECT_TRUE(ownership.restore_damon_stat);
    EXPECT_EQ(ownership.reason, "nobody uses DAMON; DAMON_STAT has to give way");
}

TEST_P(OwnershipOnKernel, DamonStatThatAnEarlierRunClearedIsRestoredByThisOne) {
    const Ownership ownership = decide({.restore_damon_stat = true});
    EXPECT_FALSE(ownership.clear_damon_stat);
    EXPECT_TRUE(ownership.restore_damon_stat);
}

TEST_P(OwnershipOnKernel, TheOtherModulesAreForeign) {
    const Ownership ownership = decide({}, {.reclaim = true});
    EXPECT_EQ(ownership.claim, Claim::foreign);
    EXPECT_EQ(ownership.reason,
              "damon_reclaim is enabled and excludes every other user of DAMON; to free it: echo N "
              "> /sys/module/damon_reclaim/parameters/enabled");
    EXPECT_EQ(decide({}, {.lru_sort = true}).claim, Claim::foreign);
}

TEST_P(OwnershipOnKernel, ASettingNewerThanUsIsForeign) {
    set_up({reclaim()});
    sysfs_.set("kdamonds/0/contexts/0/schemes/0/action", "teleport");
    const Ownership ownership = decide(record(100));
    EXPECT_EQ(ownership.claim, Claim::foreign);
    EXPECT_NE(ownership.reason.find("'teleport' is not one of"), std::string::npos);
}

TEST(Ownership, WithoutDamonIsAnError) {
    const Result<Ownership> result = decide_ownership({}, {}, {});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::not_found);
}

TEST(Shape, IsTheSameInEveryReleaseForTheSameKdamond) {
    const Kdamond kdamond =
        reclaim_kdamond({{Address(0x100000), Address(0x40000000)}}, Intervals{}, ReclaimSettings{});
    EXPECT_EQ(shape(kdamond), 791344227823452516U)
        << "a new agent adopts what an old one left behind";
}

}  // namespace acma::damon::test
