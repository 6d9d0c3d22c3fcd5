// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/client_asio.h"

#include <chrono>

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <sys/socket.h>
#include <sys/time.h>

#include "host-controller/asio.h"

namespace acma::ctl {

namespace {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Protocol = asio::local::stream_protocol;

// The controller itself waits for libvirt, which waits 30 s for a busy domain.
constexpr std::chrono::seconds k_deadline{40};
// 1,000 VMs with all their marks.
constexpr size_t k_max_answer = 64UL * 1024 * 1024;
constexpr size_t k_max_path = 107;  // unix(7)

// What went wrong, and what to do about it.
Error unreachable(const std::string& path, const boost::system::error_code& error) {
    using boost::system::errc::permission_denied;
    ErrorCode code = ErrorCode::io;
    std::string what = error.message();
    if (error == asio::error::connection_refused ||
        error == boost::system::errc::no_such_file_or_directory) {
        what += "; is acma-controller running?";
    } else if (error == permission_denied) {
        code = ErrorCode::permission;
        what += "; you need to be root or in the socket's group";
    } else if (error == beast::error::timeout || error == asio::error::try_again) {
        code = ErrorCode::timeout;
        what = "acma-controller does not answer";
    } else if (error == asio::error::broken_pipe || error == asio::error::connection_reset ||
               error == http::error::end_of_stream) {
        what = "acma-controller closed the connection; it may have too many clients: try again";
    }
    return Error{code, path + ": " + what};
}
}  // namespace

Result<Answer> ask(const std::string& socket_path, const Request& request) {
    if (socket_path.empty() || socket_path.size() > k_max_path) {
        return Error{ErrorCode::invalid, "the socket's path must have 1 to 107 characters"};
    }
    asio::io_context context(1);
    beast::basic_stream<Protocol> stream(context);
    boost::system::error_code failed;
    // A connection waits for a place in the controller's queue as long as a write may take
    // (unix_stream_connect() in net/unix/af_unix.c).
    const timeval patience{.tv_sec = k_deadline.count(), .tv_usec = 0};
    stream.socket().open();
    (void)::setsockopt(stream.socket().native_handle(), SOL_SOCKET, SO_SNDTIMEO, &patience,
                       sizeof patience);
    stream.socket().connect(Protocol::endpoint(socket_path), failed);
    if (failed) {
        return unreachable(socket_path, failed);
    }
    http::request<http::string_body> message{http::string_to_verb(request.method), request.target,
                                             11};
    message.set(http::field::host, "localhost");
    message.keep_alive(false);
    message.body() = request.body;
    message.prepare_payload();

    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(k_max_answer);
    stream.expires_after(k_deadline);
    http::async_write(stream, message, [&](beast::error_code write_error, size_t) {
        failed = write_error;
        if (!write_error) {
            http::async_read(
                stream, buffer, parser,
                [&failed](beast::error_code read_error, size_t) { failed = read_error; });
        }
    });
    context.run();
    if (failed) {
        return unreachable(socket_path, failed);
    }
    return Answer{parser.get().result_int(), std::move(parser.get().body())};
}

}  // namespace acma::ctl
