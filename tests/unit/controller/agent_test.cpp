// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/agent_asio/agent_links_asio.h"
#include "host-controller/agent_asio/dialogue.h"
#include "host-controller/agent_asio/time_allowance.h"
#include "host-controller/agent_asio/unix_sockets.h"
#include "proto/server_session.h"
#include "tests/fakes/fake_agent_asio.h"

namespace acma::host {
namespace {

using fakes::FakeAgent;
using fakes::Manners;
using testing::HasSubstr;

constexpr Time at(Micros time) {
    return Time(time);
}
PolicyOrder order(uint64_t generation) {
    return {Policy{512_MiB, 2_GiB}, 1_GiB, generation};
}

TalkToAgent talk(std::optional<PolicyOrder> policy, std::optional<Bytes> swap_out_per_s = {}) {
    return {"", policy, swap_out_per_s};
}

// --- the dialogue, without sockets ----------------------------------------------------------

// Brings a dialogue and the agent's end of the protocol together, at one instant.
class DialogueTest : public testing::Test {
  protected:
    void exchange(AgentDialogue& dialogue, Micros time) {
        for (int i = 0; i < 20; ++i) {
            std::string sent = dialogue.take_output();
            std::string_view bytes = sent;
            while (const auto request = agent.next(bytes, at(time))) {
                commands.emplace_back(proto::name_of(request->command));
                if (const auto* policy = std::get_if<proto::SetPolicy>(&request->command)) {
                    agent.reply(*request, proto::Return{proto::PolicyInForce{
                                              policy->generation, policy->policy, policy->grant}});
                } else {
                    agent.reply(*request, proto::Return{AgentStatus{}});
                }
            }
            keep(dialogue.on_bytes(agent.take_output(), at(time)));
        }
    }
    void keep(AgentDialogue::Events happened) {
        for (AgentEvent& event : happened) {
            events.push_back(std::move(event));
        }
    }
    template <typename Kind>
    [[nodiscard]] long count() const {
        return std::count_if(events.begin(), events.end(), [](const AgentEvent& event) {
            return std::holds_alternative<Kind>(event);
        });
    }
    proto::ServerSession agent{proto::own_info("test")};
    std::vector<std::string> commands;
    std::vector<AgentEvent> events;
};

TEST_F(DialogueTest, SendsThePolicyFirstThenAsksOnceASecond) {
    AgentDialogue dialogue(7, talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    EXPECT_THAT(commands, testing::ElementsAre("acma-set-policy", "acma-get-status"));
    EXPECT_EQ(count<AgentUp>(), 1);
    EXPECT_EQ(count<AgentTookPolicy>(), 1);
    EXPECT_EQ(count<AgentSaid>(), 1);
    EXPECT_EQ(dialogue.next_wake(), at(Seconds(101)));
    keep(dialogue.on_time(at(Seconds(101))));
    exchange(dialogue, Seconds(101));
    EXPECT_EQ(count<AgentSaid>(), 2);
}

TEST_F(DialogueTest, SendsAChangedPolicyAtOnceAndTheSameOneNotAgain) {
    AgentDialogue dialogue(7, talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    commands.clear();
    dialogue.order(talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    EXPECT_TRUE(commands.empty());
    dialogue.order(talk(order(6)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    EXPECT_THAT(commands, testing::ElementsAre("acma-set-policy"));
}

TEST_F(DialogueTest, TellsLimitsBesideThePolicyAndAgainToANewAgent) {
    AgentDialogue dialogue(7, talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    commands.clear();
    dialogue.order(talk(order(5), 64_MiB), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    EXPECT_THAT(commands, testing::ElementsAre("acma-set-limits"));
    agent = proto::ServerSession(proto::own_info("1"));
    keep(dialogue.on_time(at(Seconds(101))));
    (void)dialogue.take_output();  // lost
    keep(dialogue.on_time(at(Seconds(106))));
    commands.clear();
    exchange(dialogue, Seconds(107));
    EXPECT_THAT(commands, testing::Contains("acma-set-limits"));
}

TEST_F(DialogueTest, AsksAtOnceWhenTheAgentCalls) {
    AgentDialogue dialogue(7, talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    commands.clear();
    keep(dialogue.on_bytes(proto::encode_event(proto::k_event_at_grant) + "\n",
                           at(Seconds(100) + Millis(300))));
    exchange(dialogue, Seconds(100) + Millis(300));
    EXPECT_THAT(commands, testing::ElementsAre("acma-get-status"));
}

TEST_F(DialogueTest, OnlyAsksWhenThereIsNoPolicyToSend) {
    AgentDialogue dialogue(7, talk(std::nullopt), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    EXPECT_THAT(commands, testing::ElementsAre("acma-get-status"));
}

TEST_F(DialogueTest, DoesNotSendAPolicyToAStockAgent) {
    proto::AgentInfo stock = proto::own_info("qemu-ga");
    stock.acma.reset();
    agent = proto::ServerSession(stock);
    AgentDialogue dialogue(7, talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    EXPECT_TRUE(commands.empty()) << "a ping is answered by the session itself";
    EXPECT_EQ(count<AgentUp>(), 1);
    EXPECT_EQ(dialogue.next_wake(), at(Seconds(110)));
}

TEST_F(DialogueTest, SendsThePolicyAgainAfterAnAgentWasLost) {
    AgentDialogue dialogue(7, talk(order(5)), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    keep(dialogue.on_time(at(Seconds(101))));
    (void)dialogue.take_output();  // lost
    keep(dialogue.on_time(at(Seconds(106))));
    ASSERT_EQ(count<AgentDown>(), 1);
    EXPECT_TRUE(dialogue.unanswered());
    commands.clear();
    exchange(dialogue, Seconds(107));
    EXPECT_FALSE(dialogue.unanswered());
    EXPECT_THAT(commands, testing::Contains("acma-set-policy"));
}

TEST_F(DialogueTest, DoesNotMakeUpForMissedPolls) {
    AgentDialogue dialogue(7, talk(std::nullopt), at(Seconds(100)));
    exchange(dialogue, Seconds(100));
    commands.clear();
    keep(dialogue.on_time(at(Seconds(160))));
    exchange(dialogue, Seconds(160));
    EXPECT_EQ(commands.size(), 1U);
    EXPECT_GT(*dialogue.next_wake(), at(Seconds(160)));
}

// --- what a channel may cost ----------------------------------------------------------------

TEST(TimeAllowance, LetsAnHonestAgentSayWhatItHasToSay) {
    TimeAllowance allowance;
    for (int second = 100; second < 4000; ++second) {
        allowance.charge(Micros(900), at(Seconds(second)));
        ASSERT_EQ(allowance.rests_until(at(Seconds(second))), std::nullopt);
    }
    EXPECT_EQ(allowance.total(), Micros(900) * 3900);
}

TEST(TimeAllowance, RestsForAsLongAsTheRateOfAThousandthPaysBack) {
    TimeAllowance allowance;
    for (int turn = 0; turn < 4; ++turn) {
        allowance.charge(Millis(5), at(Seconds(100)));
    }
    EXPECT_EQ(allowance.rests_until(at(Seconds(100))), std::nullopt) << "all at once";
    allowance.charge(Millis(2), at(Seconds(100)));
    EXPECT_EQ(allowance.rests_until(at(Seconds(100))), at(Seconds(102)));
    EXPECT_EQ(allowance.rests_until(at(Seconds(102))), std::nullopt);
    allowance.charge(Millis(3), at(Seconds(102)));
    EXPECT_EQ(allowance.rests_until(at(Seconds(102))), at(Seconds(105))) << "no new burst";
}

TEST(TimeAllowance, DoesNotTakeAnInterruptionForACost) {
    TimeAllowance allowance;
    allowance.charge(Seconds(30), at(Seconds(100)));
    EXPECT_EQ(allowance.rests_until(at(Seconds(100))), std::nullopt);
    EXPECT_EQ(allowance.total(), TimeAllowance::k_most_a_turn);
}

// --- the kernel's table of unix sockets -----------------------------------------------------

TEST(UnixSockets, TellAConnectionThatNobodyAccepted) {
    const std::string header = "Num       RefCount Protocol Flags    Type St Inode Path\n";
    const std::string listener =
        "0000000080000000: 00000002 00000000 00010000 0001 01 62585 /run/a.sock\n";
    const std::string waiting =
        "0000000044000000: 00000003 00000000 00000000 0001 02     0 /run/a.sock\n";
    const std::string accepted =
        "0000000044000000: 00000003 00000000 00000000 0001 03 62589 /run/a.sock\n";
    EXPECT_TRUE(waits_for_accept(header + listener + accepted + waiting, "/run/a.sock"));
    EXPECT_FALSE(waits_for_accept(header + listener + accepted, "/run/a.sock"));
    EXPECT_FALSE(waits_for_accept(header + waiting, "/run/b.sock"));
    EXPECT_FALSE(waits_for_accept(header + waiting, "/run/a"));
    EXPECT_FALSE(waits_for_accept("", "/run/a.sock"));
    EXPECT_FALSE(waits_for_accept("garbage\n\n:::", "/run/a.sock"));
}

// --- over real sockets ----------------------------------------------------------------------

class AgentLinksTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "acma-agent-XXXXXX";
        dir = ::mkdtemp(pattern.data());
    }
    void TearDown() override { std::filesystem::remove_all(dir); }

    [[nodiscard]] std::string path(const std::string& name) const { return dir / name; }
    void talk(const std::string& name, uint64_t generation = 1) {
        links.talk(VmId{name}, TalkToAgent{path(name), order(generation)});
    }
    // Runs the reactor until `done`; false after the deadline.
    bool until(const std::function<bool()>& done,
               std::chrono::milliseconds deadline = std::chrono::seconds(20)) {
        const auto end = std::chrono::steady_clock::now() + deadline;
        while (!done() && std::chrono::steady_clock::now() < end) {
            context.run_one_for(std::chrono::milliseconds(50));
            context.restart();
        }
        return done();
    }
    [[nodiscard]] std::optional<AgentDown> down(const std::string& name) const {
        for (const AgentEvent& event : events_of(name)) {
            if (const auto* found = std::get_if<AgentDown>(&event)) {
                return *found;
            }
        }
        return std::nullopt;
    }
    [[nodiscard]] const std::vector<AgentEvent>& events_of(const std::string& name) const {
        static const std::vector<AgentEvent> none;
        const auto found = events.find(VmId{name});
        return found == events.end() ? none : found->second;
    }
    [[nodiscard]] long said(const std::string& name) const {
        const auto& all = events_of(name);
        return std::count_if(all.begin(), all.end(), [](const AgentEvent& event) {
            return std::holds_alternative<AgentSaid>(event);
        });
    }

    std::filesystem::path dir;
    asio::io_context context;
    std::map<VmId, std::vector<AgentEvent>> events;
    AgentLinksAsio links{
        context, [this](const VmId& vm, const AgentEvent& event) { events[vm].push_back(event); }};
};

TEST_F(AgentLinksTest, GivesThePolicyToAnHonestAgentAndHearsItsStatus) {
    FakeAgent agent(context, path("a"), Manners::honest);
    agent.status.mem_total = 123_MiB;
    talk("a");
    ASSERT_TRUE(until([this] { return said("a") > 0; }));
    ASSERT_EQ(agent.policies().size(), 1U);
    EXPECT_EQ(agent.policies()[0].grant, 1_GiB);
    EXPECT_EQ(std::get<AgentSaid>(events_of("a").back()).status.mem_total, 123_MiB);
}

TEST_F(AgentLinksTest, GivesANewPolicyWithinAMoment) {
    FakeAgent agent(context, path("a"), Manners::honest);
    talk("a", 1);
    ASSERT_TRUE(until([this] { return said("a") > 0; }));
    // The best of a few: a busy machine may stop the test for longer than the moment lasts.
    auto best = std::chrono::steady_clock::duration::max();
    for (unsigned version = 2; version <= 5; ++version) {
        const auto start = std::chrono::steady_clock::now();
        talk("a", version);
        ASSERT_TRUE(until([&] { return agent.policies().size() == version; }));
        best = std::min(best, std::chrono::steady_clock::now() - start);
    }
    EXPECT_LT(best, std::chrono::milliseconds(200));
}

TEST_F(AgentLinksTest, ComesBackToAnAgentThatHungUp) {
    FakeAgent agent(context, path("a"), Manners::honest);
    talk("a");
    ASSERT_TRUE(until([this] { return said("a") > 0; }));
    agent.hang_up();
    ASSERT_TRUE(until([&agent] { return agent.policies().size() == 2; }));
    EXPECT_EQ(down("a")->why, AgentDown::Why::unreachable);
}

TEST_F(AgentLinksTest, SaysThatASocketIsNotThereAndFindsItLater) {
    talk("a");
    ASSERT_TRUE(until([this] { return down("a").has_value(); }));
    EXPECT_EQ(down("a")->why, AgentDown::Why::unreachable);
    EXPECT_THAT(down("a")->message, HasSubstr(path("a")));
    FakeAgent agent(context, path("a"), Manners::honest);
    EXPECT_TRUE(until([this] { return said("a") > 0; }));
}

TEST_F(AgentLinksTest, RefusesAPathThatIsTooLong) {
    links.talk(VmId{"a"}, TalkToAgent{"/" + std::string(200, 'x'), std::nullopt});
    ASSERT_TRUE(until([this] { return down("a").has_value(); }));
    EXPECT_THAT(down("a")->message, HasSubstr("longer than 107"));
}

TEST_F(AgentLinksTest, SaysThatAnotherClientHoldsTheChannel) {
    FakeAgent agent(context, path("a"), Manners::honest);
    asio::local::stream_protocol::socket other(context);
    other.connect(asio::local::stream_protocol::endpoint(path("a")));
    ASSERT_TRUE(until([&agent] { return agent.connections() == 1; }));
    talk("a");
    ASSERT_TRUE(until([this] { return down("a").has_value(); }));
    EXPECT_EQ(down("a")->why, AgentDown::Why::held);
    other.close();
    EXPECT_TRUE(until([this] { return said("a") > 0; })) << "and takes it when it is free";
}

TEST_F(AgentLinksTest, ReportsARefusedPolicyAndKeepsTalking) {
    FakeAgent agent(context, path("a"), Manners::refusing);
    talk("a");
    ASSERT_TRUE(until([this] { return said("a") > 0; }));
    const auto& all = events_of("a");
    EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](const AgentEvent& event) {
        const auto* refused = std::get_if<AgentRefusedPolicy>(&event);
        return refused != nullptr && refused->why == "I will not";
    }));
}

TEST_F(AgentLinksTest, LeavesAVmForGood) {
    FakeAgent agent(context, path("a"), Manners::honest);
    talk("a");
    ASSERT_TRUE(until([this] { return said("a") > 0; }));
    links.leave(VmId{"a"});
    const size_t told = events_of("a").size();
    until([] { return false; }, std::chrono::milliseconds(1500));
    EXPECT_EQ(events_of("a").size(), told);
}

TEST_F(AgentLinksTest, HearsGoodGuestsOnTimeBesideEveryKindOfBadOne) {
    FakeAgent good(context, path("good"), Manners::honest);
    FakeAgent silent(context, path("silent"), Manners::silent);
    FakeAgent flooding(context, path("flooding"), Manners::flooding);
    FakeAgent garbage(context, path("garbage"), Manners::garbage);
    FakeAgent dribbling(context, path("dribbling"), Manners::dribbling);
    FakeAgent muttering(context, path("muttering"), Manners::muttering);
    for (const char* name : {"silent", "flooding", "garbage", "dribbling", "muttering", "good"}) {
        talk(name);
    }
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(until([this] { return said("good") >= 8; }));
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took, std::chrono::milliseconds(8500));

    EXPECT_EQ(down("silent").value_or(AgentDown{}).why, AgentDown::Why::silent);
    EXPECT_EQ(down("flooding").value_or(AgentDown{}).why, AgentDown::Why::flooding);
    EXPECT_EQ(down("garbage").value_or(AgentDown{}).why, AgentDown::Why::flooding);
    EXPECT_EQ(down("dribbling").value_or(AgentDown{}).why, AgentDown::Why::silent);
    EXPECT_TRUE(down("muttering").has_value());
    EXPECT_FALSE(down("good"));
    // Cut off, not read for ever: its budget and what the sockets hold.
    EXPECT_LT(flooding.bytes_sent(), 4U * 1024 * 1024);
    EXPECT_EQ(flooding.connections(), 1U) << "and not tried again soon";
}

// The reader rests, the socket fills, and the guest has to wait; what it said is not lost.
TEST_F(AgentLinksTest, ReadsAGuestMoreSlowlyThatCostsTooMuch) {
    FakeAgent good(context, path("good"), Manners::honest);
    FakeAgent costly(context, path("costly"), Manners::calling);
    const auto told = [this](const char* name) {
        const auto& all = events_of(name);
        return std::any_of(all.begin(), all.end(), [](const AgentEvent& event) {
            return std::holds_alternative<AgentCostly>(event);
        });
    };
    talk("good");
    talk("costly");
    ASSERT_TRUE(until([&] { return told("costly"); }));
    const Micros before = links.cost(VmId{"costly"});
    const uint64_t sent = costly.bytes_sent();
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(until([this, heard = said("good")] { return said("good") >= heard + 3; }));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    // A thousandth, and the turn that goes over it.
    EXPECT_LT(links.cost(VmId{"costly"}) - before,
              Micros(static_cast<int64_t>(took.count() * 1'000)) + TimeAllowance::k_most_a_turn);
    EXPECT_LT(costly.bytes_sent() - sent, 512U * 1024) << "what the socket holds";
    EXPECT_FALSE(down("costly")) << "it waits, that is all";
    EXPECT_FALSE(told("good"));
    EXPECT_LT(links.cost(VmId{"good"}), Millis(5));

    costly.behave(Manners::honest);
    const long said_before = said("costly");
    EXPECT_TRUE(until([&] { return said("costly") > said_before; }, std::chrono::seconds(120)));
}

}  // namespace
}  // namespace acma::host
