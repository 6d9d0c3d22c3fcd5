// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/percent.h"

#include <charconv>

namespace acma::host {

Result<std::string> percent_decode(std::string_view text) {
    std::string decoded;
    for (size_t i = 0; i < text.size(); ++i) {
        unsigned char byte = static_cast<unsigned char>(text[i]);
        if (text[i] == '%') {
            const std::string_view pair = text.substr(i + 1, 2);
            unsigned value = 0;
            const auto [end, err] =
                std::from_chars(pair.data(), pair.data() + pair.size(), value, 16);
            if (pair.size() != 2 || err != std::errc{} || end != pair.data() + 2) {
                return Error{ErrorCode::invalid, "'%' without two hex digits in the path"};
            }
            byte = static_cast<unsigned char>(value);
            i += 2;
        }
        constexpr unsigned char k_space = 0x20;
        constexpr unsigned char k_delete = 0x7f;
        if (byte < k_space || byte == k_delete) {
            return Error{ErrorCode::invalid, "control character in the path"};
        }
        decoded.push_back(static_cast<char>(byte));
    }
    return decoded;
}

std::string percent_encode(std::string_view text) {
    constexpr std::string_view k_plain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    constexpr std::string_view k_hex = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : text) {
        if (k_plain.find(c) != std::string_view::npos) {
            encoded.push_back(c);
        } else {
            const auto byte = static_cast<unsigned char>(c);
            encoded += {'%', k_hex[byte >> 4U], k_hex[byte & 0xfU]};
        }
    }
    return encoded;
}

}  // namespace acma::host
