// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/vm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace acma::host {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

template <typename Kind>
std::vector<Kind> only(const Actions& actions) {
    std::vector<Kind> found;
    for (const Action& action : actions) {
        if (const auto* kind = std::get_if<Kind>(&action)) {
            found.push_back(*kind);
        }
    }
    return found;
}

constexpr Policy k_policy{512_MiB, 2_GiB, 10_bp, 1000, Mode::automatic};

DomainFacts domain(std::optional<Policy> policy = k_policy) {
    DomainFacts facts;
    facts.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    facts.name = "web";
    facts.id = 1;
    facts.ram = 4_GiB;
    facts.ram_blocks = {4_GiB};
    facts.current = 4_GiB;
    facts.has_balloon = true;
    facts.channel = "/run/web.sock";
    facts.policy = policy;
    return facts;
}

class VmTest : public testing::Test {
  protected:
    Vm make(const DomainFacts& facts, bool dry_run = false) {
        return Vm(VmSettings{&rules_, dry_run}, facts, now());
    }
    [[nodiscard]] Now now() const { return {Time(clock_), Micros(1'800'000'000'000'000) + clock_}; }
    void pass(Micros time) { clock_ += time; }

    // Ticks once a second.
    Actions run(Vm& vm, int seconds) {
        Actions all;
        for (int i = 0; i < seconds; ++i) {
            pass(Seconds(1));
            for (Action& action : vm.tick(now())) {
                all.push_back(std::move(action));
            }
        }
        return all;
    }
    // The hypervisor accepts, and the guest follows at once.
    void obey(Vm& vm, const Actions& actions) {
        for (const WriteBalloon& write : only<WriteBalloon>(actions)) {
            (void)vm.on_balloon_written({}, write.target, now());
            (void)vm.on_balloon(write.target, now());
        }
    }
    Vm settled(const DomainFacts& facts = domain()) {
        Vm vm = make(facts);
        obey(vm, vm.start(now()));
        return vm;
    }
    // Somebody writes the policy into the domain's metadata.
    Actions set_policy(Vm& vm, const std::optional<Policy>& policy) const {
        DomainFacts facts = vm.facts();
        facts.policy = policy;
        return vm.on_domain(facts, true, now());
    }
    // Somebody else sets the balloon, and it comes to rest.
    Actions foreign(Vm& vm, Bytes target) {
        (void)vm.on_balloon(target, now());
        return run(vm, 3);
    }
    AgentStatus status(uint64_t sequence) const {
        AgentStatus s;
        s.sequence = sequence;
        s.uptime = clock_ + Micros(1);
        s.mem_total = 3900_MiB;
        s.mem_free = 3_GiB;
        s.mem_available = 3_GiB;
        return s;
    }
    static proto::AgentInfo info_of_ours() { return proto::own_info("1.0"); }
    static bool marked(const Vm& vm, std::string_view what) {
        const auto marks = vm.summary().marks;
        return std::any_of(marks.begin(), marks.end(),
                           [what](const proto::Mark& mark) { return mark.what == what; });
    }
    static std::string mark_message(const Vm& vm, std::string_view what) {
        for (const proto::Mark& mark : vm.summary().marks) {
            if (mark.what == what) {
                return mark.message;
            }
        }
        return "not marked";
    }

    std::vector<PolicyRule> rules_;
    Micros clock_{Seconds(1000)};
};

// --- balloon --------------------------------------------------------------------------------

TEST_F(VmTest, SetsTheBalloonSoThatMaxMemHolds) {
    Vm vm = make(domain());
    const Actions actions = vm.start(now());
    EXPECT_THAT(only<WriteBalloon>(actions), testing::ElementsAre(WriteBalloon{2_GiB}));
    EXPECT_THAT(vm.history().entries().back().reason,
                HasSubstr("max-mem is 2 GiB: the balloon target goes from 4 GiB to 2 GiB"));
    EXPECT_EQ(vm.history().entries().back().numbers.at("to_bytes"), (2_GiB).count());
}

TEST_F(VmTest, NotesTheTargetThatWasAccepted) {
    Vm vm = make(domain());
    (void)vm.start(now());
    EXPECT_THAT(only<WriteNote>(vm.on_balloon_written({}, 2_GiB, now())),
                testing::ElementsAre(WriteNote{{2_GiB, true}}));
}

TEST_F(VmTest, WritesNothingMoreOnceTheTargetIsInForce) {
    Vm vm = settled();
    EXPECT_THAT(only<WriteBalloon>(run(vm, 100)), IsEmpty());
}

TEST_F(VmTest, WritesNothingWhenMaxMemIsAboveRam) {
    Vm vm = make(domain(Policy{512_MiB, 8_GiB}));
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 10)), IsEmpty());
}

TEST_F(VmTest, FollowsMaxMemUpAndDown) {
    Vm vm = settled();
    Actions up = set_policy(vm, Policy{512_MiB, 3_GiB});
    EXPECT_THAT(only<WriteBalloon>(up), testing::ElementsAre(WriteBalloon{3_GiB}));
    obey(vm, up);
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{512_MiB, 1_GiB})),
                testing::ElementsAre(WriteBalloon{1_GiB}));
}

TEST_F(VmTest, LeavesAVmWithoutAPolicyAlone) {
    Vm vm = make(domain(std::nullopt));
    const Actions actions = vm.start(now());
    EXPECT_THAT(only<WriteBalloon>(actions), IsEmpty());
    EXPECT_THAT(only<TalkToAgent>(actions), IsEmpty());
    EXPECT_EQ(vm.summary().state, proto::VmState::unmanaged);
    EXPECT_THAT(only<WriteBalloon>(foreign(vm, 1_GiB)), IsEmpty());
    EXPECT_TRUE(vm.history().entries().empty());
}

TEST_F(VmTest, OnlySaysWhatItWouldDoInObserve) {
    Policy policy = k_policy;
    policy.mode = Mode::observe;
    Vm vm = make(domain(policy));
    Actions actions = vm.start(now());
    EXPECT_THAT(only<WriteBalloon>(actions), IsEmpty());
    EXPECT_THAT(only<WriteNote>(run(vm, 10)), IsEmpty());
    EXPECT_EQ(vm.history().entries().back().decision, "would-shrink");
    EXPECT_EQ(vm.history().entries().size(), 2U) << "said once";
    EXPECT_EQ(vm.summary().state, proto::VmState::observed);
    ASSERT_THAT(only<TalkToAgent>(actions), SizeIs(1));
    EXPECT_EQ(only<TalkToAgent>(actions)[0].policy->policy.mode, Mode::observe);
}

