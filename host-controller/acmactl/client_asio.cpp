// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/client_asio.h"

#include <chrono>

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

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

Error unreachable(const std::string& path, const boost::system::error_code& error) {
    const bool absent = error == asio::error::connection_refused ||
                        error == boost::system::errc::no_such_file_or_directory;
    const bool forbidden = error == boost::system::errc::permission_denied;
    const std::string hint = absent      ? "; is acma-controller running?"
                             : forbidden ? "; you need to be root or in the socket's group"
                                         : "";
    return Error{forbidden ? ErrorCode::permission : ErrorCode::io,
                 path + ": " + error.message() + hint};
}
}  // namespace

Result<Answer> ask(const std::string& socket_path, const Request& request) {
    if (socket_path.empty() || socket_path.size() > k_max_path) {
        return Error{ErrorCode::invalid, "the socket's path must have 1 to 107 characters"};
    }
    asio::io_context context(1);
    beast::basic_stream<Protocol> stream(context);
    boost::system::error_code failed;
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
