// SPDX-License-Identifier: Apache-2.0
// Rows of text as columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/units.h"

namespace acma::ctl {

using Row = std::vector<std::string>;

// Not the first byte of a character in UTF-8.
[[nodiscard]] constexpr bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

// Columns as wide as their longest cell, two spaces between; the first one is a name, the rest are
// right-aligned figures up to `figures`, then words. At least one row; all are of the same length.
[[nodiscard]] std::string table(const std::vector<Row>& rows, size_t figures);

// --- figures in them

[[nodiscard]] std::string fixed(double value, int digits, const char* unit);
[[nodiscard]] double seconds(Micros duration);
// "99.987 %", rounded down, since 99.9999 % is not all; "-" of nothing.
[[nodiscard]] std::string share_met(Micros met, Micros of);
// "2.13"; "-" in no time.
[[nodiscard]] std::string per_minute(uint64_t count, Micros time);

}  // namespace acma::ctl
