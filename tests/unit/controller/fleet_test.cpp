// SPDX-License-Identifier: Apache-2.0
#include "host-controller/fleet/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/fake_ports.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

constexpr Policy k_policy{512_MiB, 2_GiB, 10_bp, 1000, Mode::automatic};

DomainFacts domain(const std::string& name, uint64_t id) {
    DomainFacts facts;
    facts.vm.uuid = "uuid-" + name;
    facts.name = name;
    facts.id = id;
    facts.ram = 4_GiB;
    facts.ram_blocks = {4_GiB};
    facts.current = 4_GiB;
    facts.has_balloon = true;
    facts.channel = "/run/" + name;
    facts.policy = std::optional(k_policy);
    return facts;
}

class FleetTest : public testing::Test {
  protected:
    Fleet make(bool dry_run = false, std::vector<PolicyRule> rules = {},
               std::optional<Bytes> host_reserve = {}) {
        Fleet fleet(Fleet::Settings{std::move(rules), host_reserve, 512_MiB, dry_run},
                    Fleet::Outside{hypervisor, agents, host_memory,
                                   [this] {
                                       return Now{Time(clock), Micros(clock)};
                                   },
                                   [this](bool warning, const std::string& text) {
                                       log += (warning ? "W " : "I ") + text + "\n";
                                   },
                                   [this](Micros delay) { wakes.push_back(delay); }});
        fleet.host().libvirt_connected = true;
        return fleet;
    }
    // One VM that has what its policy says.
    void settle(Fleet& fleet, const DomainFacts& facts) {
        fleet.on_hypervisor(DomainSeen{facts, false});
        while (!hypervisor.calls.empty()) {
            const auto call = hypervisor.finish();
            if (call.what == "balloon") {
                fleet.on_hypervisor(BalloonSeen{call.vm, call.target});
            }
        }
    }
    static Result<proto::VmDetail> change(Fleet& fleet, fakes::FakeHypervisor& hypervisor,
                                          const std::string& domain,
                                          const proto::PolicyChange& change,
                                          const Status& outcome = {}) {
        std::optional<Result<proto::VmDetail>> answer;
        fleet.change_policy(domain, change, [&answer](const Result<proto::VmDetail>& result) {
            EXPECT_FALSE(answer) << "answered twice";
            answer = result;
        });
        if (!answer) {
            hypervisor.finish(outcome);
        }
        return answer.value_or(Error{ErrorCode::timeout, "no answer"});
    }

    fakes::FakeHypervisor hypervisor;
    fakes::FakeAgentLinks agents;
    fakes::FakeHostMemory host_memory;
    Micros clock{Seconds(1000)};
    std::string log;
    std::vector<Micros> wakes;
};

TEST_F(FleetTest, EndsOnceWhatItHoldsIsLetGo) {
    Fleet fleet = make();
    bool ended = false;
    DomainFacts held = domain("web", 1);
    held.soft_limit = 3_GiB;
    held.note.limits = {3_GiB};
    fleet.on_hypervisor(DomainSeen{held, false});
    hypervisor.calls.clear();
    fleet.end([&ended] { ended = true; });
    EXPECT_FALSE(ended);
    ASSERT_EQ(hypervisor.calls.size(), 1U);
    EXPECT_EQ(hypervisor.calls[0].limit.limit, std::nullopt);
    hypervisor.finish();
    EXPECT_TRUE(ended);
    Fleet empty = make();
    bool at_once = false;
    empty.end([&at_once] { at_once = true; });
    EXPECT_TRUE(at_once);
}

TEST_F(FleetTest, ManagesADomainThatAppears) {
    Fleet fleet = make();
    fleet.on_hypervisor(DomainSeen{domain("web", 1), false});
    ASSERT_EQ(hypervisor.calls.size(), 2U);
    EXPECT_EQ(hypervisor.calls[0].target, 2_GiB);
    EXPECT_EQ(hypervisor.calls[1].note, (StateNote{std::nullopt, true})) << "the agent may act";
    EXPECT_EQ(host_memory.watched.at(VmId{"uuid-web"}), std::vector<Bytes>{4_GiB});
    EXPECT_EQ(agents.orders.at(VmId{"uuid-web"}).path, "/run/web");
    hypervisor.finish();
    EXPECT_EQ(hypervisor.calls.back().note, (StateNote{2_GiB, true}));
}