TEST_F(VmTest, WritesNothingToDomainAndGuestInADryRun) {
    Vm vm = make(domain(), true);
    const Actions actions = vm.start(now());
    EXPECT_THAT(only<WriteBalloon>(actions), IsEmpty());
    ASSERT_THAT(only<TalkToAgent>(actions), SizeIs(1));
    EXPECT_FALSE(only<TalkToAgent>(actions)[0].policy);
    EXPECT_THAT(vm.history().entries().back().reason, HasSubstr("dry run"));
}

TEST_F(VmTest, DecidesAndTellsWhatItWouldDoOnlyWhenThatChanges) {
    for (const bool dry_run : {false, true}) {
        Policy policy = k_policy;
        policy.mode = dry_run ? Mode::automatic : Mode::observe;
        Vm vm = make(domain(policy), dry_run);
        (void)vm.start(now());
        const uint64_t decisions = vm.history().decisions_total();
        // What the guest does meanwhile stands between two decisions.
        (void)vm.on_agent(AgentUp{info_of_ours()}, now());
        EXPECT_THAT(only<Tell>(run(vm, 100)), IsEmpty());
        EXPECT_EQ(vm.history().decisions_total(), decisions);

        policy.max_mem = 3_GiB;
        (void)set_policy(vm, policy);
        EXPECT_EQ(vm.history().decisions_total(), decisions + 2) << "the policy, and what it means";
        EXPECT_THAT(only<Tell>(run(vm, 100)), IsEmpty());
        EXPECT_EQ(vm.history().decisions_total(), decisions + 2);
    }
}

TEST_F(VmTest, DoesNothingToAVmThatIsOff) {
    Policy policy = k_policy;
    policy.mode = Mode::off;
    Vm vm = make(domain(policy));
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_EQ(vm.summary().state, proto::VmState::off);
}

TEST_F(VmTest, SaysThatAVmWithoutABalloonCannotBeHeld) {
    DomainFacts facts = domain();
    facts.has_balloon = false;
    Vm vm = make(facts);
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_TRUE(marked(vm, "no-balloon"));
}

TEST_F(VmTest, TriesAgainLaterWhenTheBalloonWasRefused) {
    Vm vm = make(domain());
    (void)vm.start(now());
    EXPECT_THAT(
        only<WriteBalloon>(vm.on_balloon_written(Error{ErrorCode::timeout, "job"}, 2_GiB, now())),
        IsEmpty());
    EXPECT_TRUE(marked(vm, "balloon-refused"));
    EXPECT_THAT(only<WriteBalloon>(run(vm, 4)), IsEmpty());
    const Actions again = run(vm, 1);
    EXPECT_THAT(only<WriteBalloon>(again), SizeIs(1));
    (void)vm.on_balloon_written(Error{ErrorCode::timeout, "job"}, 2_GiB, now());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 9)), IsEmpty()) << "the pause grows";
    obey(vm, run(vm, 1));
    EXPECT_FALSE(marked(vm, "balloon-refused"));
}

TEST_F(VmTest, CarriesANewPolicyOutAtOnceThoughTheLastTargetWasRefused) {
    Vm vm = make(domain());
    (void)vm.start(now());
    for (int i = 0; i < 8; ++i) {
        (void)vm.on_balloon_written(Error{ErrorCode::unsupported, "no"}, 2_GiB, now());
        (void)run(vm, 300);
    }
    (void)vm.on_balloon_written(Error{ErrorCode::unsupported, "no"}, 2_GiB, now());
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{512_MiB, 1_GiB})),
                testing::ElementsAre(WriteBalloon{1_GiB}));
    (void)vm.on_balloon_written(Error{ErrorCode::unsupported, "no"}, 1_GiB, now());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 5)), SizeIs(1)) << "the pauses start anew";
}

TEST_F(VmTest, TellsNoRefusalOfATargetThatNobodyWantsAnyMore) {
    Policy observe{512_MiB, 1_GiB};
    observe.mode = Mode::observe;
    for (const auto& next :
         {std::optional(k_policy), std::optional(observe), std::optional<Policy>()}) {
        Vm vm = settled();
        (void)set_policy(vm, Policy{512_MiB, 1_GiB});
        (void)vm.on_balloon_written(Error{ErrorCode::unsupported, "no"}, 1_GiB, now());
        EXPECT_TRUE(marked(vm, "balloon-refused"));
        EXPECT_THAT(only<WriteBalloon>(set_policy(vm, next)), IsEmpty());
        EXPECT_FALSE(marked(vm, "balloon-refused"));
    }
}

TEST_F(VmTest, KnowsItsOwnTargetThoughTheConnectionBrokeOverIt) {
    Vm vm = make(domain());
    (void)vm.start(now());
    (void)vm.on_balloon_written(Error{ErrorCode::io, "connection lost"}, 2_GiB, now());
    EXPECT_EQ(mark_message(vm, "balloon-refused").find("nothing was changed"), std::string::npos);
    Actions all = vm.on_balloon(2_GiB, now());
    for (Action& action : run(vm, 10)) {
        all.push_back(std::move(action));
    }
    EXPECT_FALSE(marked(vm, "foreign-balloon"));
    EXPECT_FALSE(marked(vm, "balloon-refused"));
    EXPECT_THAT(only<WriteNote>(all), testing::ElementsAre(WriteNote{{2_GiB, true}}));
}

TEST_F(VmTest, MarksAGuestThatDoesNotFollow) {
    Vm vm = make(domain());
    (void)vm.start(now());
    (void)vm.on_balloon_written({}, 2_GiB, now());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 60)), IsEmpty()) << "asking again would not help";
    EXPECT_TRUE(marked(vm, "balloon-stuck"));
    EXPECT_EQ(vm.claim(now()).stuck_at, 4_GiB) << "others have to give what it does not";
    (void)vm.on_balloon(2_GiB, now());
    (void)run(vm, 1);
    EXPECT_FALSE(marked(vm, "balloon-stuck"));
    EXPECT_FALSE(vm.claim(now()).stuck_at);
}

TEST_F(VmTest, MarksADomainAboutWhichLibvirtDoesNotAnswer) {
    Vm vm = make(domain());
    (void)vm.start(now());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 100)), IsEmpty());
    EXPECT_FALSE(marked(vm, "hypervisor-hangs")) << "it waits behind calls about other domains";
    (void)vm.on_call(true, now());
    (void)run(vm, 9);
    EXPECT_FALSE(marked(vm, "hypervisor-hangs"));
    EXPECT_THAT(only<WriteBalloon>(run(vm, 100)), IsEmpty());
    EXPECT_TRUE(marked(vm, "hypervisor-hangs"));
    (void)vm.on_call(false, now());
    EXPECT_FALSE(marked(vm, "hypervisor-hangs"));
    (void)run(vm, 100);
    EXPECT_FALSE(marked(vm, "hypervisor-hangs"));
}

