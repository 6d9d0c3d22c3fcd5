// SPDX-License-Identifier: Apache-2.0
#include "proto/client_session.h"

#include <gtest/gtest.h>

#include "proto/server_session.h"
#include "proto/wire_limits.h"
#include "tests/unit/proto/samples.h"

namespace acma::proto {
namespace {

using Events = std::vector<ClientEvent>;
constexpr Time k_start{Seconds(1000)};
constexpr int64_t k_first_id = 40;

template <typename T>
std::vector<T> of(const Events& events) {
    std::vector<T> found;
    for (const ClientEvent& event : events) {
        if (const auto* one = std::get_if<T>(&event)) {
            found.push_back(*one);
        }
    }
    return found;
}

class ClientSessionTest : public testing::Test {
  protected:
    // Carries bytes to a real agent's end and back until both are silent.
    Events converse(ClientSession& client) {
        Events all;
        for (std::string out = client.take_output(); !out.empty(); out = client.take_output()) {
            std::string_view bytes = out;
            while (auto request = server_.next(bytes, now_)) {
                if (std::holds_alternative<SetPolicy>(request->command)) {
                    server_.reply(*request, Return{samples::policy_in_force()});
                } else {
                    server_.reply(*request, Return{samples::status()});
                }
            }
            for (auto& event : client.on_bytes(server_.take_output(), now_)) {
                all.push_back(event);
            }
        }
        return all;
    }

    ClientSession& ready_client() {
        converse(client_);
        EXPECT_TRUE(client_.ready());
        return client_;
    }
    std::string reply_line(Return value, int64_t id) {
        return encode(Reply{std::move(value), Id{id}}) + "\n";
    }

    Time now_ = k_start;
    ServerSession server_{own_info("0.1.0")};
    ClientSession client_{k_first_id, k_start};
};

TEST_F(ClientSessionTest, SyncsGreetsAndIsReady) {
    EXPECT_FALSE(client_.ready());
    const Events events = converse(client_);
    EXPECT_EQ(events, (Events{Ready{own_info("0.1.0")}}));
    EXPECT_EQ(client_.next_deadline(), std::nullopt);
}

TEST_F(ClientSessionTest, SendsASentinelAndADelimitedSyncFirst) {
    EXPECT_EQ(client_.take_output(),
              "\xFF{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":41}}\n");
    EXPECT_EQ(client_.take_output(), "");
    EXPECT_EQ(client_.next_deadline(), k_start + k_first_sync_timeout);
}

TEST_F(ClientSessionTest, CarriesAPolicyAndAStatus) {
    ready_client();
    ASSERT_TRUE(client_.send(samples::set_policy(), now_).ok());
    EXPECT_EQ(converse(client_),
              (Events{Answered{samples::set_policy(), Return{samples::policy_in_force()}}}));
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    EXPECT_EQ(converse(client_), (Events{Answered{GetStatus{}, Return{samples::status()}}}));
    EXPECT_EQ(client_.counters().malformed + client_.counters().unexpected, 0U);
}

TEST_F(ClientSessionTest, HearsEventsBetweenRepliesAndOnlySoMany) {
    const std::string event = encode_event(k_event_at_grant) + "\n";
    ready_client();
    EXPECT_EQ(client_.on_bytes(event, now_), (Events{Called{}}));
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    EXPECT_EQ(client_.on_bytes(event, now_), (Events{Called{}}));
    EXPECT_EQ(of<Answered>(converse(client_)).size(), 1U) << "the reply comes all the same";
    size_t heard = 0;
    for (int i = 0; i < 200; ++i) {
        heard += of<Called>(client_.on_bytes(event, now_)).size();
    }
    EXPECT_LE(heard, k_client_call_burst);
    EXPECT_TRUE(client_.ready()) << "no offence, and not heard";
    now_ += Seconds(2);
    EXPECT_EQ(client_.on_bytes(event, now_), (Events{Called{}}));
    EXPECT_EQ(client_.counters().unexpected, 0U);
    EXPECT_EQ(client_.on_bytes("{\"event\":\"acma-of-later\"}\n", now_), Events{});
    EXPECT_EQ(client_.counters().unexpected, 1U);
}

TEST_F(ClientSessionTest, HandsOnTheFailureOfARequest) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    const Failure failure{"GenericError", "no"};
    EXPECT_EQ(client_.on_bytes(encode(Reply{failure, Id{int64_t{43}}}) + "\n", now_),
              (Events{Answered{GetStatus{}, failure}}));
    EXPECT_TRUE(client_.ready());
}

TEST_F(ClientSessionTest, HasOneRequestInFlight) {
    EXPECT_EQ(client_.send(GetStatus{}, now_).error().code, ErrorCode::busy);
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    EXPECT_EQ(client_.send(GetStatus{}, now_).error().code, ErrorCode::busy);
}

