// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/host_lock.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace acma::host {

namespace {
// "qemu:///system", "qemu+unix:///system?socket=...": what all users of a host share.
bool is_the_hosts(std::string_view uri) {
    uri = uri.substr(0, uri.find('?'));
    return uri.ends_with("/system");
}

Status make_directory_of(const std::string& path) {
    constexpr mode_t k_mode = 0755;  // as the unit's RuntimeDirectory=
    const std::string directory = path.substr(0, path.rfind('/'));
    if (::mkdir(directory.c_str(), k_mode) == 0 || errno == EEXIST) {
        return {};
    }
    return error_from_errno(errno, directory);
}

// "" where it cannot be read.
std::string holder(int fd) {
    std::array<char, 16> text{};
    const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
    pid_t pid = 0;
    const auto read = std::from_chars(text.data(), text.data() + std::max<ssize_t>(got, 0), pid);
    return read.ec == std::errc() ? " (process " + std::to_string(pid) + ")" : "";
}

// For whoever comes second; nothing depends on it.
void sign(int fd) {
    const std::string text = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd, 0) == 0) {
        [[maybe_unused]] const ssize_t written = ::pwrite(fd, text.data(), text.size(), 0);
    }
}
}  // namespace

Result<HostLock> HostLock::take(const std::string& uri, const std::string& path) {
    if (!is_the_hosts(uri)) {
        return HostLock(platform::Fd());
    }
    if (const Status made = make_directory_of(path); !made) {
        return made.error();
    }
    constexpr mode_t k_mode = 0600;  // whoever can open it could hold it
    platform::Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, k_mode));
    if (!file) {
        return error_from_errno(errno, path);
    }
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return error_from_errno(errno, path);
        }
        return Error{ErrorCode::busy, "another acma-controller" + holder(file.get()) +
                                          " manages the VMs of this host; it holds " + path};
    }
    sign(file.get());
    return HostLock(std::move(file));
}

}  // namespace acma::host
