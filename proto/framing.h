// SPDX-License-Identifier: Apache-2.0
// Bytes -> lines, for both directions: one JSON object a line, and 0xFF (which no UTF-8 text
// contains) to start afresh. A state machine over bytes with bounded memory.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace acma::proto {

constexpr char k_sentinel = '\xFF';

struct Frame {
    enum class Kind {
        line,      // `text` is a line, without its end, not blank
        too_long,  // a line over the limit; the rest of it is skipped
        sentinel,  // 0xFF: whatever was begun before is gone
    };
    Kind kind = Kind::line;
    std::string text;
    bool operator==(const Frame&) const = default;
};

class LineReader {
  public:
    explicit LineReader(size_t max_line_bytes) : max_line_bytes_(max_line_bytes) {}

    // Takes bytes off the front of `bytes` up to the end of the next frame. Nothing: all taken, and
    // no frame is complete yet. Use: while (auto frame = reader.next(bytes)) { ... }
    [[nodiscard]] std::optional<Frame> next(std::string_view& bytes);

  private:
    [[nodiscard]] std::optional<Frame> end_line();

    size_t max_line_bytes_;
    std::string line_;
    bool skipping_ = false;  // inside a line that was too long
};

}  // namespace acma::proto