TEST_F(FleetTest, FindsRunningDomainsAtTheStart) {
    Fleet fleet = make();
    fleet.on_hypervisor(HypervisorUp{{domain("a", 1), domain("b", 2)}});
    EXPECT_EQ(fleet.vms().size(), 2U);
    EXPECT_TRUE(fleet.host().libvirt_connected);
}

TEST_F(FleetTest, ForgetsADomainThatIsGone) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    fleet.on_hypervisor(DomainGone{VmId{"uuid-web"}, "it was stopped"});
    EXPECT_TRUE(fleet.vms().empty());
    EXPECT_TRUE(host_memory.watched.empty());
    EXPECT_EQ(agents.left.size(), 1U);
}

TEST_F(FleetTest, StartsAnewWithADomainThatWasStartedAnew) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    fleet.on_hypervisor(DomainSeen{domain("web", 2), false});
    EXPECT_EQ(agents.left.size(), 1U);
    ASSERT_EQ(hypervisor.calls.size(), 2U);
    EXPECT_EQ(hypervisor.calls[0].what, "balloon") << "it is full size again";
    EXPECT_EQ(hypervisor.calls[1].note, (StateNote{std::nullopt, true}));
}

TEST_F(FleetTest, KeepsTheVmsWhileLibvirtIsAway) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    for (int i = 0; i < 10; ++i) {
        fleet.on_hypervisor(HypervisorDown{"libvirt: connection lost"});
    }
    fleet.tick();
    EXPECT_FALSE(fleet.list().host.libvirt_connected);
    EXPECT_EQ(fleet.vms().size(), 1U);
    EXPECT_EQ(agents.orders.size(), 1U) << "its agent is still talked to";
    EXPECT_TRUE(hypervisor.calls.empty());
    EXPECT_EQ(log.find("connection lost"), log.rfind("connection lost")) << "said once";
}

TEST_F(FleetTest, MarksTheDomainWhoseCallHangsAndNotTheOneWhoseCallWaits) {
    Fleet fleet = make();
    fleet.on_hypervisor(DomainSeen{domain("hangs", 1), false});
    fleet.on_hypervisor(DomainSeen{domain("waits", 2), false});
    fleet.on_hypervisor(CallSeen{VmId{"uuid-hangs"}, true});
    clock += Seconds(60);
    fleet.tick();
    const auto marks_of = [&fleet](const char* name) {
        const auto marks = fleet.detail(name)->vm.marks;
        return std::count_if(marks.begin(), marks.end(), [](const proto::Mark& mark) {
            return mark.what == "hypervisor-hangs";
        });
    };
    EXPECT_EQ(marks_of("hangs"), 1);
    EXPECT_EQ(marks_of("waits"), 0);
    fleet.on_hypervisor(CallSeen{VmId{"uuid-hangs"}, false});
    EXPECT_EQ(marks_of("hangs"), 0);
}

TEST_F(FleetTest, TellsTheAgentOfTheDomainThatMigrates) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    settle(fleet, domain("db", 2));
    fleet.on_hypervisor(MigrationSeen{VmId{"uuid-nobody"}, true});
    fleet.on_hypervisor(MigrationSeen{VmId{"uuid-db"}, true});
    EXPECT_EQ(agents.orders.at(VmId{"uuid-db"}).policy->policy.mode, Mode::observe);
    EXPECT_EQ(agents.orders.at(VmId{"uuid-web"}).policy->policy.mode, Mode::automatic);
    EXPECT_EQ(fleet.detail("db")->vm.marks.size(), 1U);
    EXPECT_TRUE(fleet.detail("web")->vm.marks.empty());
}

// --- the arbiter ----------------------------------------------------------------------------

// Two VMs that may have 2 GiB each, on a host that has 3 for them.
TEST_F(FleetTest, PromisesNoMoreThanTheHostHas) {
    Fleet fleet = make(false, {}, 200_MiB);
    fleet.host().mem_total = fleet.host().mem_available = 3_GiB + 200_MiB;
    settle(fleet, domain("web", 1));
    settle(fleet, domain("db", 2));
    for (int i = 0; i < 20; ++i) {
        clock += Seconds(1);
        fleet.tick();
        while (!hypervisor.calls.empty()) {
            const auto call = hypervisor.finish();
            if (call.what == "balloon") {
                fleet.on_hypervisor(BalloonSeen{call.vm, call.target});
            }
        }
    }
    const proto::VmList list = fleet.list();
    EXPECT_EQ(list.host.budget, 3_GiB);
    EXPECT_LE(list.host.granted, 3_GiB);
    for (const auto& vm : list.vms) {
        EXPECT_GE(vm.balloon_target, k_policy.min_mem);
    }
}

