// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/proto/transcript.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "proto/client_session.h"
#include "proto/server_session.h"
#include "tests/unit/proto/samples.h"

namespace acma::proto {
namespace {

constexpr Time k_start{Seconds(1000)};
// --- a session of this release --------------------------------------------------------------

Outcome act(const Request& request) {
    if (const auto* set = std::get_if<SetPolicy>(&request.command)) {
        // As an agent whose agent.toml asks for a higher min-mem.
        PolicyInForce in_force{set->generation, set->policy, set->grant};
        in_force.policy.min_mem = 1_GiB;
        return Return{in_force};
    }
    return Return{samples::status()};
}

class Recorder {
  public:
    void converse() {
        for (std::string out = client_.take_output(); !out.empty(); out = client_.take_output()) {
            append_steps(transcript_, "controller", out);
            std::string_view bytes = out;
            while (auto request = server_.next(bytes, k_start)) {
                server_.reply(*request, act(*request));
            }
            const std::string back = server_.take_output();
            append_steps(transcript_, "agent", back);
            (void)client_.on_bytes(back, k_start);
        }
    }
    void ask(Command command) {
        ASSERT_TRUE(client_.send(std::move(command), k_start).ok());
        converse();
    }
    // What ClientSession never sends.
    void raw(const std::string& line) {
        append_steps(transcript_, "controller", line + "\n");
        const std::string with_end = line + "\n";
        std::string_view bytes = with_end;
        ASSERT_EQ(server_.next(bytes, k_start), std::nullopt);
        append_steps(transcript_, "agent", server_.take_output());
    }
    [[nodiscard]] const Transcript& transcript() const { return transcript_; }

