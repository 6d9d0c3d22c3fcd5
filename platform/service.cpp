// SPDX-License-Identifier: Apache-2.0
#include "platform/service.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "platform/fd.h"

namespace acma::platform {

namespace {
// A variable that holds a number and nothing else.
std::optional<int64_t> number_in(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr) {
        return std::nullopt;
    }
    const char* end = text + std::strlen(text);
    int64_t number = 0;
    const auto [rest, err] = std::from_chars(text, end, number);
    return err == std::errc{} && rest == end ? std::optional(number) : std::nullopt;
}
}  // namespace

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
    constexpr Micros k_least = Millis(100);  // whoever asks for more would have us do nothing else
    // Meant for a parent whose environment we have (sd_watchdog_enabled(3)).
    if (std::getenv("WATCHDOG_PID") != nullptr && number_in("WATCHDOG_PID") != ::getpid()) {
        return std::nullopt;
    }
    const auto us = number_in("WATCHDOG_USEC");
    return us && *us > 0 ? std::optional(std::max<Micros>(k_least, Micros(*us / 2))) : std::nullopt;
}

}  // namespace acma::platform