TEST_F(VmTest, TakesNothingWhileItsMemoryIsCopied) {
    Vm vm = settled();
    Actions begun = vm.on_migration(true, now());
    const auto orders = only<TalkToAgent>(begun);
    ASSERT_EQ(orders.size(), 1U);
    EXPECT_EQ(orders[0].policy->policy.mode, Mode::observe);
    EXPECT_TRUE(marked(vm, "migrating"));
    EXPECT_THAT(only<TalkToAgent>(vm.on_migration(true, now())), IsEmpty()) << "it was told";
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{512_MiB, 1_GiB})), IsEmpty());
    Actions over = vm.on_migration(false, now());
    EXPECT_THAT(only<WriteBalloon>(over), ::testing::ElementsAre(WriteBalloon{1_GiB}));
    const auto again = only<TalkToAgent>(over);
    ASSERT_FALSE(again.empty());
    EXPECT_EQ(again.back().policy->policy.mode, Mode::automatic);
    EXPECT_FALSE(marked(vm, "migrating"));
}

TEST_F(VmTest, SaysNothingOfAMigrationOfAVmThatIsNotManaged) {
    DomainFacts facts = domain();
    facts.policy = std::optional<Policy>();
    Vm vm = make(facts);
    (void)vm.start(now());
    EXPECT_THAT(vm.on_migration(true, now()), IsEmpty());
    EXPECT_FALSE(marked(vm, "migrating"));
}

// --- targets of others ----------------------------------------------------------------------

TEST_F(VmTest, NeverFightsALowerForeignTarget) {
    Vm vm = settled();
    EXPECT_THAT(only<WriteBalloon>(foreign(vm, 1_GiB)), IsEmpty());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 600)), IsEmpty());
    EXPECT_TRUE(marked(vm, "foreign-balloon"));
    EXPECT_EQ(vm.summary().balloon_target, 1_GiB);
}

TEST_F(VmTest, GoesLowerThanAForeignTargetIfThePolicyAsksForIt) {
    Vm vm = settled();
    (void)foreign(vm, 1_GiB);
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{256_MiB, 768_MiB})),
                testing::ElementsAre(WriteBalloon{768_MiB}));
}

TEST_F(VmTest, GoesNoHigherThanAForeignTarget) {
    Vm vm = settled();
    (void)foreign(vm, 1_GiB);
    obey(vm, set_policy(vm, Policy{256_MiB, 768_MiB}));
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{256_MiB, 3_GiB})),
                testing::ElementsAre(WriteBalloon{1_GiB}));
}

TEST_F(VmTest, HoldsMaxMemAgainstAHigherForeignTarget) {
    Vm vm = settled();
    const Actions actions = foreign(vm, 3_GiB);
    EXPECT_THAT(only<WriteBalloon>(actions), testing::ElementsAre(WriteBalloon{2_GiB}));
}

TEST_F(VmTest, GoesOnHoldingMaxMemHoweverOftenTheGuestDeflatesItsBalloon) {
    Vm vm = settled();
    for (int i = 0; i < 6; ++i) {
        Actions actions = foreign(vm, 3_GiB);
        const Actions later = run(vm, 60);
        actions.insert(actions.end(), later.begin(), later.end());
        EXPECT_THAT(only<WriteBalloon>(actions), testing::ElementsAre(WriteBalloon{2_GiB})) << i;
        EXPECT_EQ(vm.summary().state, proto::VmState::managed);
        EXPECT_THAT(mark_message(vm, "balloon-raised"), HasSubstr("above our target"));
        obey(vm, actions);
    }
    EXPECT_FALSE(marked(vm, "foreign-balloon"));
    (void)run(vm, 601);
    EXPECT_FALSE(marked(vm, "balloon-raised"));
}

TEST_F(VmTest, PutsABalloonRightThatNeverRests) {
    Vm vm = settled();
    size_t writes = 0;
    for (uint64_t second = 0; second < 600; ++second) {
        pass(Seconds(1));
        const Actions actions = vm.on_balloon(3_GiB + 2_MiB * (second % 4), now());
        for (const WriteBalloon& write : only<WriteBalloon>(actions)) {
            EXPECT_EQ(write.target, 2_GiB);
            (void)vm.on_balloon_written({}, write.target, now());
            ++writes;
        }
        (void)vm.tick(now());
        EXPECT_TRUE(second < 30 || marked(vm, "balloon-raised")) << second;
    }
    EXPECT_GE(writes, 5U);
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
}

TEST_F(VmTest, CannotHaveItsHistoryFloodedByABalloonThatGoesUpAndDown) {
    Vm vm = settled();
    const auto policies = [&vm] {
        const auto entries = vm.history().entries();
        return std::count_if(entries.begin(), entries.end(),
                             [](const auto& entry) { return entry.decision == "set-policy"; });
    };
    const auto set = policies();
    for (int i = 0; i < 200; ++i) {
        (void)foreign(vm, 3_GiB + 2_MiB * static_cast<uint64_t>(i));
        (void)vm.on_balloon(2_GiB, now());
    }
    for (int i = 0; i < 200; ++i) {  // and is put right each time
        obey(vm, foreign(vm, 3_GiB));
        obey(vm, run(vm, 60));
    }
    EXPECT_EQ(policies(), set);
}

TEST_F(VmTest, CarriesANewPolicyOutAtOnceThoughTheGuestDeflatedItsBalloon) {
    Vm vm = settled();
    for (int i = 0; i < 5; ++i) {
        Actions actions = foreign(vm, 3_GiB);
        if (i < 4) {
            const Actions later = run(vm, 60);
            actions.insert(actions.end(), later.begin(), later.end());
            obey(vm, actions);
        } else {
            EXPECT_THAT(only<WriteBalloon>(actions), IsEmpty());
        }
    }
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{512_MiB, 1_GiB})),
                testing::ElementsAre(WriteBalloon{1_GiB}));
}

TEST_F(VmTest, LeavesAForeignTargetBelowMinMemAlone) {
    Vm vm = settled();
    EXPECT_THAT(only<WriteBalloon>(foreign(vm, 256_MiB)), IsEmpty());
    EXPECT_THAT(only<WriteBalloon>(set_policy(vm, Policy{512_MiB, 1_GiB})), IsEmpty());
}

TEST_F(VmTest, ObservesAfterRepeatedForeignTargetsUntilThePolicyIsSetAnew) {
    Vm vm = settled();
    (void)foreign(vm, 1_GiB);
    (void)foreign(vm, 900_MiB);
    (void)foreign(vm, 800_MiB);
    EXPECT_EQ(vm.summary().state, proto::VmState::observed);
    EXPECT_THAT(vm.summary().last_reason, HasSubstr("only observed until its policy is set anew"));
    EXPECT_THAT(only<WriteBalloon>(foreign(vm, 4_GiB)), IsEmpty())
        << "in observe nothing is written";

    EXPECT_THAT(only<WriteBalloon>(vm.on_domain(vm.facts(), false, now())), IsEmpty())
        << "not set anew, only read again";
    const Actions actions = set_policy(vm, k_policy);
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
    EXPECT_THAT(only<WriteBalloon>(actions), testing::ElementsAre(WriteBalloon{2_GiB}));
}

