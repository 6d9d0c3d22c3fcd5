// SPDX-License-Identifier: Apache-2.0
#include "platform/service.h"

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

#include "platform/fd.h"

namespace acma::platform {

void notify_service(std::string_view message) {
    const char* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un address{};
    if (path == nullptr || std::strlen(path) < 2 || std::strlen(path) >= sizeof(address.sun_path)) {
        return;
    }
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
    if (address.sun_path[0] == '@') {
        address.sun_path[0] = '\0';  // the abstract namespace
    }
    const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd) {
        (void)::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
                       reinterpret_cast<const sockaddr*>(&address), length);
    }
}

std::optional<Micros> watchdog_interval() {
    const char* text = std::getenv("WATCHDOG_USEC");
    int64_t us = 0;
    if (text == nullptr || std::from_chars(text, text + std::strlen(text), us).ec != std::errc{} ||
        us <= 0) {
        return std::nullopt;
    }
    return Micros(us / 2);
}

}  // namespace acma::platform