// It does not wait for the next second; a second one, and a mad one, is heard a little later.
TEST_F(FleetTest, RefusesAPolicyWhoseGuaranteeIsNotThere) {
    Fleet fleet = make(false, {}, 200_MiB);
    fleet.host().mem_total = fleet.host().mem_available = 3_GiB + 200_MiB;
    settle(fleet, domain("web", 1));
    settle(fleet, domain("db", 2));
    fleet.tick();
    EXPECT_EQ(fleet.list().host.lacking, Bytes(0));
    hypervisor.calls.clear();
    EXPECT_TRUE(change(fleet, hypervisor, "web", {.min_mem = 2_GiB}));
    const auto refused = change(fleet, hypervisor, "db", {.min_mem = 2_GiB});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::invalid);
    EXPECT_THAT(refused.error().message, HasSubstr("budget of 3 GiB by 1 GiB"));
    // Nobody asks us where it comes by virsh metadata.
    DomainFacts facts = domain("db", 2);
    facts.policy = std::optional(Policy{2_GiB, 2_GiB, 10_bp, 1000, Mode::automatic});
    fleet.on_hypervisor(DomainSeen{facts, true});
    clock += Seconds(1);
    fleet.tick();
    EXPECT_EQ(fleet.list().host.lacking, 1_GiB);
    EXPECT_THAT(log, HasSubstr("by 1 GiB: lower min-mem"));
    hypervisor.calls.clear();
    EXPECT_TRUE(change(fleet, hypervisor, "db", {.psi = 50_bp})) << "no worse";
    hypervisor.calls.clear();
    EXPECT_TRUE(change(fleet, hypervisor, "db", {.min_mem = 1_GiB + 512_MiB})) << "better";
    hypervisor.calls.clear();
    const auto worse = change(fleet, hypervisor, "db", {.min_mem = 1_GiB + 768_MiB});
    ASSERT_FALSE(worse);
    EXPECT_THAT(worse.error().message, HasSubstr("by 768 MiB, now by 512 MiB"));
}

TEST_F(FleetTest, HearsAGuestAtItsGrantAtOnce) {
    Fleet fleet = make(false, {}, 200_MiB);
    fleet.host().mem_total = fleet.host().mem_available = 8_GiB;
    DomainFacts small = domain("web", 1);
    small.current = 1_GiB;
    small.note.target = 1_GiB;
    fleet.on_hypervisor(DomainSeen{small, false});
    fleet.on_agent(small.vm, AgentUp{proto::own_info("1")});
    hypervisor.calls.clear();
    AgentStatus status;
    status.sequence = 1;
    status.mem_total = 4_GiB - 100_MiB;
    status.owned = 3_GiB;
    status.at_grant = true;
    clock += Millis(300);
    fleet.on_agent(small.vm, AgentSaid{status});
    EXPECT_THAT(wakes, testing::ElementsAre(Micros(0))) << "at once, but at no cost of this guest";
    fleet.on_wake();
    ASSERT_EQ(hypervisor.calls.size(), 1U);
    EXPECT_EQ(hypervisor.calls[0].what, "balloon");
    EXPECT_GT(hypervisor.calls[0].target, 1_GiB);
    for (int i = 0; i < 100; ++i) {
        fleet.on_agent(small.vm, AgentSaid{status});
    }
    EXPECT_THAT(wakes, testing::ElementsAre(Micros(0), testing::Gt(Micros(0))));
    clock += wakes.at(1);
    fleet.on_wake();
    fleet.on_agent(small.vm, AgentSaid{status});
    EXPECT_EQ(wakes.size(), 3U);
}

TEST_F(FleetTest, SharesWhatGuestsMayPageOutTogether) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    settle(fleet, domain("db", 2));
    const auto orders = agents.orders;
    fleet.tick();
    EXPECT_EQ(agents.orders.at(VmId{"uuid-web"}).swap_out_per_s, 64_MiB);
    AgentStatus status;
    status.sequence = 1;
    status.quota_per_s = 200_MiB;
    fleet.on_agent(VmId{"uuid-web"}, AgentUp{proto::own_info("1")});
    fleet.on_agent(VmId{"uuid-web"}, AgentSaid{status});
    fleet.tick();
    EXPECT_EQ(agents.orders.at(VmId{"uuid-web"}).swap_out_per_s, 256_MiB);
    EXPECT_EQ(agents.orders.at(VmId{"uuid-db"}).swap_out_per_s, 64_MiB);
    EXPECT_EQ(agents.orders.at(VmId{"uuid-web"}).policy, orders.at(VmId{"uuid-web"}).policy)
        << "no new policy, and no new number";
}

