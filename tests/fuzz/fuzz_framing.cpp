// SPDX-License-Identifier: Apache-2.0
// Any bytes, cut in any way: the same frames, all bounded.
#include <algorithm>
#include <vector>

#include "proto/framing.h"
#include "tests/fuzz/fuzz.h"

using acma::fuzz::require;
using namespace acma::proto;

namespace {
constexpr size_t k_max_line = 32;  // small, so that short inputs reach it

std::vector<Frame> frames_of(std::string_view stream, size_t piece_bytes) {
    LineReader reader(k_max_line);
    std::vector<Frame> frames;
    while (!stream.empty()) {
        std::string_view piece = stream.substr(0, piece_bytes);
        stream.remove_prefix(piece.size());
        while (auto frame = reader.next(piece)) {
            frames.push_back(*frame);
        }
        require(piece.empty(), "all bytes are taken");
    }
    return frames;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view stream = acma::fuzz::as_text(data, size);
    const auto whole = frames_of(stream, std::max<size_t>(size, 1));
    require(whole == frames_of(stream, 1), "frames do not depend on the cuts");
    require(whole == frames_of(stream, 7), "frames do not depend on the cuts");
    for (const Frame& frame : whole) {
        require(frame.text.size() <= k_max_line, "a frame is bounded");
        require(frame.text.find_first_of("\n\xFF") == std::string::npos, "a frame is one line");
    }
    return 0;
}
