// SPDX-License-Identifier: Apache-2.0
// Where commands come from: the virtio-serial port (the host) and a unix socket (`acma-agent
// status`). Bytes only; what they mean is proto's ServerSession.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "platform/fd.h"
#include "proto/server_session.h"

struct pollfd;

namespace acma::agent {

// Carries out a request; only the host may set a policy.
enum class Peer { host, local };
using Act = std::function<proto::Outcome(const proto::Command&, Peer)>;

// One peer: a descriptor and its session.
class Connection {
  public:
    Connection(platform::Fd fd, Peer peer, proto::AgentInfo info);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] Peer peer() const { return peer_; }
    [[nodiscard]] short wanted_events(Time now) const;
    // Reads, acts, writes. False: the peer is gone.
    [[nodiscard]] bool serve(short events, const Act& act, Time now);

    void tell(std::string_view event, Time now) { session_.tell(event, now); }

    // A virtio port stays open while the host is away: poll() then says POLLHUP all the time.
    bool host_away = false;
    Time look_again_at{};

  private:
    [[nodiscard]] bool write_out();
    void host_left(Time now);

    platform::Fd fd_;
    Peer peer_;
    proto::AgentInfo info_;
    proto::ServerSession session_;
    std::string output_;
};

class Channels {
  public:
    // The port may be missing: `problems` says why.
    Channels(const std::string& port_name, const std::string& socket_path, proto::AgentInfo info,
             std::vector<Problem>& problems);
    ~Channels();
    Channels(const Channels&) = delete;
    Channels& operator=(const Channels&) = delete;

    // On the socket, unless it does already. What fails may be tried again: an agent that was
    // killed answers there until the kernel is done with it.
    Status listen();
    void add_to(std::vector<pollfd>& fds, Time now) const;
    void serve(const std::vector<pollfd>& fds, const Act& act, Time now);
    // Tells the host of an event, where one listens.
    void tell_host(std::string_view event, Time now);
    // The longest that poll() may sleep before a port has to be looked at again.
    [[nodiscard]] std::optional<Micros> look_again_in(Time now) const;
    [[nodiscard]] bool has_port() const;

  private:
    void accept_one();

    proto::AgentInfo info_;
    std::string socket_path_;
    platform::Fd listener_;
    std::vector<Connection> connections_;
};

}  // namespace acma::agent