TEST_F(FleetTest, KeepsWhatIsReservedUntilItsDomainStarts) {
    Fleet fleet = make(false, {}, 200_MiB);
    fleet.host().mem_total = fleet.host().mem_available = 3_GiB + 200_MiB;
    settle(fleet, domain("web", 1));
    fleet.tick();
    EXPECT_EQ(fleet.reserve({4_GiB, {}, {}}).error().code, ErrorCode::invalid) << "never there";
    const auto made = fleet.reserve({1_GiB + 512_MiB, "db", {}});
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->missing, 512_MiB) << "web may have 2 GiB of 3";
    EXPECT_EQ(fleet.list().host.reserved, 1_GiB + 512_MiB);
    clock += Seconds(1);
    fleet.tick();
    EXPECT_EQ(hypervisor.calls.back().what, "balloon") << "somebody has to give it up";
    fleet.on_hypervisor(DomainSeen{domain("db", 2), false});
    EXPECT_TRUE(fleet.reservations().reservations.empty());
    EXPECT_THAT(log, HasSubstr("db: the 1.5 GiB that were reserved for it"));
}

TEST_F(FleetTest, ReleaseGivesAllRamAndLeavesTheVmAlone) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    std::optional<Result<proto::VmDetail>> answer;
    fleet.release("web", [&answer](const auto& result) { answer = result; });
    hypervisor.finish();  // the metadata
    ASSERT_TRUE(answer && *answer) << (answer ? answer->error().message : "no answer");
    EXPECT_EQ((*answer)->vm.policy->mode, Mode::off);
    std::optional<Bytes> target;
    while (!hypervisor.calls.empty()) {
        const auto call = hypervisor.finish();
        target = call.what == "balloon" ? std::optional(call.target) : target;
    }
    EXPECT_EQ(target, 4_GiB);
    fleet.on_hypervisor(BalloonSeen{VmId{"uuid-web"}, 4_GiB});
    for (int i = 0; i < 10; ++i) {
        clock += Seconds(1);
        fleet.tick();
    }
    for (const auto& call : hypervisor.calls) {
        EXPECT_NE(call.what, "balloon") << "left alone";
    }
    fleet.release("nobody", [&answer](const auto& result) { answer = result; });
    EXPECT_EQ(answer->error().code, ErrorCode::not_found);
}

TEST_F(FleetTest, ChangesNothingWhilePaused) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    ASSERT_TRUE(fleet.pause(true)->paused);
    EXPECT_EQ(agents.orders.at(VmId{"uuid-web"}).policy->policy.mode, Mode::observe);
    DomainFacts facts = domain("web", 1);
    facts.current = 2_GiB;
    facts.policy = std::optional(Policy{512_MiB, 1_GiB, 10_bp, 1000, Mode::automatic});
    fleet.on_hypervisor(DomainSeen{facts, true});
    fleet.on_hypervisor(DomainSeen{domain("new", 2), false});
    for (const auto& call : hypervisor.calls) {
        EXPECT_FALSE(call.what == "balloon" && call.vm.uuid == "uuid-web");
    }
    hypervisor.calls.clear();
    ASSERT_FALSE(fleet.pause(false)->paused);
    const auto wrote = [](const auto& call) {
        return call.what == "balloon" && call.target == 1_GiB;
    };
    EXPECT_TRUE(std::any_of(hypervisor.calls.begin(), hypervisor.calls.end(), wrote));
}

TEST_F(FleetTest, PromisesNothingWhileItIsNotKnownWhatRuns) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    const auto made = fleet.reserve({1_GiB, {}, {}});
    ASSERT_TRUE(made);
    fleet.on_hypervisor(HypervisorDown{"libvirt: connection lost"});
    std::vector<Error> refused{fleet.reserve({1_GiB, {}, {}}).error()};
    const auto keep = [&refused](const auto& result) { refused.push_back(result.error()); };
    for (const char* name : {"web", "not-known-yet"}) {
        fleet.release(name, keep);
        fleet.change_policy(name, {.psi = 20_bp}, keep);
    }
    ASSERT_EQ(refused.size(), 5U);
    for (const Error& error : refused) {
        EXPECT_EQ(error, (Error{ErrorCode::busy, "libvirt is not connected"}));
    }
    EXPECT_TRUE(fleet.give_up(made->reservations[0].id)) << "that promises nothing";
}