TEST_F(VmTest, ManagesAgainAfterAPolicyThatWasSetWhileLibvirtWasAway) {
    Vm vm = settled();
    (void)foreign(vm, 1_GiB);
    (void)foreign(vm, 900_MiB);
    (void)foreign(vm, 800_MiB);
    DomainFacts found = vm.facts();
    found.policy = Error{ErrorCode::invalid, "bad"};
    (void)vm.on_domain(found, false, now());
    EXPECT_EQ(vm.summary().policy, k_policy);
    found.policy = std::optional(k_policy);
    (void)vm.on_domain(found, false, now());
    EXPECT_EQ(vm.summary().state, proto::VmState::observed) << "it is the same";
    found.policy = std::optional(Policy{512_MiB, 3_GiB});
    (void)vm.on_domain(found, false, now());
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
}

TEST_F(VmTest, SaysThatAVmIsAboveMaxMemWhereItHasYielded) {
    Vm vm = settled();
    (void)foreign(vm, 1_GiB);
    (void)foreign(vm, 900_MiB);
    (void)foreign(vm, 800_MiB);
    EXPECT_FALSE(marked(vm, "above-max-mem"));
    (void)foreign(vm, 4_GiB);
    EXPECT_THAT(mark_message(vm, "above-max-mem"),
                HasSubstr("at 4 GiB, above max-mem 2 GiB, and is left there"));
    EXPECT_THAT(mark_message(vm, "above-max-mem"), HasSubstr("once the policy is set anew"));
    EXPECT_THAT(mark_message(vm, "foreign-balloon"), HasSubstr("until its policy is set anew"));
    obey(vm, set_policy(vm, k_policy));
    (void)run(vm, 1);
    EXPECT_FALSE(marked(vm, "above-max-mem"));
}

TEST_F(VmTest, CannotHaveItsHistoryFloodedByABalloonThatMovesBelowItsTarget) {
    const auto policies = [](const Vm& vm) {
        const auto& entries = vm.history().entries();
        return std::count_if(entries.begin(), entries.end(),
                             [](const auto& entry) { return entry.decision == "set-policy"; });
    };
    Vm up_and_down = settled();
    for (int i = 0; i < 200; ++i) {
        obey(up_and_down, foreign(up_and_down, i % 2 == 0 ? 1_GiB : 3_GiB));
    }
    EXPECT_EQ(up_and_down.summary().state, proto::VmState::observed);
    EXPECT_EQ(policies(up_and_down), 1);
    Vm upwards = settled();
    for (uint64_t i = 0; i < 200; ++i) {
        (void)foreign(upwards, 100_MiB + 2_MiB * i);
    }
    EXPECT_EQ(upwards.summary().state, proto::VmState::managed);
    EXPECT_EQ(policies(upwards), 1);
    Vm restless = settled();
    for (uint64_t second = 0; second < 7200; ++second) {
        pass(Seconds(1));
        (void)restless.on_balloon(100_MiB + 2_MiB * (second * 7 % 64), now());
    }
    EXPECT_EQ(policies(restless), 1);
}

TEST_F(VmTest, TellsTheAgentToObserveWhileSomebodyElseManagesTheVm) {
    Vm vm = settled();
    (void)foreign(vm, 1_GiB);
    (void)foreign(vm, 900_MiB);
    const auto orders = only<TalkToAgent>(foreign(vm, 800_MiB));
    ASSERT_FALSE(orders.empty());
    EXPECT_EQ(orders.back().policy->policy.mode, Mode::observe);
}

TEST_F(VmTest, KeepsItsHandsOffAForeignTargetThatWasThereBeforeIt) {
    DomainFacts facts = domain();
    facts.current = 1_GiB;
    Vm vm = make(facts);
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_TRUE(marked(vm, "foreign-balloon"));
}

TEST_F(VmTest, FindsItsOwnTargetAgainAfterARestart) {
    DomainFacts facts = domain(Policy{512_MiB, 3_GiB});
    facts.current = 1_GiB;
    facts.note.target = 1_GiB;
    Vm vm = make(facts);
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), testing::ElementsAre(WriteBalloon{3_GiB}));
}

TEST_F(VmTest, RestoresMaxMemWhenTheBalloonWasRaisedWhileItWasDown) {
    DomainFacts facts = domain();
    facts.current = 4_GiB;
    facts.note.target = 2_GiB;
    Vm vm = make(facts);
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 9)), IsEmpty()) << "the guest may just be on its way";
    const Actions actions = run(vm, 2);
    EXPECT_THAT(only<WriteBalloon>(actions), testing::ElementsAre(WriteBalloon{2_GiB}));
    (void)vm.on_balloon_written({}, 2_GiB, now());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 100)), IsEmpty()) << "once: it may have no driver";
    EXPECT_TRUE(marked(vm, "balloon-stuck"));
}

TEST_F(VmTest, ShrinksNothingWhenItFindsAllAsItLeftIt) {
    DomainFacts facts = domain();
    facts.current = 2_GiB;
    facts.note.target = 2_GiB;
    Vm vm = make(facts);
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_THAT(only<WriteBalloon>(run(vm, 100)), IsEmpty());
}

// --- policy ---------------------------------------------------------------------------------

TEST_F(VmTest, KeepsThePreviousPolicyWhenTheNewOneIsBad) {
    Vm vm = settled();
    DomainFacts bad = vm.facts();
    bad.policy = Error{ErrorCode::invalid, "policy metadata: attribute psi: psi '0%' ..."};
    const Actions actions = vm.on_domain(bad, true, now());
    EXPECT_THAT(only<WriteBalloon>(actions), IsEmpty());
    EXPECT_EQ(vm.policy(), k_policy);
    EXPECT_THAT(mark_message(vm, "bad-policy"), HasSubstr("attribute psi"));
    EXPECT_THAT(mark_message(vm, "bad-policy"), HasSubstr("keeping the previous policy"));
    EXPECT_THAT(only<Tell>(vm.on_domain(bad, true, now())), IsEmpty()) << "said already";
    bad.policy = Error{ErrorCode::invalid, "policy metadata: min-mem is missing"};
    const auto said = only<Tell>(vm.on_domain(bad, true, now()));
    ASSERT_EQ(said.size(), 1U) << "another mistake is news";
    EXPECT_THAT(said[0].text, HasSubstr("min-mem is missing"));

    (void)set_policy(vm, k_policy);
    EXPECT_FALSE(marked(vm, "bad-policy"));
}

