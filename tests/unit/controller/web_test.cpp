// SPDX-License-Identifier: Apache-2.0
// The HTTP server towards clients that are not ours: browsers, and whoever else may come by TCP.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/api_asio/http_server_asio.h"
#include "host-controller/api_asio/lobby.h"

namespace acma::host {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// --- who has to leave -----------------------------------------------------------------------

struct Somebody final : Visitor {
    explicit Somebody(Lobby& where) : lobby(where) { lobby.enter(*this); }
    void turn_out() override {
        lobby.leave(*this);
        left = true;
    }
    Lobby& lobby;
    bool left = false;
};

TEST(Lobby, TurnsOutWhoHasIdledForLongest) {
    Lobby lobby(3);
    Somebody first(lobby);
    Somebody second(lobby);
    EXPECT_TRUE(lobby.make_room());
    EXPECT_FALSE(first.left || second.left) << "there is room";
    Somebody third(lobby);
    lobby.turns_to(first, Visitor::Doing::listening);
    lobby.turns_to(first, Visitor::Doing::asking);  // asks again, so second is the oldest now
    EXPECT_TRUE(lobby.make_room());
    EXPECT_TRUE(second.left);
    EXPECT_FALSE(first.left || third.left);
}

TEST(Lobby, TurnsOutWhoDoesNotReadHisAnswerBeforeItRefuses) {
    Lobby lobby(2);
    Somebody waiting(lobby);
    Somebody listening(lobby);
    lobby.turns_to(listening, Visitor::Doing::listening);
    lobby.turns_to(waiting, Visitor::Doing::waiting);
    EXPECT_TRUE(lobby.make_room());
    EXPECT_TRUE(listening.left);
    Somebody another(lobby);
    lobby.turns_to(another, Visitor::Doing::waiting);
    EXPECT_FALSE(lobby.make_room()) << "who waits for us is not turned out";
    EXPECT_FALSE(waiting.left || another.left);
    lobby.leave(another);
    EXPECT_TRUE(lobby.make_room());
}

// --- whose name is asked for ----------------------------------------------------------------

TEST(WebGuard, KnowsAddressesLocalhostAndOurNames) {
    const std::vector<std::string> names{"node7", "node7.example.org"};
    for (const char* ours : {"127.0.0.1", "127.0.0.1:9178", "192.0.2.7:9178", "[::1]:9178",
                             "[2001:db8::1]", "localhost", "LOCALHOST:9178", "node7:9178",
                             "Node7.Example.org", "node7.example.org.:9178"}) {
        EXPECT_TRUE(asks_for_us(ours, names)) << ours;
    }
    for (const char* other :
         {"", ":9178", "evil.example", "evil.example:9178", "node7.evil.example", "127.0.0.1.evil",
          "[::1", "[evil]", "[127.0.0.1]", "xlocalhost", "localhost.evil", "127.0.0.1evil",
          "::1"}) {
        EXPECT_FALSE(asks_for_us(other, names)) << other;
    }
    EXPECT_FALSE(asks_for_us("node7", {}));
}

// --- over TCP -------------------------------------------------------------------------------

class WebTest : public testing::Test {
  protected:
    static constexpr uint16_t k_port = 39'181;

    void SetUp() override {
        ASSERT_TRUE(server->serve_tcp({"127.0.0.1", k_port}, {"node7"}));
        thread = std::thread([this] { context.run(); });
    }
    void TearDown() override {
        context.stop();
        thread.join();
        server.reset();
    }
    // All that comes back for these bytes, until the server closes.
    [[nodiscard]] std::string raw(const std::string& bytes) {
        asio::ip::tcp::socket socket(clients);
        socket.connect({asio::ip::make_address("127.0.0.1"), k_port});
        boost::system::error_code error;
        asio::write(socket, asio::buffer(bytes), error);
        std::string answer;
        asio::read(socket, asio::dynamic_buffer(answer), error);
        return answer;
    }
    [[nodiscard]] std::string get(const std::string& headers) {
        return raw("GET /x HTTP/1.1\r\nConnection: close\r\n" + headers + "\r\n");
    }