TEST_F(FleetTest, ReservationsEndAndAreGivenUp) {
    Fleet fleet = make();
    fleet.host().mem_total = fleet.host().mem_available = 4_GiB;
    fleet.tick();
    ASSERT_TRUE(fleet.reserve({1_GiB, {}, Seconds(5)}));
    const auto second = fleet.reserve({1_GiB, {}, {}});
    ASSERT_TRUE(second);
    clock += Seconds(6);
    fleet.tick();
    EXPECT_EQ(fleet.reservations().reservations.size(), 1U);
    EXPECT_THAT(log, HasSubstr("has ended unused"));
    EXPECT_TRUE(fleet.give_up(second->reservations[0].id));
    EXPECT_EQ(fleet.give_up(second->reservations[0].id).error().code, ErrorCode::not_found);
}

TEST_F(FleetTest, ChangesNothingWhenLibvirtComesBackAndAllIsAsBefore) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    settle(fleet, domain("db", 2));
    fleet.on_hypervisor(HypervisorDown{"libvirt: connection lost"});
    DomainFacts web = domain("web", 1);
    web.current = 2_GiB;
    web.note.target = 2_GiB;
    fleet.on_hypervisor(HypervisorUp{{web}});
    EXPECT_TRUE(hypervisor.calls.empty());
    EXPECT_EQ(fleet.vms().size(), 1U) << "db ended meanwhile";
}

TEST_F(FleetTest, TriesARefusedTargetAgainWhenLibvirtComesBack) {
    Fleet fleet = make();
    fleet.on_hypervisor(DomainSeen{domain("web", 1), false});
    hypervisor.finish(Error{ErrorCode::io, "connection lost"});
    hypervisor.calls.clear();
    fleet.on_hypervisor(HypervisorDown{"libvirt: connection lost"});
    fleet.on_hypervisor(HypervisorUp{{domain("web", 1)}});
    ASSERT_EQ(hypervisor.calls.size(), 1U);
    EXPECT_EQ(hypervisor.calls[0].what, "balloon");
}

TEST_F(FleetTest, KeepsAVmThatLibvirtListsButCannotDescribe) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    fleet.on_hypervisor(HypervisorUp{{}, {VmId{"uuid-web"}}});
    EXPECT_EQ(fleet.vms().size(), 1U);
    fleet.on_hypervisor(HypervisorUp{{}, {}});
    EXPECT_TRUE(fleet.vms().empty());
}

TEST_F(FleetTest, SaysWhichVmLibvirtCannotDescribe) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    fleet.on_hypervisor(DomainUnread{VmId{"uuid-web"}, "domain XML: line 3"});
    fleet.on_hypervisor(DomainUnread{VmId{"uuid-new"}, "domain XML: line 4"});
    EXPECT_THAT(log, HasSubstr("W web: domain XML: line 3; it keeps what it has"));
    EXPECT_THAT(log, HasSubstr("W uuid-new: domain XML: line 4"));
    EXPECT_EQ(fleet.vms().size(), 1U);
}

TEST_F(FleetTest, IgnoresNewsOfVmsThatAreGone) {
    Fleet fleet = make();
    fleet.on_hypervisor(DomainSeen{domain("web", 1), false});
    fleet.on_hypervisor(DomainGone{VmId{"uuid-web"}, "stopped"});
    hypervisor.finish();
    fleet.on_hypervisor(BalloonSeen{VmId{"uuid-web"}, 1_GiB});
    fleet.on_agent(VmId{"uuid-web"}, AgentUp{});
    fleet.on_host_bytes(VmId{"uuid-web"}, HostBytes{});
    EXPECT_TRUE(fleet.vms().empty());
}

