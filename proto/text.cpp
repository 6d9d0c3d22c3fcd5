// SPDX-License-Identifier: Apache-2.0
#include "proto/text.h"

#include <cstdint>

namespace acma::proto {

namespace {
struct Character {
    uint32_t code = 0;
    size_t bytes = 0;  // 0: not a valid character
};

struct Lead {
    size_t bytes;
    uint32_t bits;   // of the code, from the first byte
    uint32_t least;  // a smaller code in so many bytes is overlong
};

Lead lead_of(uint8_t first) {
    if (first < 0x80) {
        return {1, first, 0};
    }
    if ((first & 0xE0U) == 0xC0) {
        return {2, first & 0x1FU, 0x80};
    }
    if ((first & 0xF0U) == 0xE0) {
        return {3, first & 0x0FU, 0x800};
    }
    if ((first & 0xF8U) == 0xF0) {
        return {4, first & 0x07U, 0x10000};
    }
    return {0, 0, 0};
}

// The first character of a non-empty text (RFC 3629: no overlong forms, no surrogates).
Character first_character(std::string_view text) {
    const Lead lead = lead_of(static_cast<uint8_t>(text.front()));
    if (lead.bytes == 0 || lead.bytes > text.size()) {
        return {};
    }
    uint32_t code = lead.bits;
    for (size_t i = 1; i < lead.bytes; ++i) {
        const auto next = static_cast<uint8_t>(text[i]);
        if ((next & 0xC0U) != 0x80) {
            return {};
        }
        code = (code << 6U) | (next & 0x3FU);
    }
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (code < lead.least || code > 0x10FFFF || surrogate) {
        return {};
    }
    return {code, lead.bytes};
}

// C0, DEL, C1, and the characters that reorder or break lines of text (Unicode TR 36).
bool is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x2028 || code == 0x2029 ||
           (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}
}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const Character character = first_character(text);
        if (character.bytes == 0) {
            return false;
        }
        text.remove_prefix(character.bytes);
    }
    return true;
}

std::string clean_text(std::string_view text, size_t max_bytes) {
    constexpr std::string_view k_replacement = "\xEF\xBF\xBD";  // U+FFFD
    std::string clean;
    while (!text.empty()) {
        const Character character = first_character(text);
        const size_t taken = character.bytes == 0 ? 1 : character.bytes;
        std::string_view put = text.substr(0, taken);
        if (character.bytes == 0) {
            put = k_replacement;
        } else if (is_control(character.code)) {
            put = " ";
        }
        if (clean.size() + put.size() > max_bytes) {
            break;
        }
        clean += put;
        text.remove_prefix(taken);
    }
    return clean;
}

}  // namespace acma::proto
