// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host-controller/acmactl/client_asio.h"
#include "host-controller/api_asio/http_server_asio.h"
#include "host-controller/api_asio/percent.h"
#include "host-controller/api_asio/routes.h"
#include "tests/fakes/fake_ports.h"
#include "tests/fakes/fake_usage.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

DomainFacts domain(const std::string& name) {
    DomainFacts facts;
    facts.vm.uuid = "uuid-" + name;
    facts.name = name;
    facts.id = 1;
    facts.ram = 4_GiB;
    facts.current = 4_GiB;
    facts.has_balloon = true;
    facts.policy = std::optional(Policy{512_MiB, 8_GiB});
    return facts;
}

// --- percent --------------------------------------------------------------------------------

TEST(Percent, DecodesWhatItEncodes) {
    for (const std::string text : {"web", "a b", "a/b", "100%", "\xc3\xa4", "..", "a?b#c"}) {
        EXPECT_EQ(percent_decode(percent_encode(text)).value_or("error"), text);
        EXPECT_EQ(percent_encode(text).find_first_of("/?# "), std::string::npos);
    }
}

TEST(Percent, RefusesBrokenEscapesAndControlCharacters) {
    for (const char* text : {"%", "%4", "%zz", "%-1", "a%0ab", "a\nb", "%7f", "%00"}) {
        EXPECT_FALSE(percent_decode(text)) << text;
    }
}

// --- routes ---------------------------------------------------------------------------------

class RoutesTest : public testing::Test {
  protected:
    ApiResponse ask(const std::string& method, const std::string& target,
                    const std::string& body = "", Entrance entrance = Entrance::unix_socket) {
        std::optional<ApiResponse> answer;
        handle_request({fleet, meter, charts, [] { return Now{}; }},
                       {method, target, body, entrance}, [&answer](ApiResponse response) {
                           EXPECT_FALSE(answer) << "answered twice";
                           answer = std::move(response);
                       });
        if (!answer && !hypervisor.calls.empty()) {
            hypervisor.finish();
        }
        return answer.value_or(ApiResponse{0, "", "no answer"});
    }
    void SetUp() override {
        fleet.on_hypervisor(HypervisorUp{{domain("web"), domain("a b")}});
        hypervisor.calls.clear();
    }

