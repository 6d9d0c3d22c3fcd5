// SPDX-License-Identifier: Apache-2.0
// One value <-> the text of one sysfs file. Internal to engine/damon.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/damon/model.h"

namespace acma::damon {

[[nodiscard]] inline std::string_view without_newline(std::string_view text) {
    while (!text.empty() && text.back() == '\n') {
        text.remove_suffix(1);
    }
    return text;
}

[[nodiscard]] inline Error bad_value(std::string_view text, std::string_view wanted) {
    constexpr size_t k_shown = 64;  // an error must not carry a whole page of junk
    return Error{ErrorCode::invalid, "'" + std::string(text.substr(0, k_shown)) +
                                         (text.size() > k_shown ? "...'" : "'") + " is not " +
                                         std::string(wanted)};
}

template <std::integral T>
requires(!std::same_as<T, bool>) [[nodiscard]] std::string to_text(T value) {
    return std::to_string(value);
}
template <std::integral T>
requires(!std::same_as<T, bool>) [[nodiscard]] Status from_text(std::string_view text, T& value) {
    const char* const end = text.data() + text.size();
    const auto [rest, err] = std::from_chars(text.data(), end, value);
    if (err == std::errc::result_out_of_range) {
        return Error{ErrorCode::invalid, "'" + std::string(text.substr(0, 32)) + "' is too large"};
    }
    if (err != std::errc{} || rest != end) {
        return bad_value(text, "a number");
    }
    return {};
}

[[nodiscard]] inline std::string to_text(bool value) {
    return value ? "Y" : "N";
}
[[nodiscard]] inline Status from_text(std::string_view text, bool& value) {
    if (text != "Y" && text != "N") {
        return bad_value(text, "Y or N");
    }
    value = text == "Y";
    return {};
}

[[nodiscard]] inline std::string to_text(const std::string& value) {
    // An empty write never reaches the kernel; a newline empties the field as far as anybody reads.
    return value.empty() ? "\n" : value;
}
[[nodiscard]] inline Status from_text(std::string_view text, std::string& value) {
    value = text;
    return {};
}

[[nodiscard]] inline std::string to_text(NodeId value) {
    return std::to_string(static_cast<int>(value));
}
[[nodiscard]] inline Status from_text(std::string_view text, NodeId& value) {
    int number = 0;
    Status status = from_text(text, number);
    value = NodeId{number};
    return status;
}

template <typename Tag>
[[nodiscard]] std::string to_text(Quantity<Tag> value) {
    return std::to_string(value.count());
}
template <typename Tag>
[[nodiscard]] Status from_text(std::string_view text, Quantity<Tag>& value) {
    uint64_t number = 0;
    Status status = from_text(text, number);
    value = Quantity<Tag>(number);
    return status;
}

template <typename Rep, typename Period>
[[nodiscard]] std::string to_text(std::chrono::duration<Rep, Period> value) {
    return std::to_string(value.count());
}
template <typename Rep, typename Period>
[[nodiscard]] Status from_text(std::string_view text, std::chrono::duration<Rep, Period>& value) {
    Rep number = 0;
    Status status = from_text(text, number);
    value = std::chrono::duration<Rep, Period>(number);
    return status;
}

template <Worded E>
[[nodiscard]] std::string to_text(E value) {
    return std::string(to_string(value));
}
template <Worded E>
[[nodiscard]] Status from_text(std::string_view text, E& value) {
    const std::optional<E> found = from_word<E>(text);
    if (!found) {
        return bad_value(text, "one of " + all_words<E>());
    }
    value = *found;
    return {};
}

}  // namespace acma::damon
