// SPDX-License-Identifier: Apache-2.0
#include "proto/plain.h"

#include <charconv>
#include <cstddef>

namespace acma::proto {

std::optional<std::string_view> PlainReader::text() {
    if (!take('"')) {
        return std::nullopt;
    }
    const std::string_view found = rest_.substr(0, rest_.find('"'));
    // No early end: so the compiler looks at many at a time.
    bool plain = found.size() < rest_.size();
    for (const char c : found) {
        plain &= c >= 0x20 && c <= 0x7E && c != '\\';
    }
    if (!plain) {
        return std::nullopt;
    }
    rest_.remove_prefix(found.size() + 1);
    return found;
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
