// SPDX-License-Identifier: Apache-2.0
// Rows of text as columns.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace acma::ctl {

using Row = std::vector<std::string>;

// Not the first byte of a character in UTF-8.
[[nodiscard]] constexpr bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

// Columns as wide as their longest cell, two spaces between; the first one is a name, the rest are
// right-aligned figures up to `figures`, then words. At least one row; all are of the same length.
[[nodiscard]] std::string table(const std::vector<Row>& rows, size_t figures);

}  // namespace acma::ctl
