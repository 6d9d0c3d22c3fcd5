// SPDX-License-Identifier: Apache-2.0
#include "proto/server_session.h"

#include <gtest/gtest.h>

#include "proto/wire_limits.h"
#include "tests/unit/proto/samples.h"

namespace acma::proto {
namespace {

constexpr Time k_start{Seconds(100)};

// An agent that answers everything that the session hands over with the samples.
class ServerSessionTest : public testing::Test {
  protected:
    std::string exchange(std::string_view bytes, Time now = k_start) {
        while (auto request = session_.next(bytes, now)) {
            handed_over_.push_back(*request);
            if (std::holds_alternative<SetPolicy>(request->command)) {
                session_.reply(*request, Return{samples::policy_in_force()});
            } else {
                session_.reply(*request, Failure{std::string(k_generic_error), "not now"});
            }
        }
        EXPECT_TRUE(bytes.empty());
        return session_.take_output();
    }

    ServerSession session_{own_info("0.1.0")};
    std::vector<Request> handed_over_;
};

TEST_F(ServerSessionTest, AnswersSyncPingAndInfoItself) {
    EXPECT_EQ(exchange("{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":7}}\n"),
              "\xFF{\"return\":7}\n");
    EXPECT_EQ(exchange("{\"execute\":\"guest-sync\",\"arguments\":{\"id\":8}}\n"),
              "{\"return\":8}\n");
    EXPECT_EQ(exchange("{\"execute\":\"guest-ping\",\"id\":9}\n"), "{\"return\":{},\"id\":9}\n");
    EXPECT_NE(exchange("{\"execute\":\"guest-info\"}\n").find("\"policy-1\""), std::string::npos);
    EXPECT_TRUE(handed_over_.empty());
    EXPECT_EQ(session_.counters().requests, 4U);
}

TEST_F(ServerSessionTest, WorksForLibvirtWhichSendsPlainSyncAndCommand) {
    EXPECT_EQ(exchange("{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1795300000000}}\n"),
              "{\"return\":1795300000000}\n");
    EXPECT_EQ(exchange("{\"execute\":\"guest-ping\"}\n"), "{\"return\":{}}\n");
}

TEST_F(ServerSessionTest, HandsOverAcmaCommandsAndSendsTheirReplies) {
    const Request set{samples::set_policy(), Id{int64_t{3}}};
    const std::string output = exchange(encode(set) + "\n");
    EXPECT_EQ(handed_over_, std::vector{set});
    EXPECT_EQ(output, encode(Reply{Return{samples::policy_in_force()}, set.id}) + "\n");
}

TEST_F(ServerSessionTest, TellsOfEventsOnlyToWhoAskedForThemAndNotTooOften) {
    const auto told = [this](Time now) {
        session_.tell(k_event_at_grant, now);
        return session_.take_output();
    };
    EXPECT_EQ(told(k_start), "") << "virsh would not know what it is";
    EXPECT_EQ(exchange("{\"execute\":\"acma-enable-events\",\"id\":1}\n"),
              "{\"return\":{},\"id\":1}\n");
    EXPECT_EQ(told(k_start), "{\"event\":\"acma-at-grant\"}\n");
    EXPECT_EQ(told(k_start + Millis(99)), "");
    EXPECT_NE(told(k_start + Millis(100)), "");
    (void)exchange("{\"execute\":\"guest-sync\",\"arguments\":{\"id\":8}}\n");
    EXPECT_EQ(told(k_start + Seconds(1)), "") << "perhaps somebody else is there now";
}

TEST_F(ServerSessionTest, KeepsTheOrderOfPipelinedRequests) {
    const std::string output = exchange(
        "{\"execute\":\"acma-get-status\",\"id\":1}\n{\"execute\":\"guest-ping\",\"id\":2}\n"
        "{\"execute\":\"nope\",\"id\":3}\n{\"execute\":\"acma-get-status\",\"id\":4}\n");
    size_t at = 0;
    for (const auto* id : {"\"id\":1", "\"id\":2", "\"id\":3", "\"id\":4"}) {
        at = output.find(id, at);
        ASSERT_NE(at, std::string::npos) << id;
    }
}

TEST_F(ServerSessionTest, AnswersGarbageWithAnErrorAndGoesOn) {
    EXPECT_EQ(exchange("\x01\x02garbage\n").rfind("{\"error\":{\"class\":\"GenericError\"", 0), 0U);
    EXPECT_EQ(exchange("{\"execute\":\"guest-ping\"}\n"), "{\"return\":{}}\n");
    EXPECT_EQ(session_.counters().refused, 1U);
}

TEST_F(ServerSessionTest, AnswersAnOverlongLineOnceWithoutKeepingIt) {
    const std::string piece(10'000, 'x');
    std::string output;
    for (int i = 0; i < 20; ++i) {
        output += exchange(piece);
    }
    EXPECT_EQ(output,
              "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error, longer "
              "in bytes than 65536\"}}\n");
    EXPECT_EQ(session_.counters().too_long, 1U);
    EXPECT_EQ(exchange("\n{\"execute\":\"guest-ping\"}\n"), "{\"return\":{}}\n");
}

TEST_F(ServerSessionTest, SyncsInTheMiddleOfARequest) {
    EXPECT_EQ(exchange("{\"execute\":\"guest-pi"), "");
    EXPECT_EQ(exchange("\xFF{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":7}}\n"),
              "\xFF{\"return\":7}\n");
}

TEST_F(ServerSessionTest, SentinelDropsRepliesThatNobodyFetched) {
    std::string_view bytes = "{\"execute\":\"guest-ping\"}\n";
    ASSERT_EQ(session_.next(bytes, k_start), std::nullopt);
    ASSERT_TRUE(session_.has_output());
    EXPECT_EQ(exchange("\xFF"), "");
}

TEST_F(ServerSessionTest, BoundsItsOutputWhenTheHostDoesNotRead) {
    const std::string_view info = "{\"execute\":\"guest-info\"}\n";
    for (int i = 0; i < 10'000; ++i) {
        std::string_view bytes = info;
        ASSERT_EQ(session_.next(bytes, k_start), std::nullopt);
    }
    EXPECT_GT(session_.counters().dropped_replies, 0U);
    const std::string output = session_.take_output();
    EXPECT_LE(output.size(), k_max_server_output_bytes);
    EXPECT_EQ(output.back(), '\n');
    EXPECT_NE(exchange(info), "");
}

TEST_F(ServerSessionTest, ReadsAFloodingHostSlowly) {
    EXPECT_LE(session_.read_again_at(), k_start);
    const std::string blank(k_server_input_burst_bytes, '\n');
    exchange(blank);
    EXPECT_LE(session_.read_again_at(), k_start);
    exchange(std::string(8000, '\n'));
    EXPECT_EQ(session_.read_again_at(), k_start + Seconds(1));
    exchange("\n", k_start + Seconds(3600));
    EXPECT_LE(session_.read_again_at(), k_start + Seconds(3600));
}

}  // namespace
}  // namespace acma::proto