TEST_F(FleetTest, FindsADomainByIdUuidAndName) {
    Fleet fleet = make();
    settle(fleet, domain("web", 7));
    settle(fleet, domain("7", 8));  // a name that looks like another's id: the id wins, as in virsh
    EXPECT_EQ(fleet.detail("7")->vm.name, "web");
    EXPECT_EQ(fleet.detail("uuid-7")->vm.name, "7");
    EXPECT_EQ(fleet.detail("web")->vm.uuid, "uuid-web");
    const auto missing = fleet.detail("nope");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::not_found);
}

TEST_F(FleetTest, TakesUuidsAsVirshDoes) {
    Fleet fleet = make();
    DomainFacts facts = domain("web", 1);
    facts.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    settle(fleet, facts);
    for (const char* uuid :
         {"6695EB01-F6A4-8304-79AA-97F2502E193F", "6695eb01f6a4830479aa97f2502e193f",
          "6695eb01-f6a48304-79aa97f2502e-193f"}) {
        EXPECT_TRUE(fleet.find(uuid)) << uuid;
    }
    for (const char* none :
         {"6695eb01f6a4830479aa97f2502e193", "6695eb01f6a4830479aa97f2502e193f0",
          "-6695eb01f6a4830479aa97f2502e193f", "6695eb01f6a4830479aa97f2502e193g", "-", ""}) {
        EXPECT_FALSE(fleet.find(none)) << none;
    }
    ASSERT_TRUE(fleet.reserve({1_GiB, "7795EB01F6A4830479AA97F2502E193F", {}}));
    DomainFacts reserved = domain("db", 2);
    reserved.vm.uuid = "7795eb01-f6a4-8304-79aa-97f2502e193f";
    settle(fleet, reserved);
    EXPECT_TRUE(fleet.reservations().reservations.empty()) << "it is its own now";
}

TEST_F(FleetTest, ListsVmsByNameAndSumsWhatTheyMayHave) {
    Fleet fleet = make();
    settle(fleet, domain("b", 1));
    settle(fleet, domain("a", 2));
    fleet.on_host_bytes(VmId{"uuid-a"}, HostBytes{1_GiB, Bytes(0), Bytes(0), 100_MiB});
    const proto::VmList list = fleet.list();
    ASSERT_EQ(list.vms.size(), 2U);
    EXPECT_EQ(list.vms[0].name, "a");
    EXPECT_EQ(list.host.granted, 4_GiB + 100_MiB);
}

TEST_F(FleetTest, ChangesOnlyTheFieldsThatAreGiven) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    std::optional<Policy> written;
    fleet.change_policy("web", {.psi = 50_bp}, [](const auto&) {});
    EXPECT_EQ(hypervisor.finish().policy, (Policy{512_MiB, 2_GiB, 50_bp, 1000, Mode::automatic}));
}

TEST_F(FleetTest, AnswersWithThePolicyInForce) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    const auto answer = change(fleet, hypervisor, "web", {.max_mem = 1_GiB});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->vm.policy->max_mem, 1_GiB);
    EXPECT_EQ(hypervisor.calls.front().target, 1_GiB) << "the balloon follows at once";
}

TEST_F(FleetTest, LosesNoneOfTwoChangesAtOnce) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    fleet.change_policy("web", {.max_mem = 1_GiB}, [](const auto&) {});
    fleet.change_policy("web", {.psi = 50_bp}, [](const auto&) {});
    hypervisor.finish();
    fleet.change_policy("web", {.shares = 7}, [](const auto&) {});
    while (!hypervisor.calls.empty()) {
        hypervisor.finish();
    }
    EXPECT_EQ(fleet.detail("web")->vm.policy, (Policy{512_MiB, 1_GiB, 50_bp, 7, Mode::automatic}));
}

TEST_F(FleetTest, ForgetsAChangeThatWasRefused) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    EXPECT_FALSE(
        change(fleet, hypervisor, "web", {.max_mem = 1_GiB}, Error{ErrorCode::io, "disk full"}));
    EXPECT_TRUE(change(fleet, hypervisor, "web", {.psi = 50_bp}));
    EXPECT_EQ(fleet.detail("web")->vm.policy->max_mem, 2_GiB);
}

TEST_F(FleetTest, NeedsBothBoundsForADomainWithoutAPolicy) {
    Fleet fleet = make();
    DomainFacts facts = domain("web", 1);
    facts.policy = std::optional<Policy>();
    settle(fleet, facts);
    const auto missing = change(fleet, hypervisor, "web", {.psi = 50_bp});
    ASSERT_FALSE(missing);
    EXPECT_THAT(missing.error().message, HasSubstr("has no policy, so min-mem"));
    const auto whole = change(fleet, hypervisor, "web", {.min_mem = 1_GiB, .max_mem = 2_GiB});
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->vm.policy->mode, Mode::automatic);
}

