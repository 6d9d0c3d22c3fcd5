// SPDX-License-Identifier: Apache-2.0
// Reads JSON as our own agents write it (JsonWriter, Layout::line) straight into structs: 1,000
// agents tell their status every second, and each costs a controller 3 us so, by way of a
// Json::Value 25 us. What is in any other form (escapes, bytes that are not ASCII, a field that is
// unknown or there twice, a value out of bounds) is not read at all: the whole line goes to
// parse_json() then, which says what is wrong or takes it. So a line means the same either way.
// Private to proto.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace acma::proto {

class PlainReader {
  public:
    explicit PlainReader(std::string_view text) : rest_(text) {}

    // The next character of the grammar, blanks before it aside.
    [[nodiscard]] bool take(char wanted) {
        skip_blanks();
        const bool there = !rest_.empty() && rest_.front() == wanted;
        rest_.remove_prefix(there ? 1 : 0);
        return there;
    }
    [[nodiscard]] bool at_end() {
        skip_blanks();
        return rest_.empty();
    }
    // The name that is expected here, and its colon; false: it is another, and nothing is taken.
    [[nodiscard]] bool take_name(std::string_view wanted) {
        skip_blanks();
        const size_t size = wanted.size() + 2;
        if (rest_.size() <= size || rest_.front() != '"' ||
            rest_.compare(1, wanted.size(), wanted) != 0 || rest_[size - 1] != '"' ||
            rest_[size] != ':') {
            return false;
        }
        rest_.remove_prefix(size + 1);
        return true;
    }
    // Printable ASCII without quotes or backslashes in it; a view of the line.
    [[nodiscard]] std::optional<std::string_view> text();
    // "name":
    [[nodiscard]] std::optional<std::string_view> name() {
        const auto found = text();
        return found && take(':') ? found : std::nullopt;
    }
    [[nodiscard]] std::optional<uint64_t> number();
    [[nodiscard]] std::optional<bool> boolean();

  private:
    void skip_blanks() {
        while (!rest_.empty() && rest_.front() == ' ') {
            rest_.remove_prefix(1);
        }
    }

    std::string_view rest_;
};

}  // namespace acma::proto
