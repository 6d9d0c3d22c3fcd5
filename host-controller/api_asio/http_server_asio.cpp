// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/http_server_asio.h"

#include <chrono>
#include <optional>
#include <utility>

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <sys/socket.h>

#include "host-controller/api_asio/lobby.h"
#include "proto/rate_budget.h"

namespace acma::host {

namespace {
namespace beast = boost::beast;
namespace http = beast::http;

// A PolicyChange has under 200 bytes; header lines of common clients under 1 KiB.
constexpr size_t k_max_body = 16 * 1024;
constexpr size_t k_max_header = 8 * 1024;
// Between the first byte and the last of a request, and of its answer.
constexpr std::chrono::seconds k_deadline{10};
// libvirt itself waits 30 s for a busy domain.
constexpr std::chrono::seconds k_patience{35};
// Of each door: an operator, a page and a few scrapers need ten. Beyond it whoever idles for
// longest has to leave. Whoever may come by TCP must not lock out the operator on the unix socket.
constexpr size_t k_max_connections = 64;
// Answers of one door that are on their way. One about 1,000 VMs has 2 MB, and who does not read
// his keeps it for as long as the deadline.
constexpr size_t k_max_answers = 64UL * 1024 * 1024;
// What answers may cost by TCP, where anybody may ask: a second at once, then a tenth of a core.
// One about 1,000 VMs takes 30 to 80 ms, in which nothing else is done; a page asks every three
// seconds.
constexpr uint64_t k_burst_ms = 1000;
constexpr Millis k_one_more_ms{10};
constexpr std::chrono::seconds k_accept_pause{1};

// For the log of changes: who is at the other end of a unix socket.
template <typename Socket>
std::string peer_of(Socket& socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return "unknown";
    }
    return "uid " + std::to_string(peer.uid) + ", pid " + std::to_string(peer.pid);
}

Time steady_now() {
    return Time(
        std::chrono::duration_cast<Micros>(std::chrono::steady_clock::now().time_since_epoch()));
}

// A listening socket. Each has its own pause: one timer for both would let each cancel the other's,
// and nobody would accept there any more.
template <typename Protocol>
struct Door {
    typename Protocol::acceptor acceptor;
    asio::steady_timer pause;
};
using UnixDoor = Door<asio::local::stream_protocol>;
using TcpDoor = Door<asio::ip::tcp>;

// What all who came through one door share.
struct Room {
    Lobby lobby{k_max_connections};
    size_t answers = 0;  // bytes of those that are on their way
    proto::RateBudget milliseconds{k_burst_ms, k_one_more_ms};
};
}  // namespace

struct HttpServer::Shared {
    asio::io_context& context;
    Handler handler;
    Log log;
    Room unix_room{};
    Room tcp_room{};
    std::vector<std::string> names{};
    bool stopped = false;
    std::optional<UnixDoor> unix_door{};
    std::optional<TcpDoor> tcp_door{};
};

namespace {
template <typename Protocol>
constexpr Entrance k_entrance = Entrance::tcp;
template <>
constexpr Entrance k_entrance<asio::local::stream_protocol> = Entrance::unix_socket;
}  // namespace

