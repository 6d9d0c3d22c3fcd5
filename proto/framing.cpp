// SPDX-License-Identifier: Apache-2.0
#include "proto/framing.h"

#include <algorithm>
#include <utility>

namespace acma::proto {

namespace {
constexpr std::string_view k_ends{"\n\xFF", 2};
constexpr std::string_view k_blanks = " \t\r";
}  // namespace

std::optional<Frame> LineReader::next(std::string_view& bytes) {
    while (!bytes.empty()) {
        const size_t run = std::min(bytes.find_first_of(k_ends), bytes.size());
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