TEST_F(VmTest, PrefersMetadataToRulesAndNamesTheSource) {
    rules_.push_back(
        {"we*", "we*", std::nullopt, std::nullopt, Policy{1_GiB, 3_GiB, 10_bp, 1, Mode::observe}});
    Vm by_rule = settled(domain(std::nullopt));
    EXPECT_EQ(by_rule.summary().policy_source, "rule we*");
    EXPECT_EQ(by_rule.summary().state, proto::VmState::observed);
    Vm by_metadata = settled();
    EXPECT_EQ(by_metadata.summary().policy_source, "metadata");
}

TEST_F(VmTest, DoesNotFallBackToARuleWhenTheMetadataIsBad) {
    rules_.push_back({"*", "*", std::nullopt, std::nullopt, k_policy});
    DomainFacts bad = domain();
    bad.policy = Error{ErrorCode::invalid, "bad"};
    Vm vm = make(bad);
    EXPECT_THAT(only<WriteBalloon>(vm.start(now())), IsEmpty());
    EXPECT_FALSE(vm.policy());
    EXPECT_EQ(vm.summary().state, proto::VmState::marked);
}

TEST_F(VmTest, TellsTheAgentThatItsPolicyWasRemoved) {
    Vm vm = settled();
    const auto orders = only<TalkToAgent>(set_policy(vm, std::nullopt));
    ASSERT_THAT(orders, SizeIs(1));
    EXPECT_EQ(orders[0].policy->policy.mode, Mode::off);
    EXPECT_EQ(vm.summary().state, proto::VmState::unmanaged);
}

TEST_F(VmTest, NotesBeforeItTellsTheAgentToAct) {
    Vm vm = make(domain());
    const Actions actions = vm.start(now());
    ASSERT_THAT(only<WriteNote>(actions), testing::ElementsAre(WriteNote{{std::nullopt, true}}));
    const auto note =
        std::find(actions.begin(), actions.end(), Action(WriteNote{{std::nullopt, true}}));
    EXPECT_TRUE(std::none_of(actions.begin(), note, [](const Action& action) {
        return std::holds_alternative<TalkToAgent>(action);
    }));
    EXPECT_THAT(only<WriteNote>(run(vm, 10)), IsEmpty()) << "once";
}

// A policy that was in force when the controller went down and is not there when it comes back.
DomainFacts withdrawn_while_down() {
    DomainFacts facts = domain(std::nullopt);
    facts.current = 2_GiB;
    facts.note = {2_GiB, true};
    return facts;
}

TEST_F(VmTest, WithdrawsAPolicyThatWasRemovedWhileItWasDown) {
    Vm vm = make(withdrawn_while_down());
    const Actions actions = vm.start(now());
    EXPECT_THAT(only<WriteBalloon>(actions), IsEmpty());
    const auto orders = only<TalkToAgent>(actions);
    ASSERT_THAT(orders, SizeIs(1));
    ASSERT_TRUE(orders[0].policy);
    EXPECT_EQ(orders[0].policy->policy.mode, Mode::off);
    EXPECT_EQ(orders[0].policy->grant, 2_GiB);
    EXPECT_TRUE(validate(orders[0].policy->policy)) << "an agent would refuse it";
    EXPECT_THAT(only<WriteNote>(run(vm, 10)), IsEmpty()) << "the agent has not taken it yet";

    proto::PolicyInForce taken{orders[0].policy->generation - 1, orders[0].policy->policy, 2_GiB};
    EXPECT_THAT(only<WriteNote>(vm.on_agent(AgentTookPolicy{taken}, now())), IsEmpty())
        << "an earlier order";
    taken.generation = orders[0].policy->generation;
    EXPECT_THAT(only<WriteNote>(vm.on_agent(AgentTookPolicy{taken}, now())),
                testing::ElementsAre(WriteNote{{2_GiB, false}}));
    EXPECT_THAT(run(vm, 10), IsEmpty()) << "once";
}

TEST_F(VmTest, WithdrawsNothingWhereNothingWasOrderedOrThePolicyCannotBeRead) {
    DomainFacts never = withdrawn_while_down();
    never.note.agent_acts = false;
    Vm untouched = make(never);
    EXPECT_THAT(only<TalkToAgent>(untouched.start(now())), IsEmpty());

    DomainFacts bad = withdrawn_while_down();
    bad.policy = Error{ErrorCode::invalid, "bad"};
    Vm unreadable = make(bad);
    EXPECT_THAT(only<TalkToAgent>(unreadable.start(now())), IsEmpty());

    Vm dry = make(withdrawn_while_down(), true);
    EXPECT_THAT(only<TalkToAgent>(dry.start(now())), IsEmpty());
}

// --- agent ----------------------------------------------------------------------------------

TEST_F(VmTest, SendsThePolicyWithItsGrantAndAGrowingNumber) {
    Vm vm = make(domain());
    const Actions started = vm.start(now());
    const auto first = only<TalkToAgent>(started);
    ASSERT_FALSE(first.empty());
    EXPECT_EQ(first.back().path, "/run/web.sock");
    EXPECT_EQ(first.back().policy->policy, k_policy);
    EXPECT_EQ(first.back().policy->grant, 2_GiB);
    EXPECT_GE(first.back().policy->generation, 1'800'000'000'000U) << "above any earlier run's";
    obey(vm, started);
    const auto second = only<TalkToAgent>(set_policy(vm, Policy{512_MiB, 3_GiB}));
    ASSERT_FALSE(second.empty());
    EXPECT_GT(second.back().policy->generation, first.back().policy->generation);
    EXPECT_EQ(second.back().policy->grant, 3_GiB);
}

TEST_F(VmTest, SendsNothingNewWhenNothingChanged) {
    Vm vm = settled();
    EXPECT_THAT(only<TalkToAgent>(set_policy(vm, k_policy)), IsEmpty());
}

TEST_F(VmTest, KeepsTheGrantInsideThePolicyWhateverTheBalloonIs) {
    Vm vm = settled();
    const auto orders = only<TalkToAgent>(foreign(vm, 256_MiB));
    ASSERT_FALSE(orders.empty());
    EXPECT_EQ(orders.back().policy->grant, 512_MiB);
}

TEST_F(VmTest, SaysWhenThereIsNoChannel) {
    DomainFacts facts = domain();
    facts.channel.reset();
    Vm vm = make(facts);
    const Actions actions = vm.start(now());
    EXPECT_THAT(only<TalkToAgent>(actions), IsEmpty());
    EXPECT_THAT(only<WriteBalloon>(actions), SizeIs(1)) << "max-mem holds all the same";
    EXPECT_THAT(mark_message(vm, "no-channel"), HasSubstr("no channel"));
    DomainFacts plugged_in = domain();
    plugged_in.current = vm.facts().current;
    const Actions plugged = vm.on_domain(plugged_in, false, now());
    EXPECT_THAT(only<TalkToAgent>(plugged), SizeIs(1)) << "hot-added";
    EXPECT_FALSE(marked(vm, "no-channel"));
}