// One connection; its operations hold it, and it ends by an error, a time-out, the peer, or since
// others need its place.
template <typename Protocol, typename SharedState>
class HttpConnection final
    : public Visitor,
      public std::enable_shared_from_this<HttpConnection<Protocol, SharedState>> {
  public:
    HttpConnection(typename Protocol::socket socket, std::shared_ptr<SharedState> shared)
        : stream_(std::move(socket)), shared_(std::move(shared)), patience_(shared_->context) {
        room().lobby.enter(*this);
    }
    ~HttpConnection() override {
        room().answers -= answer_size_;
        if (present_) {
            room().lobby.leave(*this);
        }
    }
    HttpConnection(const HttpConnection&) = delete;
    HttpConnection& operator=(const HttpConnection&) = delete;

    void turn_out() override {
        present_ = false;
        room().lobby.leave(*this);
        stream_.close();
    }

    void read() {
        turns_to(Doing::asking);
        parser_.emplace();
        parser_->header_limit(k_max_header);
        parser_->body_limit(k_max_body);
        stream_.expires_after(k_deadline);
        http::async_read(stream_, buffer_, *parser_,
                         [self = this->shared_from_this()](beast::error_code error, size_t) {
                             self->on_request(error);
                         });
    }

  private:
    static constexpr bool k_by_tcp = k_entrance<Protocol> == Entrance::tcp;
    [[nodiscard]] Room& room() const { return k_by_tcp ? shared_->tcp_room : shared_->unix_room; }
    void turns_to(Doing doing) {
        if (present_) {
            room().lobby.turns_to(*this, doing);
        }
    }

    void on_request(beast::error_code error) {
        if (error == http::error::end_of_stream || error == beast::error::timeout ||
            error == asio::error::operation_aborted || shared_->stopped || !present_) {
            return;
        }
        if (error) {
            return refuse(error);
        }
        const auto& message = parser_->get();
        keep_alive_ = message.keep_alive();
        head_only_ = message.method() == http::verb::head;
        if (std::optional<ApiResponse> no = objection(message)) {
            keep_alive_ = false;
            return respond(*std::move(no));
        }
        ApiRequest request{head_only_ ? "GET" : std::string(message.method_string()),
                           std::string(message.target()), message.body(), k_entrance<Protocol>};
        if (request.method != "GET" && request.entrance == Entrance::unix_socket) {
            shared_->log(request.method + " " + request.target.substr(0, 128) + " from " +
                         peer_of(stream_.socket()));
        }
        // libvirt may take its time to answer; the peer's own clock is over.
        stream_.expires_never();
        turns_to(Doing::waiting);
        const uint64_t number = ++request_;
        patience_.expires_after(k_patience);
        patience_.async_wait(
            [self = this->shared_from_this(), number](beast::error_code cancelled) {
                constexpr unsigned k_unavailable = 503;
                if (!cancelled) {
                    self->answer(number, error_response(k_unavailable, {ErrorCode::timeout,
                                                                        "libvirt does not answer "
                                                                        "about this domain"}));
                }
            });
        // Held by the timer, not by the request: that may wait for a QEMU that hangs for ever.
        const Time begin = steady_now();
        shared_->handler(request, [weak = this->weak_from_this(), number](ApiResponse response) {
            if (const auto self = weak.lock()) {
                self->answer(number, std::move(response));
            }
        });
        const Time end = steady_now();
        const auto took = std::chrono::duration_cast<Millis>(end - begin).count();
        room().milliseconds.spend(1 + static_cast<uint64_t>(took), end);
    }

    // Why it is not even looked at.
    template <typename Message>
    std::optional<ApiResponse> objection(const Message& message) {
        constexpr unsigned k_forbidden = 403;
        constexpr unsigned k_misdirected = 421;
        constexpr unsigned k_too_many = 429;
        if (message.method() != http::verb::get && !head_only_ &&
            message.count(http::field::origin) != 0) {
            return error_response(k_forbidden,
                                  {ErrorCode::permission, "no changes are taken from web pages"});
        }
        if constexpr (k_by_tcp) {
            const auto host = message[http::field::host];
            if (!asks_for_us({host.data(), host.size()}, shared_->names)) {
                return error_response(
                    k_misdirected,
                    {ErrorCode::invalid,
                     "ask for this host by its IP address, its own name or one of listen-names "
                     "(controller.toml)"});
            }
            if (room().milliseconds.overdrawn(steady_now())) {
                return error_response(k_too_many, {ErrorCode::busy, "too many requests; wait"});
            }
        }
        return std::nullopt;
    }

    // The first answer counts: the handler's, or that it took too long.
    void answer(uint64_t number, ApiResponse response) {
        if (number == request_) {
            ++request_;
            patience_.cancel();
            respond(std::move(response));
        }
    }

    void refuse(beast::error_code error) {
        keep_alive_ = false;
        constexpr unsigned k_bad_request = 400;
        constexpr unsigned k_too_large = 413;
        constexpr unsigned k_header_too_large = 431;
        if (error == http::error::body_limit) {
            respond(error_response(k_too_large, {ErrorCode::too_large, "the body is too large"}));
        } else if (error == http::error::header_limit) {
            respond(error_response(k_header_too_large,
                                   {ErrorCode::too_large, "the header is too large"}));
        } else if (error.category() == http::make_error_code(http::error::bad_method).category()) {
            respond(error_response(k_bad_request,
                                   {ErrorCode::invalid, "not HTTP: " + error.message()}));
        }
    }

    void respond(ApiResponse response) {
        if (!present_) {
            return;
        }
        room().answers -= std::exchange(answer_size_, 0);
        if (room().answers + response.body.size() > k_max_answers) {
            constexpr unsigned k_unavailable = 503;
            keep_alive_ = false;
            response = error_response(
                k_unavailable, {ErrorCode::busy, "too many answers are not read yet; try again"});
        }
        const size_t length = response.body.size();
        if (head_only_) {
            response.body.clear();
        }
        answer_size_ = response.body.size();
        room().answers += answer_size_;
        message_.emplace();
        message_->version(11);
        message_->result(response.status);
        message_->set(http::field::content_type, response.content_type);
        message_->set(http::field::cache_control, "no-store");
        if (!response.allow.empty()) {
            message_->set(http::field::allow, response.allow);
        }
        message_->set(
            "Content-Security-Policy",
            beast::string_view(response.content_policy.data(), response.content_policy.size()));
        message_->set("Cross-Origin-Resource-Policy", "same-origin");
        message_->set("Referrer-Policy", "no-referrer");
        message_->set("X-Content-Type-Options", "nosniff");
        message_->keep_alive(keep_alive_);
        message_->body() = std::move(response.body);
        message_->content_length(length);
        turns_to(Doing::listening);
        stream_.expires_after(k_deadline);
        http::async_write(
            stream_, *message_, [self = this->shared_from_this()](beast::error_code error, size_t) {
                self->message_.reset();
                self->room().answers -= std::exchange(self->answer_size_, 0);
                if (!error && self->keep_alive_ && self->present_ && !self->shared_->stopped) {
                    self->read();
                }
            });
    }

    beast::basic_stream<Protocol> stream_;
    std::shared_ptr<SharedState> shared_;
    beast::flat_buffer buffer_{k_max_header + k_max_body};
    std::optional<http::request_parser<http::string_body>> parser_;
    std::optional<http::response<http::string_body>> message_;
    bool keep_alive_ = false;
    bool head_only_ = false;  // as GET, but without the body
    bool present_ = true;     // not turned out
    size_t answer_size_ = 0;  // of the answer that is on its way
    asio::steady_timer patience_;
    uint64_t request_ = 0;  // tells late answers to earlier requests
};

