// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host-controller/api_asio/http_server_asio.h"

namespace acma::host {

namespace {
constexpr mode_t k_socket_mode = 0660;
constexpr int k_backlog = 64;

Status clear_stale(const std::string& path) {
    struct stat found {};
    if (::lstat(path.c_str(), &found) != 0) {
        return errno == ENOENT ? Status() : Status(error_from_errno(errno, path));
    }
    if (!S_ISSOCK(found.st_mode)) {
        return Error{ErrorCode::invalid, path + ": is there and is not a socket; refused"};
    }
    return ::unlink(path.c_str()) == 0 ? Status() : Status(error_from_errno(errno, path));
}

Status give_to_group(const std::string& path, const std::string& group) {
    if (group.empty()) {
        return {};
    }
    errno = 0;
    const struct group* entry = ::getgrnam(group.c_str());
    if (entry == nullptr) {
        return Error{ErrorCode::not_found, "socket-group: there is no group '" + group + "'"};
    }
    return ::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) == 0
               ? Status()
               : Status(error_from_errno(errno, path + ": giving it to group " + group));
}

Result<int> bind_listener(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return Error{ErrorCode::invalid, path + ": longer than 107 characters"};
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_from_errno(errno, "socket");
    }
    // The file must never be there with wider permissions, not even for a moment.
    const mode_t old_mask = ::umask(static_cast<mode_t>(0777 & ~k_socket_mode));
    const int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int failed = errno;
    ::umask(old_mask);
    if (bound != 0) {
        ::close(fd);
        return error_from_errno(failed, path);
    }
    return fd;
}
}  // namespace

ExclusiveSocket::ExclusiveSocket(ExclusiveSocket&& other) noexcept
    : path_(std::move(other.path_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      listen_fd_(std::exchange(other.listen_fd_, -1)) {}

ExclusiveSocket::~ExclusiveSocket() {
    if (lock_fd_ < 0) {
        return;
    }
    if (listen_fd_ >= 0) {
        ::close(listen_fd_);
    }
    ::unlink(path_.c_str());
    ::close(lock_fd_);
}

int ExclusiveSocket::release_listener() {
    return std::exchange(listen_fd_, -1);
}

Result<ExclusiveSocket> ExclusiveSocket::open(const std::string& path, const std::string& group) {
    const std::string lock_path = path + ".lock";
    constexpr mode_t k_lock_mode = 0600;
    const int lock_fd =
        ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, k_lock_mode);
    if (lock_fd < 0 && errno == ENOENT) {
        return Error{
            ErrorCode::not_found,
            path + ": its directory is not there; make it, or choose another with --socket"};
    }
    if (lock_fd < 0) {
        return error_from_errno(errno, lock_path);
    }
    if (::flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
        const int failed = errno;
        ::close(lock_fd);
        if (failed == EWOULDBLOCK) {
            return Error{ErrorCode::busy, path + ": another acma-controller runs on this host"};
        }
        return error_from_errno(failed, lock_path);
    }
    if (const Status cleared = clear_stale(path); !cleared) {
        ::close(lock_fd);
        return cleared.error();
    }
    const Result<int> listener = bind_listener(path);
    if (!listener) {
        ::close(lock_fd);
        return listener.error();
    }
    ExclusiveSocket socket(path, lock_fd);
    socket.listen_fd_ = *listener;
    if (const Status given = give_to_group(path, group); !given) {
        return given.error();
    }
    if (::listen(*listener, k_backlog) != 0) {
        return error_from_errno(errno, path + ": listen");
    }
    return socket;
}

}  // namespace acma::host