TEST_F(ClientSessionTest, DropsAllThatCameBeforeTheSentinel) {
    const std::string stale = "half\":1}\n{\"return\":{},\"id\":3}\n" + std::string(300'000, 'x') +
                              "\n{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse "
                              "error, stray '\\uFFFD'\"}}\n";
    EXPECT_EQ(client_.on_bytes(stale, now_), Events{});
    EXPECT_EQ(client_.on_bytes("{\"return\":41}\n", now_), Events{}) << "no sentinel yet";
    (void)client_.take_output();
    EXPECT_EQ(client_.on_bytes("\xFF{\"return\":41}\n", now_), Events{});
    EXPECT_EQ(client_.take_output(), "{\"execute\":\"guest-info\",\"id\":42}\n");
    EXPECT_EQ(client_.counters().malformed, 0U);
}

TEST_F(ClientSessionTest, IgnoresTheAnswerToAnOlderSync) {
    (void)client_.take_output();
    EXPECT_EQ(client_.on_bytes("\xFF{\"return\":40}\n{\"return\":41}\n", now_), Events{});
    EXPECT_EQ(client_.take_output(), "");
    EXPECT_EQ(client_.on_bytes("\xFF{\"return\":41}\n", now_), Events{});
    EXPECT_NE(client_.take_output(), "");
}

TEST_F(ClientSessionTest, RepeatsItsSyncWithFreshIdsAndBacksOff) {
    std::vector<Seconds> pauses;
    for (int i = 0; i < 6; ++i) {
        const Time deadline = client_.next_deadline().value();
        pauses.push_back(std::chrono::duration_cast<Seconds>(deadline - now_));
        EXPECT_EQ(client_.on_time(deadline - Micros(1)), Events{});
        (void)client_.take_output();
        now_ = deadline;
        EXPECT_EQ(client_.on_time(now_), Events{});
        EXPECT_NE(client_.take_output().find("\"id\":" + std::to_string(42 + i)),
                  std::string::npos);
    }
    EXPECT_EQ(pauses, (std::vector{Seconds(5), Seconds(10), Seconds(20), Seconds(40), Seconds(60),
                                   Seconds(60)}));
}

TEST_F(ClientSessionTest, ForgetsItsBackOffOnceAnAgentHasAnswered) {
    for (int i = 0; i < 6; ++i) {
        now_ = client_.next_deadline().value();
        EXPECT_EQ(client_.on_time(now_), Events{});
    }
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    now_ += k_reply_timeout;
    EXPECT_EQ(of<Unanswered>(client_.on_time(now_)).size(), 1U);
    EXPECT_EQ(client_.next_deadline(), now_ + k_first_sync_timeout);
}

TEST_F(ClientSessionTest, IsReadyAtOnceWhenALateAgentAnswersAllSyncs) {
    std::string queued = client_.take_output();
    for (int i = 0; i < 5; ++i) {
        now_ = client_.next_deadline().value();
        EXPECT_EQ(client_.on_time(now_), Events{});
        queued += client_.take_output();
    }
    std::string_view bytes = queued;
    ASSERT_EQ(server_.next(bytes, now_), std::nullopt);
    EXPECT_EQ(client_.on_bytes(server_.take_output(), now_), Events{});
    EXPECT_EQ(of<Ready>(converse(client_)).size(), 1U);
}

TEST_F(ClientSessionTest, SyncsAgainAfterATimeout) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    (void)client_.take_output();  // lost
    now_ += k_reply_timeout;
    const Events events = client_.on_time(now_);
    ASSERT_EQ(of<Unanswered>(events).size(), 1U);
    EXPECT_EQ(of<Unanswered>(events)[0].error.code, ErrorCode::timeout);
    EXPECT_FALSE(client_.ready());
    // The late reply belongs to nobody any more.
    EXPECT_EQ(client_.on_bytes(reply_line(samples::status(), 43), now_), Events{});
    EXPECT_EQ(of<Ready>(converse(client_)).size(), 1U);
    EXPECT_EQ(client_.counters().timeouts, 1U);
    EXPECT_EQ(client_.counters().malformed + client_.counters().unexpected, 0U);
}

TEST_F(ClientSessionTest, DropsRepliesWithAnUnknownId) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    EXPECT_EQ(client_.on_bytes(reply_line(samples::status(), 999), now_), Events{});
    EXPECT_EQ(client_.counters().unexpected, 1U);
    EXPECT_EQ(of<Answered>(converse(client_)).size(), 1U);
}

