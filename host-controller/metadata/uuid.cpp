// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/uuid.h"

#include <cctype>

namespace acma::host {

std::optional<std::string> read_uuid(std::string_view text) {
    constexpr size_t k_length = 36;
    std::string uuid;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '-' && !uuid.empty()) {
            continue;
        }
        if (std::isxdigit(byte) == 0 || uuid.size() == k_length) {
            return std::nullopt;
        }
        uuid.push_back(static_cast<char>(std::tolower(byte)));
        if (uuid.size() == 8 || uuid.size() == 13 || uuid.size() == 18 || uuid.size() == 23) {
            uuid.push_back('-');
        }
    }
    return uuid.size() == k_length ? std::optional(uuid) : std::nullopt;
}

}  // namespace acma::host