TEST_F(FleetTest, WritesWhatCanBeReadBackAndAnswersWithIt) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    const auto huge = change(fleet, hypervisor, "web", {.max_mem = Bytes(UINT64_MAX)});
    ASSERT_FALSE(huge);
    EXPECT_THAT(huge.error().message, HasSubstr("max-mem: size '18014398509481984KiB'"));
    EXPECT_TRUE(hypervisor.calls.empty());
    const auto odd = change(fleet, hypervisor, "web", {.min_mem = 1_GiB + Bytes(1)});
    ASSERT_TRUE(odd) << odd.error().message;
    EXPECT_EQ(odd->vm.policy->min_mem, 1_GiB + 1_KiB);
}

TEST_F(FleetTest, SaysWhyThePolicyThatIsThereIsNone) {
    Fleet fleet = make();
    DomainFacts facts = domain("web", 1);
    facts.policy = Error{ErrorCode::invalid, "attribute psi: '0' is not a percentage"};
    settle(fleet, facts);
    const auto refused = change(fleet, hypervisor, "web", {.psi = 50_bp});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message,
                HasSubstr("the domain's policy cannot be read: attribute psi: '0' is not"));
    EXPECT_TRUE(change(fleet, hypervisor, "web", {.min_mem = 1_GiB, .max_mem = 2_GiB}));
}

TEST_F(FleetTest, StartsFromTheRulesPolicyWhenOneIsSet) {
    Policy policy = k_policy;
    policy.mode = Mode::observe;
    Fleet fleet = make(false, {{"*", "*", std::nullopt, std::nullopt, policy}});
    DomainFacts facts = domain("web", 1);
    facts.policy = std::optional<Policy>();
    settle(fleet, facts);
    const auto answer = change(fleet, hypervisor, "web", {.shares = 5});
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->vm.policy->mode, Mode::observe);
    EXPECT_EQ(answer->vm.policy_source, "metadata");
}

TEST_F(FleetTest, KeepsThePolicyWhenTheChangeIsBadOrRefused) {
    Fleet fleet = make();
    settle(fleet, domain("web", 1));
    EXPECT_FALSE(change(fleet, hypervisor, "web", {.min_mem = 3_GiB}));
    EXPECT_FALSE(change(fleet, hypervisor, "web", {.psi = 0_bp}));
    fleet.host().libvirt_connected = true;
    const auto unknown = change(fleet, hypervisor, "nope", {.psi = 1_bp});
    ASSERT_FALSE(unknown);
    EXPECT_THAT(unknown.error().message, HasSubstr("virsh metadata --config"))
        << "it may be stopped";
    const auto refused = change(fleet, hypervisor, "web", {.psi = 1_bp},
                                Error{ErrorCode::permission, "access denied"});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("the policy stays as it was: access denied"));
    EXPECT_EQ(fleet.detail("web")->vm.policy, k_policy);
}

TEST_F(FleetTest, WritesNothingAtAllInADryRun) {
    Fleet fleet = make(true);
    fleet.on_hypervisor(DomainSeen{domain("web", 1), false});
    const auto answer = change(fleet, hypervisor, "web", {.psi = 1_bp});
    ASSERT_FALSE(answer);
    EXPECT_THAT(answer.error().message, HasSubstr("--dry-run"));
    EXPECT_TRUE(hypervisor.calls.empty());
    EXPECT_FALSE(agents.orders.at(VmId{"uuid-web"}).policy);
}

TEST_F(FleetTest, KeepsTheOthersGoingWhateverOneGuestDoes) {
    Fleet fleet = make();
    settle(fleet, domain("good", 1));
    settle(fleet, domain("bad", 2));
    const proto::VmSummary before = fleet.detail("good")->vm;
    AgentStatus lie;
    lie.mem_total = Bytes::max();
    fleet.on_agent(VmId{"uuid-bad"}, AgentSaid{lie});
    fleet.on_agent(VmId{"uuid-bad"}, AgentDown{AgentDown::Why::flooding, "too much"});
    EXPECT_EQ(fleet.detail("bad")->vm.state, proto::VmState::marked);
    EXPECT_EQ(fleet.detail("good")->vm, before);
}

}  // namespace
}  // namespace acma::host
