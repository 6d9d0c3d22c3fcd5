// SPDX-License-Identifier: Apache-2.0
#include "proto/framing.h"

#include <algorithm>
#include <utility>

namespace acma::proto {

namespace {
constexpr std::string_view k_blanks = " \t\r";
// Up to the first newline or sentinel. NB: not find_first_of(), which is a call for each character.
size_t run_of(std::string_view bytes) {
    const std::string_view line = bytes.substr(0, bytes.find('\n'));
    return std::min(line.find(k_sentinel), line.size());
}
}  // namespace

std::optional<Frame> LineReader::next(std::string_view& bytes) {
    while (!bytes.empty()) {
        const size_t run = run_of(bytes);
        if (!skipping_ && line_.size() + run > max_line_bytes_) {
            bytes.remove_prefix(run);
            line_.clear();
            line_.shrink_to_fit();
            skipping_ = true;
            return Frame{Frame::Kind::too_long, ""};
        }
        if (!skipping_) {
            line_.append(bytes.substr(0, run));
        }
        bytes.remove_prefix(run);
        if (bytes.empty()) {
            break;
        }
        const char end = bytes.front();
        bytes.remove_prefix(1);
        if (end == k_sentinel) {
            line_.clear();
            skipping_ = false;
            return Frame{Frame::Kind::sentinel, ""};
        }
        if (auto line = end_line()) {
            return line;
        }
    }
    return std::nullopt;
}

// Blank lines are no frames: some clients end lines with \r\n, or send one to wake the other side.
std::optional<Frame> LineReader::end_line() {
    std::string line = std::exchange(line_, {});
    const bool skipped = std::exchange(skipping_, false);
    if (skipped || line.find_first_not_of(k_blanks) == std::string::npos) {
        return std::nullopt;
    }
    return Frame{Frame::Kind::line, std::move(line)};
}

}  // namespace acma::proto
