// SPDX-License-Identifier: Apache-2.0
// Enum <-> word: one constexpr table per enum, and two functions that work on every table.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace acma::damon {

template <typename E>
struct Word {
    E value;
    std::string_view text;
};

// Specialised next to each enum (model.h).
template <typename E>
struct Words;

template <typename E>
concept Worded = requires {
    Words<E>::k_table.size();
};

template <Worded E>
[[nodiscard]] constexpr std::string_view to_string(E value) {
    for (const Word<E>& word : Words<E>::k_table) {
        if (word.value == value) {
            return word.text;
        }
    }
    return {};
}

template <Worded E>
[[nodiscard]] constexpr std::optional<E> from_word(std::string_view text) {
    for (const Word<E>& word : Words<E>::k_table) {
        if (word.text == text) {
            return word.value;
        }
    }
    return std::nullopt;
}

// "anon, active, memcg": for error messages.
template <Worded E>
[[nodiscard]] std::string all_words() {
    std::string list;
    for (const Word<E>& word : Words<E>::k_table) {
        list += (list.empty() ? "" : ", ") + std::string(word.text);
    }
    return list;
}

}  // namespace acma::damon