TEST_F(VmTest, MarksByWhatIsWrongWithTheAgent) {
    const std::vector<std::pair<AgentDown::Why, std::string>> cases{
        {AgentDown::Why::unreachable, "unreachable"},
        {AgentDown::Why::held, "channel-held"},
        {AgentDown::Why::silent, "silent"},
        {AgentDown::Why::flooding, "flooding"},
    };
    for (const auto& [why, word] : cases) {
        Vm vm = settled();
        (void)vm.on_agent(AgentDown{why, "because"}, now());
        EXPECT_TRUE(marked(vm, word)) << word;
        EXPECT_EQ(vm.summary().state, proto::VmState::marked);
        EXPECT_FALSE(vm.summary().agent_connected);
        (void)vm.on_agent(AgentUp{}, now());
        EXPECT_FALSE(marked(vm, word)) << word;
        EXPECT_EQ(vm.summary().state, proto::VmState::managed);
    }
}

TEST_F(VmTest, MarksACostlyGuestUntilAMinuteAfterTheLastTimeAndBelievesIt) {
    Vm vm = settled();
    (void)vm.on_agent(AgentCostly{}, now());
    EXPECT_THAT(mark_message(vm, "costly"), HasSubstr("a thousandth of a core"));
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
    pass(Seconds(50));
    (void)vm.on_agent(AgentCostly{}, now());
    pass(Seconds(50));
    (void)vm.tick(now());
    EXPECT_TRUE(marked(vm, "costly"));
    pass(Seconds(10));
    (void)vm.tick(now());
    EXPECT_FALSE(marked(vm, "costly"));
}

TEST_F(VmTest, TellsThatAStockAgentTakesNoPolicy) {
    Vm vm = settled();
    proto::AgentInfo stock = info_of_ours();
    stock.acma.reset();
    stock.version = "8.2.0";
    (void)vm.on_agent(AgentUp{stock}, now());
    EXPECT_THAT(mark_message(vm, "no-acma-agent"), HasSubstr("version 8.2.0) takes no policy"));
    EXPECT_EQ(vm.summary().state, proto::VmState::managed) << "the balloon holds max-mem";
    EXPECT_EQ(vm.summary().balloon_target, 2_GiB);
    (void)vm.on_agent(AgentDown{AgentDown::Why::silent, "x"}, now());
    EXPECT_FALSE(marked(vm, "no-acma-agent")) << "who will come back is not known";
    (void)vm.on_agent(AgentUp{stock}, now());
    EXPECT_TRUE(marked(vm, "no-acma-agent"));
    (void)vm.on_agent(AgentUp{info_of_ours()}, now());
    EXPECT_FALSE(marked(vm, "no-acma-agent")) << "ours was installed in its place";
}

TEST_F(VmTest, TellsWhatIsLostWithoutAnAgentInEachMode) {
    const auto told = [this](Mode mode, bool has_balloon, bool dry_run, const char* mark) {
        Policy policy = k_policy;
        policy.mode = mode;
        DomainFacts facts = domain(policy);
        facts.has_balloon = has_balloon;
        if (mark == std::string_view("no-channel")) {
            facts.channel.reset();
        }
        Vm vm = make(facts, dry_run);
        (void)vm.start(now());
        proto::AgentInfo stock = info_of_ours();
        stock.acma.reset();
        (void)vm.on_agent(AgentUp{stock}, now());
        return mark_message(vm, mark);
    };
    for (const char* mark : {"no-acma-agent", "no-channel"}) {
        EXPECT_THAT(told(Mode::automatic, true, false, mark),
                    HasSubstr("its balloon follows what its driver tells"));
        EXPECT_THAT(told(Mode::automatic, false, false, mark),
                    HasSubstr("max-mem is not held: there is no balloon"));
        EXPECT_THAT(told(Mode::observe, true, false, mark),
                    HasSubstr("not seen; under mode observe it would not be steered anyway"));
        EXPECT_THAT(told(Mode::off, true, false, mark), HasSubstr("under mode off it would not"));
        EXPECT_THAT(told(Mode::automatic, true, true, mark), HasSubstr("under a dry run it would"));
    }
}

TEST_F(VmTest, ChangesItsWordsAboutTheAgentWithTheMode) {
    DomainFacts facts = domain();
    facts.channel.reset();
    Vm vm = settled(facts);
    for (int i = 0; i < 3; ++i) {
        (void)foreign(vm, 1_GiB - 64_MiB * static_cast<uint64_t>(i));
    }
    ASSERT_EQ(vm.summary().state, proto::VmState::observed);
    EXPECT_THAT(mark_message(vm, "no-channel"), HasSubstr("mode observe"));
}

TEST_F(VmTest, AsksNoAgentToTakeAPolicyThatIsNotThere) {
    Vm vm = settled();
    proto::AgentInfo stock = info_of_ours();
    stock.acma->capabilities = {"status-1"};
    (void)vm.on_agent(AgentUp{stock}, now());
    EXPECT_TRUE(marked(vm, "no-acma-agent"));
    (void)set_policy(vm, std::nullopt);
    EXPECT_FALSE(marked(vm, "no-acma-agent"));
    (void)set_policy(vm, k_policy);
    EXPECT_TRUE(marked(vm, "no-acma-agent"));
    DomainFacts unplugged = vm.facts();
    unplugged.channel.reset();
    (void)vm.on_domain(unplugged, false, now());
    EXPECT_FALSE(marked(vm, "no-acma-agent"));
    EXPECT_FALSE(vm.summary().agent_connected);
}

TEST_F(VmTest, ChangesNoBalloonWhateverTheAgentSaysOrDoes) {
    Vm vm = settled();
    Actions all;
    const auto take = [&all](Actions actions) {
        for (Action& action : actions) {
            all.push_back(std::move(action));
        }
    };
    take(vm.on_agent(AgentUp{}, now()));
    AgentStatus liar = status(1);
    liar.mem_total = Bytes::max();
    liar.owned = Bytes::max();
    take(vm.on_agent(AgentSaid{liar}, now()));
    take(vm.on_agent(AgentDown{AgentDown::Why::silent, "x"}, now()));
    take(run(vm, 100));
    EXPECT_THAT(only<WriteBalloon>(all), IsEmpty());
}

