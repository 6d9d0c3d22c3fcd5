// SPDX-License-Identifier: Apache-2.0
// Text from a peer, made safe to print, log and send on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace acma::proto {

[[nodiscard]] bool is_utf8(std::string_view text);

// Valid UTF-8 without control characters (a guest must not be able to drive the operator's
// terminal, or to break a log line in two), at most max_bytes long. What is not valid becomes
// U+FFFD, a control character becomes a space; a text that is too long is cut between characters.
// clean_text(clean_text(x)) == clean_text(x).
[[nodiscard]] std::string clean_text(std::string_view text, size_t max_bytes);

}  // namespace acma::proto