    asio::io_context context;
    asio::io_context clients;
    std::string answer_with = "fine";
    std::optional<HttpServer> server{
        std::in_place, context,
        [this](const ApiRequest& request, const Respond& respond) {
            if (request.target == "/slow") {
                std::this_thread::sleep_for(std::chrono::milliseconds(300));
            }
            respond({200, "text/plain", answer_with});
        },
        [](const std::string&) {}};
    std::thread thread;
};

TEST_F(WebTest, AnswersOnlyWhoAsksForUs) {
    EXPECT_THAT(get("Host: 127.0.0.1:39181\r\n"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get("Host: node7\r\n"), StartsWith("HTTP/1.1 200"));
    for (const char* wrong : {"Host: evil.example:39181\r\n", "Host:\r\n", ""}) {
        const std::string answer = get(wrong);
        EXPECT_THAT(answer, StartsWith("HTTP/1.1 421")) << wrong;
        EXPECT_THAT(answer, HasSubstr("listen-names"));
        EXPECT_THAT(answer, Not(HasSubstr("evil")));
    }
}

TEST_F(WebTest, TellsBrowsersToBeCareful) {
    const std::string answer = get("Host: localhost\r\nOrigin: http://evil.example\r\n");
    EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: default-src 'none'"));
    EXPECT_THAT(answer, HasSubstr("frame-ancestors 'none'"));
    EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff"));
    EXPECT_THAT(answer, HasSubstr("Cross-Origin-Resource-Policy: same-origin"));
    EXPECT_THAT(answer, HasSubstr("Cache-Control: no-store"));
    EXPECT_THAT(answer, Not(HasSubstr("Access-Control"))) << "no other origin may read it";
}

TEST_F(WebTest, TakesNoChangesFromWebPages) {
    EXPECT_THAT(
        raw("POST /x HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n"),
        StartsWith("HTTP/1.1 403"));
}

TEST_F(WebTest, BoundsWhatAnswersCost) {
    std::string many;
    for (int i = 0; i < 8; ++i) {
        many += "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    }
    const std::string answers = raw(many);
    EXPECT_THAT(answers, HasSubstr("HTTP/1.1 200"));
    EXPECT_THAT(answers, HasSubstr("HTTP/1.1 429"));
    EXPECT_THAT(get("Host: localhost\r\n"), StartsWith("HTTP/1.1 429")) << "whoever asks";
    std::string answer;
    for (int i = 0; i < 100 && !answer.starts_with("HTTP/1.1 200"); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        answer = get("Host: localhost\r\n");
    }
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200")) << "after a while";
}

TEST_F(WebTest, BoundsWhatIsNotRead) {
    asio::post(context, [this] { answer_with.assign(10UL << 20U, 'x'); });
    std::vector<asio::ip::tcp::socket> deaf;
    for (int i = 0; i < 6; ++i) {
        deaf.emplace_back(clients).connect({asio::ip::make_address("127.0.0.1"), k_port});
        asio::write(deaf.back(),
                    asio::buffer(std::string("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")));
    }
    // Those are six answers of 10 MiB that nobody reads; of 64 MiB there is no room for one more.
    // Each has begun before we ask: answers that we read count against the time for answers.
    for (auto& one : deaf) {
        one.wait(asio::ip::tcp::socket::wait_read);
    }
    std::string answer;
    for (int i = 0; i < 100 && !answer.starts_with("HTTP/1.1 503"); ++i) {
        answer = get("Host: localhost\r\n");
    }
    EXPECT_THAT(answer.substr(0, 20), StartsWith("HTTP/1.1 503"));
    deaf.clear();
    for (int i = 0; i < 100 && !answer.starts_with("HTTP/1.1 200"); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        answer = get("Host: localhost\r\n");
    }
    EXPECT_THAT(answer.substr(0, 20), StartsWith("HTTP/1.1 200")) << "it recovers";
}

TEST_F(WebTest, RefusesWhatIsNotHttp) {
    EXPECT_THAT(raw("hello\r\n\r\n"), StartsWith("HTTP/1.1 400"));
    EXPECT_THAT(raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"),
                StartsWith("HTTP/1.1 413"));
}

}  // namespace
}  // namespace acma::host