namespace {
template <typename Protocol, typename SharedState>
void accept_next(Door<Protocol>& door, std::shared_ptr<SharedState> shared) {
    door.acceptor.async_accept([&door, shared](boost::system::error_code error,
                                               typename Protocol::socket socket) {
        if (error == asio::error::operation_aborted || shared->stopped) {
            return;
        }
        if (error) {  // out of descriptors: they come back, but not at once
            door.pause.expires_after(k_accept_pause);
            door.pause.async_wait([&door, shared](boost::system::error_code cancelled) {
                if (!cancelled && !shared->stopped) {
                    accept_next(door, shared);
                }
            });
            return;
        }
        Room& room = k_entrance<Protocol> == Entrance::tcp ? shared->tcp_room : shared->unix_room;
        if (room.lobby.make_room()) {
            std::make_shared<HttpConnection<Protocol, SharedState>>(std::move(socket), shared)
                ->read();
        }
        accept_next(door, shared);
    });
}
}  // namespace

HttpServer::HttpServer(asio::io_context& context, Handler handler, Log log)
    : shared_(std::make_shared<Shared>(Shared{context, std::move(handler), std::move(log)})) {}

HttpServer::~HttpServer() {
    shared_->stopped = true;
    shared_->unix_door.reset();
    shared_->tcp_door.reset();
}

void HttpServer::serve_unix(int listener_fd) {
    asio::io_context& context = shared_->context;
    accept_next(
        shared_->unix_door.emplace(UnixDoor{{context, asio::local::stream_protocol(), listener_fd},
                                            asio::steady_timer(context)}),
        shared_);
}

Status HttpServer::serve_tcp(const TcpEndpoint& endpoint, std::vector<std::string> names) {
    shared_->names = std::move(names);
    const std::string what = "listen " + endpoint.address + ":" + std::to_string(endpoint.port);
    boost::system::error_code error;
    const auto address = asio::ip::make_address(endpoint.address, error);
    if (error) {
        return Error{ErrorCode::invalid, what + ": not an IP address"};
    }
    const asio::ip::tcp::endpoint local(address, endpoint.port);
    TcpDoor& door = shared_->tcp_door.emplace(
        TcpDoor{asio::ip::tcp::acceptor(shared_->context), asio::steady_timer(shared_->context)});
    asio::ip::tcp::acceptor& acceptor = door.acceptor;
    acceptor.open(local.protocol(), error);
    if (!error) {
        acceptor.set_option(asio::socket_base::reuse_address(true), error);
    }
    if (!error) {
        acceptor.bind(local, error);
    }
    if (!error) {
        acceptor.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
        return Error{ErrorCode::io, what + ": " + error.message()};
    }
    accept_next(door, shared_);
    return {};
}

}  // namespace acma::host
