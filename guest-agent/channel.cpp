// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/channel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "platform/virtio_port.h"

namespace acma::agent {

namespace {
constexpr size_t k_most_output = 64 << 10;  // a status has 2 KiB
// Local clients: `acma-agent status` and an administrator's script. More is a mistake.
constexpr size_t k_most_connections = 8;
// While no host has the channel open, the kernel reports POLLHUP without end.
constexpr Micros k_look_for_host_every = Millis(250);

Result<platform::Fd> listen_on(const std::string& path) {
    sockaddr_un address{};
    if (path.size() >= sizeof(address.sun_path)) {
        return Error{ErrorCode::invalid, path + " is too long for a unix socket"};
    }
    std::error_code err;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), err);
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    platform::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return error_from_errno(errno, "make a unix socket");
    }
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(fd.get(), generic, sizeof(address)) == 0) {
        return Error{ErrorCode::busy, "another acma-agent already serves " + path};
    }
    (void)::unlink(path.c_str());  // a leftover of an agent that was killed
    if (::bind(fd.get(), generic, sizeof(address)) != 0 || ::chmod(path.c_str(), 0600) != 0 ||
        ::listen(fd.get(), 4) != 0) {
        return error_from_errno(errno, "listen on " + path);
    }
    return fd;
}
}  // namespace

Connection::Connection(platform::Fd fd, Peer peer, proto::AgentInfo info)
    : fd_(std::move(fd)), peer_(peer), info_(std::move(info)), session_(info_) {}

short Connection::wanted_events(Time now) const {
    short events = 0;
    // Who does not fetch his replies is not asked for more.
    if (session_.read_again_at() <= now && output_.size() < k_most_output) {
        events |= POLLIN;
    }
    if (!output_.empty() || session_.has_output()) {
        events |= POLLOUT;
    }
    return events;
}

bool Connection::write_out() {
    output_ += session_.take_output();
    while (!output_.empty()) {
        const ssize_t written = ::write(fd_.get(), output_.data(), output_.size());
        if (written < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        output_.erase(0, static_cast<size_t>(written));
    }
    return true;
}

void Connection::host_left(Time now) {
    if (!host_away) {
        // What was said to the last host is not meant for the next one.
        session_ = proto::ServerSession(info_);
        output_.clear();
    }
    host_away = true;
    look_again_at = now + k_look_for_host_every;
}

bool Connection::serve(short events, const Act& act, Time now) {
    if (peer_ == Peer::host && (events & POLLHUP) != 0 && (events & POLLIN) == 0) {
        host_left(now);
        return true;
    }
    host_away = false;
    if ((events & POLLIN) != 0) {
        std::array<char, 4096> buffer{};
        const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        if (got == 0) {
            if (peer_ == Peer::local) {
                return false;
            }
            host_left(now);  // a virtio port reads 0 bytes while no host is there
            return true;
        }
        std::string_view bytes(buffer.data(), got > 0 ? static_cast<size_t>(got) : 0);
        while (const auto request = session_.next(bytes, now)) {
            session_.reply(*request, act(request->command, peer_));
        }
    } else if ((events & (POLLHUP | POLLERR)) != 0) {
        return false;
    }
    return write_out();
}

Channels::Channels(const std::string& port_name, const std::string& socket_path,
                   proto::AgentInfo info, std::vector<Problem>& problems)
    : info_(std::move(info)), socket_path_(socket_path) {
    const auto device = platform::find_virtio_port(port_name);
    if (device) {
        platform::Fd fd(::open(device->c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
        if (fd) {
            connections_.emplace_back(std::move(fd), Peer::host, info_);
        } else {
            problems.push_back({"no-channel", error_from_errno(errno, "open " + *device).message +
                                                  "; no host can set a policy"});
        }
    } else {
        problems.push_back({"no-channel", device.error().message +
                                              "; no host can set a policy, [policy] in agent.toml "
                                              "still counts where standalone = true"});
    }
}

Status Channels::listen() {
    if (listener_) {
        return {};
    }
    auto listener = listen_on(socket_path_);
    if (!listener) {
        return listener.error();
    }
    listener_ = std::move(*listener);
    return {};
}

Channels::~Channels() {
    if (listener_) {
        (void)::unlink(socket_path_.c_str());
    }
}

bool Channels::has_port() const {
    return std::any_of(connections_.begin(), connections_.end(),
                       [](const Connection& c) { return c.peer() == Peer::host; });
}

void Channels::add_to(std::vector<pollfd>& fds, Time now) const {
    if (listener_) {
        fds.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
    }
    for (const auto& connection : connections_) {
        if (connection.host_away && now < connection.look_again_at) {
            continue;
        }
        fds.push_back(
            {.fd = connection.fd(), .events = connection.wanted_events(now), .revents = 0});
    }
}

std::optional<Micros> Channels::look_again_in(Time now) const {
    std::optional<Micros> soonest;
    for (const auto& connection : connections_) {
        if (connection.host_away) {
            const Micros left = std::max(Micros(0), connection.look_again_at - now);
            soonest = std::min(soonest.value_or(left), left);
        }
    }
    return soonest;
}

void Channels::accept_one() {
    platform::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd && connections_.size() < k_most_connections) {
        connections_.emplace_back(std::move(fd), Peer::local, info_);
    }
}

void Channels::tell_host(std::string_view event, Time now) {
    for (auto& connection : connections_) {
        if (connection.peer() == Peer::host) {
            connection.tell(event, now);
        }
    }
}

void Channels::serve(const std::vector<pollfd>& fds, const Act& act, Time now) {
    for (const auto& ready : fds) {
        if (listener_ && ready.fd == listener_.get()) {
            if (ready.revents != 0) {
                accept_one();
            }
            continue;
        }
        const auto it = std::find_if(connections_.begin(), connections_.end(),
                                     [&](const Connection& c) { return c.fd() == ready.fd; });
        // No event is news too of a host that was away: it is there and says nothing yet.
        if (it == connections_.end() || (ready.revents == 0 && !it->host_away)) {
            continue;
        }
        if (!it->serve(ready.revents, act, now)) {
            connections_.erase(it);
        }
    }
}

}  // namespace acma::agent