TEST_F(ClientSessionTest, NamesWhatIsWrongWithAReplyAndSyncsAgain) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    (void)client_.take_output();
    std::string lie = reply_line(samples::status(), 43);
    const std::string field = "\"mem_free_bytes\":4002";
    lie.replace(lie.find(field), field.size(), "\"mem_free_bytes\":-4002");
    const Events events = client_.on_bytes(lie, now_);
    ASSERT_EQ(of<Unanswered>(events).size(), 1U);
    EXPECT_NE(of<Unanswered>(events)[0].error.message.find("mem_free_bytes"), std::string::npos);
    EXPECT_EQ(of<Ready>(converse(client_)).size(), 1U);
    EXPECT_EQ(client_.counters().malformed, 1U);
}

TEST_F(ClientSessionTest, TreatsAnOverlongReplyAsMalformed) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    const Events events = client_.on_bytes(std::string(k_max_reply_bytes + 1, 'x'), now_);
    ASSERT_EQ(of<Unanswered>(events).size(), 1U);
    EXPECT_EQ(of<Unanswered>(events)[0].error.code, ErrorCode::too_large);
}

TEST_F(ClientSessionTest, DeclaresAFloodHostileAndForgetsIt) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    const std::string flood(k_client_input_burst_bytes, '\n');
    EXPECT_EQ(of<Hostile>(client_.on_bytes(flood, now_)).size(), 1U);
    EXPECT_FALSE(client_.ready());
    EXPECT_EQ(client_.take_output(), "");
    EXPECT_EQ(client_.on_bytes(flood, now_), Events{});
    EXPECT_EQ(client_.on_time(now_ + Seconds(100)), Events{});
    EXPECT_EQ(client_.next_deadline(), std::nullopt);
    EXPECT_EQ(client_.send(GetStatus{}, now_).error().code, ErrorCode::too_large);
}

TEST_F(ClientSessionTest, TakesAStatusASecondForEver) {
    ready_client();
    for (int second = 0; second < 2'000; ++second) {
        now_ += Seconds(1);
        ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
        ASSERT_EQ(of<Answered>(converse(client_)).size(), 1U);
    }
}

TEST_F(ClientSessionTest, DeclaresManyUnwantedLinesHostileButForgivesAFew) {
    ready_client();
    for (uint64_t i = 0; i < k_client_offence_burst; ++i) {
        ASSERT_EQ(client_.on_bytes("[    1.0] kernel: hello\n", now_), Events{});
    }
    EXPECT_TRUE(client_.ready());
    EXPECT_EQ(of<Hostile>(client_.on_bytes("once more\n", now_)).size(), 1U);

    ClientSession slow(k_first_id, now_);
    ServerSession other(own_info("0.1.0"));
    server_ = other;
    converse(slow);
    for (int i = 0; i < 1000; ++i) {
        now_ += k_client_offence_interval;
        ASSERT_EQ(slow.on_bytes("noise\n", now_), Events{});
    }
    EXPECT_TRUE(slow.ready());
}

TEST_F(ClientSessionTest, BoundsALoopOfMalformedGreetings) {
    Events events;
    for (int i = 0; i < 100 && of<Hostile>(events).empty(); ++i) {
        const std::string sync = client_.take_output();
        const size_t at = sync.find("\"id\":");
        ASSERT_NE(at, std::string::npos);
        const std::string id = sync.substr(at + 5, sync.find('}') - at - 5);
        events =
            client_.on_bytes("\xFF{\"return\":" + id + "}\n{\"return\":{\"version\":1}}\n", now_);
        for (auto& event : client_.on_bytes(
                 "{\"return\":{\"version\":1},\"id\":" + std::to_string(std::stoll(id) + 1) + "}\n",
                 now_)) {
            events.push_back(event);
        }
    }
    EXPECT_EQ(of<Hostile>(events).size(), 1U);
    EXPECT_EQ(client_.next_deadline(), std::nullopt) << "hostile is the end";
    EXPECT_EQ(client_.take_output(), "");
}

TEST_F(ClientSessionTest, WrapsItsIdsAtTheTop) {
    ClientSession top(std::numeric_limits<int64_t>::max(), k_start);
    EXPECT_EQ(of<Ready>(converse(top)).size(), 1U);
    ClientSession negative(-1, k_start);
    EXPECT_EQ(of<Ready>(converse(negative)).size(), 1U);
}

TEST_F(ClientSessionTest, SeesTheSameHoweverTheBytesAreCut) {
    ready_client();
    ASSERT_TRUE(client_.send(GetStatus{}, now_).ok());
    Events events;
    for (const char& byte : reply_line(samples::status(), 43)) {
        for (auto& event : client_.on_bytes({&byte, 1}, now_)) {
            events.push_back(event);
        }
    }
    EXPECT_EQ(events, (Events{Answered{GetStatus{}, Return{samples::status()}}}));
}

}  // namespace
}  // namespace acma::proto
