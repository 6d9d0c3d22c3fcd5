// SPDX-License-Identifier: Apache-2.0
// HTTP over a unix socket and, if asked for, over TCP: connections, limits and time-outs. What a
// request means is the handler's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "host-controller/api_asio/routes.h"
#include "host-controller/asio.h"
#include "host-controller/config/config.h"

namespace acma::host {

// A unix socket that only one controller can have. A lock file beside it decides, so that a socket
// left over by a crash can be replaced and one in use cannot.
class ExclusiveSocket {
  public:
    // Mode 0660, the group if one is given. busy: another controller has it. A path that is there
    // and is not a socket (a symlink, a file) is refused and left alone.
    [[nodiscard]] static Result<ExclusiveSocket> open(const std::string& path,
                                                      const std::string& group);
    ExclusiveSocket(ExclusiveSocket&& other) noexcept;
    ExclusiveSocket& operator=(ExclusiveSocket&&) = delete;
    ExclusiveSocket(const ExclusiveSocket&) = delete;
    ExclusiveSocket& operator=(const ExclusiveSocket&) = delete;
    ~ExclusiveSocket();  // removes the socket, then lets go of the lock

    // The listening descriptor, for the one who will own it from now on.
    [[nodiscard]] int release_listener();

  private:
    ExclusiveSocket(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}
    std::string path_;
    int lock_fd_ = -1;
    int listen_fd_ = -1;
};

class HttpServer {
  public:
    using Handler = std::function<void(const ApiRequest&, Respond)>;
    using Log = std::function<void(const std::string&)>;

    HttpServer(asio::io_context& context, Handler handler, Log log);
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    void serve_unix(int listener_fd);
    // `names` of this host, beside its addresses: what is asked for by another one is not answered.
    [[nodiscard]] Status serve_tcp(const TcpEndpoint& endpoint, std::vector<std::string> names);

  private:
    struct Shared;
    std::shared_ptr<Shared> shared_;
};

}  // namespace acma::host
