// SPDX-License-Identifier: Apache-2.0
#include "proto/plain.h"

#include <charconv>
#include <cstddef>

namespace acma::proto {

std::optional<std::string_view> PlainReader::text() {
    if (!take('"')) {
        return std::nullopt;
    }
    for (size_t i = 0; i < rest_.size(); ++i) {
        const char c = rest_[i];
        if (c == '"') {
            const std::string_view found = rest_.substr(0, i);
            rest_.remove_prefix(i + 1);
            return found;
        }
        if (c < 0x20 || c > 0x7E || c == '\\') {
            break;
        }
    }
    return std::nullopt;
}

std::optional<uint64_t> PlainReader::number() {
    skip_blanks();
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const auto size = static_cast<size_t>(end - rest_.data());
    if (error != std::errc() || (rest_.front() == '0' && size > 1)) {
        return std::nullopt;
    }
    rest_.remove_prefix(size);
    return value;
}

std::optional<bool> PlainReader::boolean() {
    skip_blanks();
    for (const bool value : {false, true}) {
        const std::string_view word = value ? "true" : "false";
        if (rest_.starts_with(word)) {
            rest_.remove_prefix(word.size());
            return value;
        }
    }
    return std::nullopt;
}

}  // namespace acma::proto