    fakes::FakeHypervisor hypervisor;
    fakes::FakeAgentLinks agents;
    fakes::FakeHostMemory host_memory;
    Fleet fleet{Fleet::Settings{},
                Fleet::Outside{hypervisor, agents, host_memory, [] { return Now{}; },
                               [](bool, const std::string&) {}, [](Micros) {}}};
    Moment now{Time(Seconds(100)), Seconds(1'795'867'200)};  // 2026-11-28T12:00:00Z
    fakes::FakeUsageLedger ledger;
    Meter meter{ledger, [this] { return now; }};
    Charts charts;
};

TEST_F(RoutesTest, ReservesAndGivesUpOverTheSocketOnly) {
    const std::string body = R"({"size_bytes":1073741824,"domain":"new"})";
    EXPECT_EQ(ask("POST", "/v1/reservations", body, Entrance::tcp).status, 403U);
    EXPECT_EQ(ask("POST", "/v1/reservations", R"({"size_bytes":1,"sice":2})").status, 400U);
    const ApiResponse made = ask("POST", "/v1/reservations", body);
    ASSERT_EQ(made.status, 200U) << made.body;
    const auto list = proto::from_json<proto::ReservationList>(made.body);
    ASSERT_TRUE(list);
    EXPECT_EQ(list->reservations.at(0).domain, "new");
    EXPECT_EQ(
        ask("GET", "/v1/reservations", "", Entrance::tcp).body.find("\"new\"") != std::string::npos,
        true);
    EXPECT_EQ(ask("DELETE", "/v1/reservations/x").status, 400U);
    EXPECT_EQ(ask("DELETE", "/v1/reservations/7").status, 404U);
    const std::string path = "/v1/reservations/" + std::to_string(list->reservations[0].id);
    EXPECT_EQ(ask("DELETE", path, "", Entrance::tcp).status, 403U);
    EXPECT_EQ(ask("DELETE", path).status, 200U);
    EXPECT_EQ(ask("DELETE", path).status, 404U);
}

TEST_F(RoutesTest, ListsVms) {
    const ApiResponse response = ask("GET", "/v1/vms");
    EXPECT_EQ(response.status, 200U);
    const auto list = proto::from_json<proto::VmList>(response.body);
    ASSERT_TRUE(list) << list.error().message;
    EXPECT_EQ(list->vms.size(), 2U);
    EXPECT_EQ(ask("GET", "/v1/vms?watch=1").status, 200U);
}

TEST_F(RoutesTest, ShowsAndExplainsAVmByItsEncodedName) {
    const auto detail = proto::from_json<proto::VmDetail>(ask("GET", "/v1/vms/a%20b").body);
    ASSERT_TRUE(detail);
    EXPECT_EQ(detail->vm.name, "a b");
    const auto why = proto::from_json<proto::Explanation>(ask("GET", "/v1/vms/web/explain").body);
    ASSERT_TRUE(why);
    EXPECT_FALSE(why->entries.empty());
}

TEST_F(RoutesTest, SetsAPolicyAndAnswersWithIt) {
    const ApiResponse response = ask("POST", "/v1/vms/web/policy", R"({"psi_bp": 42})");
    EXPECT_EQ(response.status, 200U) << response.body;
    const auto detail = proto::from_json<proto::VmDetail>(response.body);
    ASSERT_TRUE(detail);
    EXPECT_EQ(detail->vm.policy->psi, 42_bp);
}

TEST_F(RoutesTest, RefusesBadChangesWithTheReason) {
    for (const auto& [body, reason] : std::map<std::string, std::string>{
             {"", ""},
             {"{", ""},
             {R"({"psi": 1})", "psi"},
             {R"({"psi_bp": -1})", "psi_bp"},
             {R"({"psi_bp": 0})", "psi"},
             {R"({"psi_bp": 10001})", "psi"},
             {R"({"min_mem_bytes": 9663676416})", "above max-mem"},
             {std::string(1000, '['), ""},
         }) {
        const ApiResponse response = ask("POST", "/v1/vms/web/policy", body);
        EXPECT_EQ(response.status, 400U) << body;
        const auto error = proto::from_json<proto::ApiError>(response.body);
        ASSERT_TRUE(error) << response.body;
        EXPECT_THAT(error->message, HasSubstr(reason));
    }
    EXPECT_TRUE(hypervisor.calls.empty());
}

TEST_F(RoutesTest, TakesChangesOverTheUnixSocketOnly) {
    EXPECT_EQ(ask("POST", "/v1/vms/web/policy", R"({"psi_bp": 42})", Entrance::tcp).status, 403U);
    EXPECT_EQ(ask("GET", "/v1/vms/web", "", Entrance::tcp).status, 200U);
    EXPECT_TRUE(hypervisor.calls.empty());
}

TEST_F(RoutesTest, SaysWhatThereIsNot) {
    for (const char* target : {"/page", "/v1", "/v2/vms", "/v1/vms/", "/v1/vms/nope",
                               "/v1/vms/web/x", "/v1/vms/web/explain/x", "/favicon.ico"}) {
        EXPECT_EQ(ask("GET", target).status, 404U) << target;
    }
    EXPECT_EQ(ask("POST", "/v1/vms/nope/policy", R"({"psi_bp": 42})").status, 404U);
    EXPECT_EQ(ask("GET", "/v1/vms/%zz").status, 400U);
    EXPECT_EQ(ask("GET", "v1").status, 400U);
    EXPECT_EQ(ask("POST", "/v1/vms").status, 405U);
    EXPECT_EQ(ask("GET", "/v1/vms/web/policy").status, 405U);
    EXPECT_EQ(ask("DELETE", "/metrics").status, 405U);
    EXPECT_EQ(ask("DELETE", "/v1/reservations").status, 405U);
    EXPECT_EQ(ask("GET", "/v1/reservations/1").status, 405U);
    EXPECT_EQ(ask("PUT", "/v1/reservations").allow, "GET, HEAD, POST");
    EXPECT_EQ(ask("PUT", "/v1/pause").allow, "POST");
    EXPECT_EQ(ask("PUT", "/").allow, "GET, HEAD");
    EXPECT_EQ(ask("GET", "/v1/vms").allow, "");
}

TEST_F(RoutesTest, IsHealthyWhileLibvirtIsConnected) {
    EXPECT_EQ(ask("GET", "/healthz").status, 200U);
    fleet.on_hypervisor(HypervisorDown{"gone"});
    EXPECT_EQ(ask("GET", "/healthz").status, 503U);
    EXPECT_EQ(ask("POST", "/v1/reservations", R"({"size_bytes":1})").status, 503U);
    EXPECT_EQ(ask("POST", "/v1/vms/web/release").status, 503U);
    EXPECT_EQ(ask("POST", "/v1/pause").status, 200U) << "before it comes back";
}

TEST_F(RoutesTest, ServesMetrics) {
    const ApiResponse response = ask("GET", "/metrics");
    EXPECT_THAT(response.content_type, HasSubstr("text/plain; version=0.0.4"));
    EXPECT_THAT(response.body,
                HasSubstr("acma_domain_decisions_total{domain=\"web\",uuid=\"uuid-web\"} 1"));
    agents.each_costs = Millis(1500);
    EXPECT_THAT(
        ask("GET", "/metrics").body,
        HasSubstr("acma_domain_agent_cost_seconds_total{domain=\"web\",uuid=\"uuid-web\"} 1.5"));
}

TEST_F(RoutesTest, TellsUsageAndCountsIt) {
    for (int second = 0; second < 2; ++second) {
        const Reading::Measured measured{2_GiB, now.mono};
        meter.observe({{"uuid-web", "web", measured, 1_GiB},
                       {"uuid-a b", "a b", measured, {}},
                       {"uuid-gone", "a/b", measured, {}}});
        now.mono += Seconds(10);
        now.wall += Seconds(10);
    }
    const auto usage = [this](const std::string& target) {
        const ApiResponse response = ask("GET", target, "", Entrance::tcp);
        return proto::from_json<proto::UsageReport>(response.body);
    };
    ASSERT_EQ(usage("/v1/usage")->vms.size(), 3U);
    const auto web = usage("/v1/usage/web?since=2026-11-28T10:00&until=2026-11-28T13:00%2b00:00");
    ASSERT_TRUE(web) << web.error().message;
    EXPECT_EQ(web->since, Seconds(1'795'867'200) - Hour(2));
    EXPECT_EQ(web->vms.at(0),
              (proto::UsageEntry{"web", "uuid-web", 20480, 10240, Seconds(10), Micros(0)}));
    EXPECT_EQ(usage("/v1/usage/1")->vms.at(0).uuid, "uuid-a b") << "by the id of a running one";
    EXPECT_EQ(usage("/v1/usage/a%2fb")->vms.at(0).uuid, "uuid-gone");
    EXPECT_EQ(ask("GET", "/v1/usage/nope").status, 404U);
    for (const char* bad : {"/v1/usage?since=x", "/v1/usage?from=24h", "/v1/usage?since=%zz",
                            "/v1/usage?since=1h&until=2h", "/v1/usage?since"}) {
        EXPECT_EQ(ask("GET", bad).status, bad == std::string("/v1/usage?since") ? 200U : 400U)
            << bad;
    }
    EXPECT_EQ(ask("POST", "/v1/usage").status, 405U);
    EXPECT_EQ(ask("GET", "/v1/usage/").status, 404U);
    EXPECT_EQ(ask("GET", "/v1/usage/a/b").status, 404U);
    EXPECT_THAT(ask("GET", "/metrics").body,
                testing::AllOf(HasSubstr("acma_memory_used_byte_seconds_total{domain=\"web\",uuid="
                                         "\"uuid-web\"} 21474836480"),
                               HasSubstr("acma_memory_used_above_min_byte_seconds_total{domain="
                                         "\"web\",uuid=\"uuid-web\"} 10737418240")));
}

TEST_F(RoutesTest, TellsHistoryOfAllPageByPageOrOfSome) {
    charts.observe(fleet.vms(), fleet.host(), Time(Seconds(1)));
    const auto history = [this](const std::string& target) {
        return *proto::from_json<proto::HistoryReport>(ask("GET", target, "", Entrance::tcp).body);
    };
    EXPECT_EQ(history("/v1/history").vms.size(), 2U);
    const auto first = history("/v1/history?range=24h&limit=1");
    EXPECT_EQ(first.step, Seconds(600));
    ASSERT_EQ(first.vms.size(), 1U);
    ASSERT_EQ(first.next, first.vms[0].uuid);
    const auto second = history("/v1/history?limit=1&after=" + percent_encode(*first.next));
    EXPECT_EQ(second.vms.at(0).uuid, "uuid-web");
    EXPECT_FALSE(second.next);
    EXPECT_TRUE(history("/v1/history?limit=0").vms.empty());
    const auto some = history("/v1/history?range=5m&vm=web&vm=gone&vm=a%20b");
    ASSERT_EQ(some.vms.size(), 2U);
    EXPECT_EQ(some.vms[0].points.at(0).max_mem, 8_GiB);
    EXPECT_EQ(history("/v1/vms/web/history?range=1h").vms.at(0).name, "web");
    EXPECT_EQ(ask("GET", "/v1/vms/nope/history").status, 404U);
    for (const std::string bad :
         {"range=2h", "limit=65", "limit=-1", "limit=x", "since=1h", "vm=%zz", "range"}) {
        EXPECT_EQ(ask("GET", "/v1/history?" + bad).status, 400U) << bad;
    }
    EXPECT_EQ(ask("GET", "/v1/vms/web/history?vm=web").status, 400U);
    std::string many = "/v1/history?range=1h";
    for (int i = 0; i < 65; ++i) {
        many += "&vm=web";
    }
    EXPECT_EQ(ask("GET", many).status, 400U);
    EXPECT_EQ(ask("POST", "/v1/history").status, 405U);
}

TEST_F(RoutesTest, ServesThePage) {
    const ApiResponse page = ask("GET", "/", "", Entrance::tcp);
    EXPECT_EQ(page.status, 200U);
    EXPECT_THAT(page.content_type, HasSubstr("text/html"));
    EXPECT_THAT(std::string(page.content_policy), HasSubstr("require-trusted-types-for 'script'"));
    // What it refers to is there, and none of it is of another place or inside the document.
    for (const auto& [path, type] :
         std::map<std::string, std::string>{{"/page.css", "text/css"},
                                            {"/page.js", "text/javascript"},
                                            {"/chart.js", "text/javascript"},
                                            {"/detail.js", "text/javascript"},
                                            {"/rows.js", "text/javascript"},
                                            {"/icon.svg", "image/svg+xml"}}) {
        const ApiResponse file = ask("GET", path + "?v=1");
        EXPECT_EQ(file.status, 200U) << path;
        EXPECT_THAT(file.content_type, HasSubstr(type));
        EXPECT_EQ(file.body.find("innerHTML"), std::string::npos) << path;
    }
    EXPECT_EQ(page.body.find("://"), std::string::npos);
    EXPECT_EQ(page.body.find("<script>"), std::string::npos);
    EXPECT_EQ(ask("POST", "/").status, 405U);
}

// The first word of each line that begins so, up to `end`.
std::set<std::string> names_after(std::istream& text, const std::string& begin, char end) {
    std::set<std::string> names;
    for (std::string line; std::getline(text, line);) {
        if (line.starts_with(begin)) {
            names.insert("acma_" +
                         line.substr(begin.size(), line.find(end, begin.size()) - begin.size()));
        }
    }
    return names;
}

TEST_F(RoutesTest, ServesTheMetricsThatTheHandbookLists) {
    std::istringstream served(ask("GET", "/metrics").body);
    std::ifstream handbook(ACMA_OPERATIONS_MD);
    EXPECT_EQ(names_after(served, "# HELP acma_", ' '), names_after(handbook, "| `acma_", '`'));
}

TEST_F(RoutesTest, TakesWhatTheHandbookLists) {
    std::ifstream handbook(ACMA_API_MD);
    int routes = 0;
    for (std::string line; std::getline(handbook, line);) {
        std::istringstream row(line.starts_with("| `") ? line.substr(3) : "");
        std::string method;
        std::string path;
        row >> method >> path;
        if (!path.starts_with('/')) {
            continue;
        }
        ++routes;
        path = path.substr(0, path.find('`'));
        if (const size_t at = path.find("DOM"); at != std::string::npos) {
            path.replace(at, 3, "web");
        }
        const bool by_tcp = line.find("` | yes |") != std::string::npos;
        const unsigned status = ask(method, path, "", Entrance::tcp).status;
        EXPECT_EQ(status != 403, by_tcp) << line;
        EXPECT_NE(status, 405U) << line;
        EXPECT_TRUE(status != 404 || path.starts_with("/v1/usage/")) << line;
    }
    EXPECT_EQ(routes, 17);
}

// --- over sockets ---------------------------------------------------------------------------

class ServerTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "acma-api-XXXXXX";
        dir = ::mkdtemp(pattern.data());
        path = dir / "api.sock";
    }
    void TearDown() override {
        context.stop();
        if (thread.joinable()) {
            thread.join();
        }
        server.reset();
        std::filesystem::remove_all(dir);
    }
    void serve() {
        socket.emplace(*ExclusiveSocket::open(path, ""));
        server->serve_unix(socket->release_listener());
        thread = std::thread([this] { context.run(); });
    }
    // Sends bytes as they are and returns all that comes back until the peer closes.
    [[nodiscard]] std::string raw(const std::string& bytes) const {
        const int fd = connect();
        EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(bytes.size()));
        std::string answer;
        std::array<char, 4096> buffer{};
        ssize_t got = 0;
        while ((got = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0) {
            answer.append(buffer.data(), static_cast<size_t>(got));
        }
        ::close(fd);
        return answer;
    }
    [[nodiscard]] int connect() const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
        EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        return fd;
    }

    std::filesystem::path dir;
    std::string path;
    asio::io_context context;
    std::string log;
    std::optional<ExclusiveSocket> socket;
    std::optional<HttpServer> server{
        std::in_place, context,
        [](const ApiRequest& request, const Respond& respond) {
            respond(
                {200, "text/plain", request.method + " " + request.target + " " + request.body});
        },
        [this](const std::string& text) { log += text + "\n"; }};
    std::thread thread;
};

TEST_F(ServerTest, AnswersAcmactl) {
    serve();
    const auto answer = ctl::ask(path, {"POST", "/x", "{}"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 200U);
    EXPECT_EQ(answer->body, "POST /x {}");
}

TEST_F(ServerTest, LogsWhoChangesSomething) {
    serve();
    (void)ctl::ask(path, {"POST", "/x", "{}"});
    (void)ctl::ask(path, {"GET", "/x", ""});
    context.stop();
    thread.join();
    EXPECT_THAT(log, HasSubstr("POST /x from uid " + std::to_string(::getuid())));
    EXPECT_EQ(log.find("GET"), std::string::npos);
}

TEST_F(ServerTest, AnswersHeadAsGetWithoutTheBody) {
    serve();
    const std::string get = raw("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const std::string head = raw("HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(head, get.substr(0, get.find("\r\n\r\n") + 4));
    EXPECT_THAT(head, HasSubstr("Content-Length: 7"));
    EXPECT_THAT(get, testing::EndsWith("GET /x "));
}

TEST_F(ServerTest, RefusesWhatIsNotHttp) {
    serve();
    EXPECT_THAT(raw("hello\r\n\r\n"), HasSubstr("400"));
    EXPECT_THAT(raw(std::string(100, '\xff') + "\r\n\r\n"), HasSubstr("400"));
}

TEST_F(ServerTest, RefusesHugeHeadersAndBodies) {
    serve();
    EXPECT_THAT(raw("GET /" + std::string(20'000, 'a') + " HTTP/1.1\r\n\r\n"),
                testing::AnyOf(HasSubstr("431"), HasSubstr("400")));
    EXPECT_THAT(raw("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), HasSubstr("413"));
    const auto answer = ctl::ask(path, {"POST", "/x", std::string(100'000, 'a')});
    EXPECT_TRUE(!answer || answer->status == 413U);
}

TEST_F(ServerTest, AnswersOthersWhileClientsDawdle) {
    serve();
    std::vector<int> slow;
    for (int i = 0; i < 20; ++i) {
        slow.push_back(connect());
        EXPECT_EQ(::send(slow.back(), "GET /", 5, MSG_NOSIGNAL), 5);
    }
    EXPECT_TRUE(ctl::ask(path, {"GET", "/x", ""}));
    for (const int fd : slow) {
        ::close(fd);
    }
}

TEST_F(ServerTest, TurnsOutWhoHasIdledForLongestWhenThereAreTooMany) {
    serve();
    std::vector<int> many;
    for (int i = 0; i < 64; ++i) {
        many.push_back(connect());
        if (i % 2 == 0) {  // a request that does not end is no better
            EXPECT_EQ(::send(many.back(), "GET /", 5, MSG_NOSIGNAL), 5);
        }
    }
    EXPECT_TRUE(ctl::ask(path, {"GET", "/x", ""}));
    char byte = 0;
    EXPECT_EQ(::recv(many[0], &byte, 1, 0), 0) << "the first one had to leave";
    EXPECT_EQ(::recv(many[1], &byte, 1, MSG_DONTWAIT), -1) << "and nobody else";
    for (const int fd : many) {
        ::close(fd);
    }
}

TEST_F(ServerTest, ServesReadsOverTcpWhenAskedTo) {
    EXPECT_FALSE(server->serve_tcp({"localhost", 1}, {}));
    const Status served = server->serve_tcp({"127.0.0.1", 39'178}, {});
    EXPECT_TRUE(served) << served.error().message;
    HttpServer second(
        context, [](const ApiRequest&, const Respond&) {}, [](const std::string&) {});
    EXPECT_FALSE(second.serve_tcp({"127.0.0.1", 39'178}, {})) << "in use";
}

TEST_F(ServerTest, AnswersOnTheUnixSocketHoweverManyIdleOverTcp) {
    constexpr uint16_t k_port = 39'180;
    ASSERT_TRUE(server->serve_tcp({"127.0.0.1", k_port}, {}));
    serve();
    asio::io_context clients;
    std::vector<asio::ip::tcp::socket> idle;
    for (int i = 0; i < 64; ++i) {
        idle.emplace_back(clients).connect({asio::ip::make_address("127.0.0.1"), k_port});
    }
    const auto answer = ctl::ask(path, {"GET", "/x", ""});
    EXPECT_TRUE(answer) << answer.error().message;
}

// Takes all descriptors that the process may still open.
class NoDescriptors {
  public:
    NoDescriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        rlimit low = before_;
        low.rlim_cur = 256;
        EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
        for (int fd = ::dup(STDERR_FILENO); fd >= 0; fd = ::dup(STDERR_FILENO)) {
            taken_.push_back(fd);
        }
    }
    ~NoDescriptors() {
        for (const int fd : taken_) {
            ::close(fd);
        }
        ::setrlimit(RLIMIT_NOFILE, &before_);
    }
    NoDescriptors(const NoDescriptors&) = delete;
    NoDescriptors& operator=(const NoDescriptors&) = delete;

  private:
    rlimit before_{};
    std::vector<int> taken_;
};

TEST_F(ServerTest, AcceptsOnBothSocketsAgainAfterItRanOutOfDescriptors) {
    socket.emplace(*ExclusiveSocket::open(path, ""));
    server->serve_unix(socket->release_listener());
    constexpr uint16_t k_port = 39'179;
    ASSERT_TRUE(server->serve_tcp({"127.0.0.1", k_port}, {}));
    asio::io_context clients;
    asio::local::stream_protocol::socket by_unix(clients, asio::local::stream_protocol());
    asio::ip::tcp::socket by_tcp(clients, asio::ip::tcp::v4());
    {
        const NoDescriptors none;
        by_unix.connect(path);  // the kernel's queue has them, the server cannot take them
        by_tcp.connect({asio::ip::make_address("127.0.0.1"), k_port});
        context.run_for(std::chrono::milliseconds(100));
    }
    const std::string request = "GET / HTTP/1.0\r\n\r\n";
    asio::write(by_unix, asio::buffer(request));
    asio::write(by_tcp, asio::buffer(request));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while ((by_unix.available() == 0 || by_tcp.available() == 0) &&
           std::chrono::steady_clock::now() < end) {
        context.run_one_for(std::chrono::milliseconds(100));
    }
    EXPECT_GT(by_unix.available(), 0U);
    EXPECT_GT(by_tcp.available(), 0U);
}

// --- the socket's file ----------------------------------------------------------------------

TEST_F(ServerTest, HasASocketForOwnerAndGroupOnly) {
    const auto open = ExclusiveSocket::open(path, "");
    ASSERT_TRUE(open) << open.error().message;
    struct stat found {};
    ASSERT_EQ(::stat(path.c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777U, 0660U);
}

TEST_F(ServerTest, RefusesASecondController) {
    const auto first = ExclusiveSocket::open(path, "");
    ASSERT_TRUE(first);
    const auto second = ExclusiveSocket::open(path, "");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::busy);
    EXPECT_THAT(second.error().message, HasSubstr("another acma-controller"));
    EXPECT_TRUE(std::filesystem::exists(path)) << "the first one's socket is left alone";
}

TEST_F(ServerTest, ReplacesTheSocketOfAControllerThatCrashed) {
    {
        const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        ::close(fd);
    }
    EXPECT_TRUE(ExclusiveSocket::open(path, ""));
}

TEST_F(ServerTest, RefusesAPathThatIsNotASocket) {
    std::ofstream(dir / "file") << "precious";
    std::filesystem::create_symlink(dir / "file", path);
    const auto link = ExclusiveSocket::open(path, "");
    ASSERT_FALSE(link);
    EXPECT_THAT(link.error().message, HasSubstr("is not a socket"));
    EXPECT_TRUE(std::filesystem::exists(dir / "file"));
    EXPECT_FALSE(ExclusiveSocket::open(dir / "file", ""));
}

TEST_F(ServerTest, RefusesASymlinkAsItsLock) {
    std::ofstream(dir / "file") << "precious";
    std::filesystem::create_symlink(dir / "file", path + ".lock");
    EXPECT_FALSE(ExclusiveSocket::open(path, ""));
}

TEST_F(ServerTest, SaysWhichGroupThereIsNot) {
    const auto open = ExclusiveSocket::open(path, "no-such-group");
    ASSERT_FALSE(open);
    EXPECT_THAT(open.error().message, HasSubstr("no group 'no-such-group'"));
    EXPECT_FALSE(std::filesystem::exists(path)) << "nothing is left behind";
}

TEST_F(ServerTest, RefusesAPathThatIsTooLongOrNotThere) {
    EXPECT_FALSE(ExclusiveSocket::open(dir / std::string(120, 'x'), ""));
    const auto nowhere = ExclusiveSocket::open("/nonexistent/x.sock", "");
    ASSERT_FALSE(nowhere);
    EXPECT_THAT(nowhere.error().message, HasSubstr("its directory is not there"));
}

TEST(Client, SaysWhyThereIsNoAnswer) {
    const auto absent = ctl::ask("/nonexistent.sock", {"GET", "/", ""});
    ASSERT_FALSE(absent);
    EXPECT_THAT(absent.error().message, HasSubstr("is acma-controller running?"));
    EXPECT_FALSE(ctl::ask("/" + std::string(200, 'x'), {"GET", "/", ""}));
    EXPECT_FALSE(ctl::ask("", {"GET", "/", ""}));
}

}  // namespace
}  // namespace acma::host
