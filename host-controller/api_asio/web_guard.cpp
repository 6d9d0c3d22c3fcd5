// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/web_guard.h"

#include <algorithm>

#include <arpa/inet.h>

namespace acma::host {

namespace {
bool same_name(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [lower](char x, char y) { return lower(x) == lower(y); });
}

bool is_address(const std::string& text, int family) {
    in6_addr address{};  // large enough for both
    return ::inet_pton(family, text.c_str(), &address) == 1;
}
}  // namespace

bool asks_for_us(std::string_view host, const std::vector<std::string>& names) {
    if (host.starts_with('[')) {
        const size_t end = host.find(']');
        return end != std::string_view::npos &&
               is_address(std::string(host.substr(1, end - 1)), AF_INET6);
    }
    host = host.substr(0, host.find(':'));
    if (host.ends_with('.')) {
        host.remove_suffix(1);
    }
    return is_address(std::string(host), AF_INET) || same_name(host, "localhost") ||
           std::any_of(names.begin(), names.end(),
                       [host](const std::string& name) { return same_name(host, name); });
}

}  // namespace acma::host