TEST_F(VmTest, MarksImpossibleNumbersAndForgivesAfterAMinute) {
    Vm vm = settled();
    (void)vm.on_agent(AgentUp{}, now());
    AgentStatus liar = status(1);
    liar.mem_total = 5_GiB;
    (void)vm.on_agent(AgentSaid{liar}, now());
    EXPECT_THAT(mark_message(vm, "lying"),
                HasSubstr("mem_total 5 GiB is more than the VM's RAM 4 GiB"));
    EXPECT_EQ(vm.summary().state, proto::VmState::marked);
    pass(Seconds(1));
    (void)vm.on_agent(AgentSaid{status(2)}, now());
    (void)run(vm, 58);
    EXPECT_TRUE(marked(vm, "lying"));
    (void)run(vm, 2);
    EXPECT_FALSE(marked(vm, "lying"));
}

TEST_F(VmTest, MarksClaimsThatContradictTheHostForTenSeconds) {
    Vm vm = settled();
    (void)vm.on_agent(AgentUp{}, now());
    (void)vm.on_host_bytes(HostBytes{4_GiB, Bytes(0), Bytes(0), 100_MiB}, now());
    for (uint64_t i = 1; i <= 22; ++i) {
        AgentStatus claim = status(i);
        claim.owned = 3_GiB;
        if (i == 21) {
            EXPECT_FALSE(marked(vm, "lying")) << "by a figure from before the claim";
            (void)vm.on_host_bytes(HostBytes{4_GiB, Bytes(0), Bytes(0), 100_MiB}, now());
        }
        (void)vm.on_agent(AgentSaid{claim}, now());
        EXPECT_EQ(marked(vm, "lying"), i > 20) << i;
        pass(Seconds(1));
    }
    EXPECT_THAT(mark_message(vm, "lying"), HasSubstr("the host still holds 4 GiB"));
}

TEST_F(VmTest, TellsWhatTheGuestFreedAndTheHostStillHoldsAndDoesNothingAboutIt) {
    Vm vm = settled();  // 2 GiB of 4
    (void)vm.on_agent(AgentUp{info_of_ours()}, now());
    Actions all;
    const auto live = [&](int seconds, Bytes host) {
        for (int i = 0; i < seconds; ++i) {
            AgentStatus claim = status(static_cast<uint64_t>(clock_.count()));
            claim.mem_free = 1536_MiB;
            for (Action& action : vm.on_agent(AgentSaid{claim}, now())) {
                all.push_back(std::move(action));
            }
            if (i % 30 == 0) {
                (void)vm.on_host_bytes(HostBytes{host, Bytes(0), Bytes(0), 1_MiB}, now());
            }
            for (Action& action : run(vm, 1)) {
                all.push_back(std::move(action));
            }
        }
    };
    live(60, 2_GiB);
    EXPECT_FALSE(marked(vm, "not-returned"));
    live(5, 2_GiB);
    EXPECT_THAT(mark_message(vm, "not-returned"), HasSubstr("1.5 GiB of its 2 GiB are free"));
    EXPECT_THAT(vm.history().entries().back().reason, HasSubstr("not-returned: "));
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
    live(5, 800_MiB);
    EXPECT_TRUE(marked(vm, "not-returned"));
    live(10, 800_MiB);
    EXPECT_FALSE(marked(vm, "not-returned"));
    EXPECT_EQ(only<Tell>(all).size(), all.size()) << "nothing but words";
}

TEST_F(VmTest, TakesNoGuestInHugePagesForALiarWhenTheHostKeepsThem) {
    DomainFacts facts = domain();
    facts.huge_pages = true;
    Vm vm = settled(facts);
    for (int i = 0; i < 100; ++i) {
        AgentStatus claim = status(static_cast<uint64_t>(i));
        claim.owned = 2_GiB;
        claim.mem_free = 1_GiB;
        (void)vm.on_agent(AgentSaid{claim}, now());
        (void)vm.on_host_bytes(HostBytes{Bytes(0), Bytes(0), 4_GiB, 1_MiB}, now());
        (void)run(vm, 1);
        EXPECT_FALSE(marked(vm, "lying"));
    }
    EXPECT_THAT(mark_message(vm, "not-returned"), HasSubstr("its RAM is in huge pages"));
    EXPECT_EQ(vm.summary().state, proto::VmState::managed);
}

TEST_F(VmTest, DoesNotAskWhatIsReturnedOfAVmThatIsOff) {
    Policy policy = k_policy;
    policy.mode = Mode::off;
    Vm vm = settled(domain(policy));
    for (int i = 0; i < 100; ++i) {
        (void)vm.on_agent(AgentSaid{status(static_cast<uint64_t>(i))}, now());
        (void)vm.on_host_bytes(HostBytes{4_GiB, Bytes(0), Bytes(0), 1_MiB}, now());
        (void)run(vm, 1);
        EXPECT_FALSE(marked(vm, "not-returned"));
    }
}

TEST_F(VmTest, MarksNumbersThatStandStill) {
    Vm vm = settled();
    (void)vm.on_agent(AgentUp{}, now());
    for (int i = 0; i < 6; ++i) {
        (void)vm.on_agent(AgentSaid{status(7)}, now());
        EXPECT_FALSE(marked(vm, "stale")) << "a calm agent takes a sample every 2 s; after " << i;
        pass(Seconds(1));
    }
    (void)vm.on_agent(AgentSaid{status(7)}, now());
    EXPECT_TRUE(marked(vm, "stale"));
    (void)vm.on_agent(AgentSaid{status(8)}, now());
    EXPECT_FALSE(marked(vm, "stale"));
}

TEST_F(VmTest, MarksTheNumbersOfAnAgentThatAnswersWithErrorsOnly) {
    Vm vm = settled();
    (void)vm.on_agent(AgentUp{info_of_ours()}, now());
    (void)vm.on_agent(AgentSaid{status(7)}, now());
    (void)run(vm, 10);
    EXPECT_FALSE(marked(vm, "stale")) << "a reply may be slow";
    (void)run(vm, 1);
    EXPECT_THAT(mark_message(vm, "stale"), HasSubstr("though it answers"));
    (void)vm.on_agent(AgentSaid{status(8)}, now());
    EXPECT_FALSE(marked(vm, "stale"));
    (void)vm.on_agent(AgentDown{AgentDown::Why::silent, "x"}, now());
    (void)run(vm, 60);
    EXPECT_FALSE(marked(vm, "stale")) << "gone is gone";
    (void)vm.on_agent(AgentUp{info_of_ours()}, now());
    (void)run(vm, 1);
    EXPECT_FALSE(marked(vm, "stale")) << "it has just come back";
}

