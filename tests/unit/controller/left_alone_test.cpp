// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/left_alone.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/vm/vm.h"

namespace acma::host {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string_view> words(const DomainFacts& facts, const Circumstances& circumstances) {
    std::vector<std::string_view> found;
    for (const LeftAlone& reason : reasons_to_leave_alone(facts, circumstances)) {
        found.push_back(reason.mark);
    }
    return found;
}

DomainFacts domain() {
    DomainFacts facts;
    facts.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    facts.name = "web";
    facts.id = 1;
    facts.ram = facts.current = 4_GiB;
    facts.ram_blocks = {4_GiB};
    facts.has_balloon = true;
    facts.channel = "/run/web.sock";
    facts.policy = std::optional(Policy{512_MiB, 2_GiB});
    return facts;
}

TEST(LeftAlone, AnOrdinaryDomainIsNot) {
    EXPECT_THAT(words(domain(), {}), IsEmpty());
}

TEST(LeftAlone, WhatIsPinnedOrLockedIs) {
    DomainFacts facts = domain();
    facts.pins_memory = facts.locked_memory = facts.paused = true;
    EXPECT_THAT(words(facts, {}), ElementsAre("vfio", "locked", "paused"));
}

TEST(LeftAlone, HugePagesAreUnlessTheShimIsThere) {
    DomainFacts facts = domain();
    facts.huge_pages = true;
    EXPECT_THAT(words(facts, {}), ElementsAre("huge-pages"));
    EXPECT_THAT(words(facts, {.has_shim = true}), IsEmpty());
}

TEST(LeftAlone, AGuestThatBootsIsUntilItsAgentAnswersOrTimeIsOver) {
    DomainFacts facts = domain();
    facts.booted_at = Time(Seconds(1000));
    const Time young(Seconds(1100));
    EXPECT_THAT(words(facts, {.now = young}), ElementsAre("booting"));
    EXPECT_THAT(words(facts, {.agent_answers = true, .now = young}), IsEmpty());
    EXPECT_THAT(words(facts, {.now = Time(Seconds(1120))}), IsEmpty());
}

class LeftAloneVm : public testing::Test {
  protected:
    [[nodiscard]] Now now() const { return {Time(clock_), Micros(1'800'000'000'000'000) + clock_}; }
    static size_t writes(const Actions& actions) {
        return static_cast<size_t>(std::count_if(
            actions.begin(), actions.end(),
            [](const Action& action) { return std::holds_alternative<WriteBalloon>(action); }));
    }
    static std::optional<Mode> agent_mode(const Actions& actions) {
        std::optional<Mode> mode;
        for (const Action& action : actions) {
            if (const auto* talk = std::get_if<TalkToAgent>(&action); talk && talk->policy) {
                mode = talk->policy->policy.mode;
            }
        }
        return mode;
    }
    std::vector<PolicyRule> rules_;
    Micros clock_{Seconds(1000)};
};

TEST_F(LeftAloneVm, IsOnlyObservedAndCountsWithAllItsRam) {
    DomainFacts facts = domain();
    facts.pins_memory = true;
    Vm vm(VmSettings{&rules_}, facts, now());
    const Actions actions = vm.start(now());
    EXPECT_EQ(writes(actions), 0U);
    EXPECT_EQ(agent_mode(actions), Mode::observe);
    EXPECT_EQ(vm.summary().state, proto::VmState::observed);
    ASSERT_EQ(vm.summary().marks.size(), 1U);
    EXPECT_EQ(vm.summary().marks[0].what, "vfio");
    const arbiter::Guest claim = vm.claim(now());
    EXPECT_TRUE(claim.fixed);
    EXPECT_EQ(claim.grant, 4_GiB);
}

TEST_F(LeftAloneVm, IsManagedOnceItHasBooted) {
    DomainFacts facts = domain();
    facts.booted_at = now().mono;
    Vm vm(VmSettings{&rules_}, facts, now());
    EXPECT_EQ(writes(vm.start(now())), 0U);
    clock_ += Seconds(30);
    EXPECT_EQ(writes(vm.tick(now())), 0U);
    (void)vm.on_agent(AgentUp{proto::own_info("1.0")}, now());
    clock_ += Seconds(1);
    const Actions actions = vm.tick(now());
    EXPECT_EQ(writes(actions), 1U);
    EXPECT_EQ(agent_mode(actions), Mode::automatic);
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
}

TEST_F(LeftAloneVm, IsNotTakenFromWhilePaused) {
    Vm vm(VmSettings{&rules_}, domain(), now());
    (void)vm.start(now());
    DomainFacts facts = domain();
    facts.paused = true;
    facts.policy = std::optional(Policy{512_MiB, 1_GiB});
    (void)vm.on_balloon_written({}, 2_GiB, now());
    EXPECT_EQ(writes(vm.on_domain(facts, true, now())), 0U);
    facts.paused = false;
    EXPECT_EQ(writes(vm.on_domain(facts, false, now())), 1U);
}

}  // namespace
}  // namespace acma::host