  private:
    ClientSession client_{40, k_start};
    ServerSession server_{own_info("0.1.0")};
    Transcript transcript_;
};

Transcript record() {
    Recorder recorder;
    recorder.converse();
    recorder.ask(samples::set_policy());
    recorder.ask(GetStatus{});
    recorder.ask(Ping{});
    recorder.raw(R"({"execute":"guest-sync","arguments":{"id":1795300000000}})");
    recorder.raw(R"({"execute":"acma-no-such","id":50})");
    recorder.raw(R"({"execute":"acma-get-status","arguments":{"z":1},"id":51})");
    recorder.raw(R"({"execute":"acma-set-policy","arguments":{"psi_bp":0},"id":52})");
    return recorder.transcript();
}

TEST(Transcripts, ThisReleaseSpeaksVersion1ToTheByte) {
    if (std::getenv("ACMA_REGENERATE") != nullptr) {
        save_transcript("v1/acma.jsonl", record());
    }
    EXPECT_EQ(record(), load_transcript("v1/acma.jsonl"));
}

// --- one release apart ----------------------------------------------------------------------

TEST(Transcripts, TodaysAgentUnderstandsAVersion1Controller) {
    const Transcript transcript = load_transcript("v1/acma.jsonl");
    ServerSession server(own_info("9.9.9"));
    size_t answered = 0;
    for (size_t i = 0; i < transcript.size(); ++i) {
        if (transcript[i].from != "controller") {
            continue;
        }
        const std::string line = transcript[i].bytes();
        std::string_view bytes = line;
        while (auto request = server.next(bytes, k_start)) {
            server.reply(*request, act(*request));
        }
        Transcript reply;
        append_steps(reply, "agent", server.take_output());
        ASSERT_EQ(reply.size(), 1U) << line;
        // Same kind of answer to the same id; its fields may have become more.
        const Json::Value ours = parsed(reply[0].text);
        const Json::Value theirs = parsed(transcript[i + 1].text);
        EXPECT_EQ(ours["id"], theirs["id"]) << line;
        EXPECT_EQ(ours.isMember("error"), theirs.isMember("error")) << reply[0].text;
        EXPECT_EQ(ours["error"]["class"], theirs["error"]["class"]) << reply[0].text;
        EXPECT_EQ(reply[0].sentinel, transcript[i + 1].sentinel);
        ++answered;
    }
    EXPECT_GE(answered, 8U);
}

// Plays the agent's side of a transcript to today's controller, which sends its own requests.
std::vector<ClientEvent> replay_agent(const Transcript& transcript,
                                      const std::vector<Command>& commands) {
    ClientSession client(40, k_start);
    std::vector<ClientEvent> events;
    auto next = commands.begin();
    for (const Step& step : transcript) {
        if (client.ready() && next != commands.end()) {
            EXPECT_TRUE(client.send(*next++, k_start).ok());
        }
        if (step.from == "agent") {
            for (auto& event : client.on_bytes(step.bytes(), k_start)) {
                events.push_back(std::move(event));
            }
        }
    }
    return events;
}

TEST(Transcripts, TodaysControllerUnderstandsAVersion1Agent) {
    Transcript session = load_transcript("v1/acma.jsonl");
    session.resize(10);  // sync, info, set-policy, get-status, ping, each with its reply
    const auto events = replay_agent(session, {samples::set_policy(), GetStatus{}, Ping{}});
    ASSERT_EQ(events.size(), 4U);
    const auto& ready = std::get<Ready>(events[0]);
    EXPECT_TRUE(supports(ready.info, k_capability_policy));
    EXPECT_TRUE(supports(ready.info, k_capability_status));
    EXPECT_EQ(std::get<Answered>(events[1]).outcome, act(Request{samples::set_policy(), {}}));
    EXPECT_EQ(std::get<Answered>(events[2]).outcome, Outcome(Return{samples::status()}));
    EXPECT_EQ(std::get<Answered>(events[3]).outcome, Outcome(Return{Empty{}}));
}

TEST(Transcripts, TodaysControllerUnderstandsAnAgentOneReleaseNewer) {
    const auto events =
        replay_agent(load_transcript("next/agent.jsonl"), {samples::set_policy(), GetStatus{}});
    ASSERT_EQ(events.size(), 3U);
    const auto& info = std::get<Ready>(events[0]).info;
    EXPECT_TRUE(supports(info, k_capability_policy));
    EXPECT_TRUE(supports(info, "status-2"));
    EXPECT_TRUE(std::holds_alternative<Return>(std::get<Answered>(events[1]).outcome));
    const auto& outcome = std::get<Return>(std::get<Answered>(events[2]).outcome);
    const auto& status = std::get<AgentStatus>(outcome);
    EXPECT_EQ(status.state, AgentState::degraded) << "a state that we do not know";
    EXPECT_EQ(status.mem_total, Bytes(4'001));
}

// --- the stock agent ------------------------------------------------------------------------

TEST(Transcripts, TodaysControllerUnderstandsAStockQemuGa) {
    Transcript session = load_transcript("qemu-ga/7.2.22.jsonl");
    session.resize(9);  // sync (with its extra error line), info, get-status, ping
    const auto events = replay_agent(session, {GetStatus{}, Ping{}});
    ASSERT_EQ(events.size(), 3U);
    const auto& info = std::get<Ready>(events[0]).info;
    EXPECT_EQ(info.version, "7.2.22");
    EXPECT_EQ(info.supported_commands.size(), 42U);
    EXPECT_FALSE(info.acma.has_value());
    EXPECT_EQ(std::get<Failure>(std::get<Answered>(events[1]).outcome).error_class,
              k_command_not_found);
    EXPECT_EQ(std::get<Answered>(events[2]).outcome, Outcome(Return{Empty{}}));
}

TEST(Transcripts, OurAgentAnswersInQemuGasWords) {
    const Transcript transcript = load_transcript("qemu-ga/7.2.22.jsonl");
    ServerSession server(own_info("0.1.0"));
    size_t compared = 0;
    for (size_t i = 0; i < transcript.size(); ++i) {
        const Step& step = transcript[i];
        // Our agent knows acma-*, lists fewer commands, and has no error line for a stray 0xFF.
        if (step.from != "controller" || step.sentinel ||
            step.text.find("guest-info") != std::string::npos ||
            step.text.find("acma-") != std::string::npos) {
            continue;
        }
        const std::string line = step.bytes();
        std::string_view bytes = line;
        ASSERT_EQ(server.next(bytes, k_start), std::nullopt);
        EXPECT_EQ(sorted(parsed(server.take_output())), sorted(parsed(transcript[i + 1].text)))
            << step.text;
        ++compared;
    }
    EXPECT_GE(compared, 15U);
}

}  // namespace
}  // namespace acma::proto