TEST_F(VmTest, ShowsWhatTheAgentSaidAndHowOldItIs) {
    Vm vm = settled();
    proto::AgentInfo info;
    info.version = "9.9";
    info.acma = proto::AcmaInfo{1, {"policy-1"}};
    (void)vm.on_agent(AgentUp{info}, now());
    (void)vm.on_agent(AgentSaid{status(3)}, now());
    pass(Seconds(2));
    const proto::VmDetail detail = vm.detail(now());
    EXPECT_EQ(detail.agent.version, "9.9");
    EXPECT_EQ(detail.agent.age, Micros(Seconds(2)));
    EXPECT_EQ(detail.agent.status->sequence, 3U);
    EXPECT_THAT(detail.agent.capabilities, testing::ElementsAre("policy-1"));
}

TEST_F(VmTest, ExplainsWhatTheAgentDecides) {
    Vm vm = settled();
    (void)vm.on_agent(AgentUp{info_of_ours()}, now());
    (void)vm.on_host_bytes(HostBytes{1_GiB, 1_MiB, Bytes(0), 5_MiB}, now());
    AgentStatus said = status(1);
    const auto say = [&](AgentState state, const std::string& reason) {
        pass(Seconds(1));
        ++said.sequence;
        said.uptime += Seconds(1);
        said.state = state;
        said.reason = reason;
        said.psi = 7_bp;
        (void)vm.on_agent(AgentSaid{said}, now());
    };
    say(AgentState::ramping, "psi is below its target");
    const size_t entries = vm.history().entries().size();
    EXPECT_EQ(vm.history().entries().back().decision, "agent-state");
    EXPECT_EQ(vm.history().entries().back().reason,
              "the agent is ramping: psi is below its target");
    EXPECT_EQ(vm.history().entries().back().numbers.at("psi_bp"), 7U);
    EXPECT_EQ(vm.history().entries().back().numbers.at("host_bytes"), (1_GiB + 1_MiB).count());
    say(AgentState::ramping, "psi is still below its target");
    EXPECT_EQ(vm.history().entries().size(), entries) << "only what changes";
    say(AgentState::holding, std::string(512, 'x'));
    EXPECT_EQ(vm.history().entries().size(), entries + 1);
    EXPECT_LE(vm.history().entries().back().reason.size(), 512U) << "as the API has it";
    for (int i = 0; i < 1000; ++i) {
        say(i % 2 == 0 ? AgentState::ramping : AgentState::settled, std::to_string(i));
    }
    EXPECT_LE(vm.history().entries().size(), entries + k_guest_history);
    EXPECT_EQ(vm.history().entries().front().decision, "set-policy") << "not pushed out";
}

TEST_F(VmTest, ForgetsWhatOurAgentSaidWhenAnotherIsInItsPlace) {
    Vm vm = settled();
    (void)vm.on_agent(AgentUp{info_of_ours()}, now());
    (void)vm.on_agent(AgentSaid{status(3)}, now());
    (void)vm.on_agent(AgentDown{AgentDown::Why::silent, "x"}, now());
    EXPECT_TRUE(vm.summary().psi) << "it may come back";
    proto::AgentInfo stock = info_of_ours();
    stock.acma.reset();
    (void)vm.on_agent(AgentUp{stock}, now());
    EXPECT_FALSE(vm.summary().psi);
    EXPECT_FALSE(vm.detail(now()).agent.status);
}

TEST_F(VmTest, CannotHaveItsHistoryFloodedByItsGuest) {
    Vm vm = settled();
    for (int i = 0; i < 1000; ++i) {
        (void)vm.on_agent(AgentDown{AgentDown::Why::silent, "x"}, now());
        (void)vm.on_agent(AgentUp{}, now());
        pass(Seconds(5));
    }
    const auto& entries = vm.history().entries();
    EXPECT_LE(entries.size(), k_history);
    EXPECT_EQ(std::count_if(entries.begin(), entries.end(),
                            [](const auto& entry) { return entry.decision == "shrink"; }),
              1);
}

TEST_F(VmTest, CannotHaveTheLogFloodedByItsGuest) {
    Vm vm = settled();
    size_t lines = 0;
    for (int i = 0; i < 1000; ++i) {
        lines += only<Tell>(vm.on_agent(AgentDown{AgentDown::Why::silent, "x"}, now())).size();
        lines += only<Tell>(vm.on_agent(AgentUp{}, now())).size();
    }
    EXPECT_LE(lines, 25U);
    pass(Seconds(60));
    const auto next = only<Tell>(vm.on_agent(AgentDown{AgentDown::Why::held, "x"}, now()));
    ASSERT_FALSE(next.empty());
    EXPECT_THAT(next.front().text, HasSubstr(" lines about this VM were left out before)"));
}

TEST(History, KeepsEntriesAsTheyWereAndDropsTheOldestBeyondItsBytes) {
    History history;
    const proto::ExplainEntry first{Micros(1'700'000'000'000'000),
                                    "grow",
                                    "it needs more",
                                    {{"from_bytes", 0}, {"to_bytes", ~uint64_t{0}}, {"a", 127}}};
    history.add(first, History::Cause::decision);
    EXPECT_EQ(history.entries(), std::vector{first});
    EXPECT_EQ(history.last_reason(), "it needs more");
    for (int i = 0; i < 100; ++i) {
        history.add({Micros(i), "shrink", std::to_string(i) + std::string(2000, 'x'), {}},
                    History::Cause::decision);
    }
    size_t bytes = 0;
    for (const proto::ExplainEntry& entry : history.entries()) {
        bytes += entry.reason.size();
    }
    EXPECT_LE(bytes, k_history_bytes);
    EXPECT_GT(bytes, k_history_bytes / 2);
    EXPECT_THAT(history.last_reason(), HasSubstr("99x"));
    EXPECT_EQ(history.decisions_total(), 101U);
}

TEST_F(VmTest, KeepsTheLastDecisionsOnly) {
    Vm vm = settled();
    for (uint64_t i = 0; i < 200; ++i) {
        obey(vm, set_policy(vm, Policy{512_MiB, 1_GiB + 4_MiB * i}));
        pass(Seconds(10));
    }
    EXPECT_EQ(vm.history().entries().size(), k_history);
    EXPECT_GE(vm.history().decisions_total(), 200U);
}

TEST_F(VmTest, SaysWhenItsMemoryCannotBeMeasured) {
    Vm vm = settled();
    (void)vm.on_host_bytes(Error{ErrorCode::not_found, "no QEMU process"}, now());
    EXPECT_TRUE(marked(vm, "no-host-bytes"));
    EXPECT_EQ(vm.summary().state, proto::VmState::managed) << "it is still managed";
    (void)vm.on_host_bytes(HostBytes{1_GiB, 1_MiB, Bytes(0), 5_MiB}, now());
    EXPECT_FALSE(marked(vm, "no-host-bytes"));
    EXPECT_EQ(vm.summary().host, 1_GiB + 1_MiB);
    EXPECT_EQ(vm.summary().qemu_own, 5_MiB);
}

}  // namespace
}  // namespace acma::host
