// SPDX-License-Identifier: Apache-2.0
// The border to jsoncpp: strict, bounded, never throws. Only .cpp files of proto (and proto's own
// tests) include this header; the daemons see typed structs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <json/value.h>

#include "engine/base/result.h"
#include "proto/document.h"

namespace acma::proto {

// What a document may cost. jsoncpp builds a tree of about 100 bytes a value, so it is the number
// of values, not the bytes, that bounds memory.
struct JsonLimits {
    size_t bytes;
    size_t depth;   // of nested objects and arrays
    size_t values;  // counted as separators (',' and ':') outside strings
};

// One JSON object, and nothing after it. Refused beside syntax errors: more than `limits`, bytes
// that are not UTF-8, duplicate keys, comments, NaN and Infinity, a root that is not an object.
// The error is one line of printable text.
[[nodiscard]] Result<Json::Value> parse_json(std::string_view text, const JsonLimits& limits);

// Only ASCII comes out (other characters as \u escapes), so a 0xFF or a newline never does in
// Layout::line. Keys are sorted.
[[nodiscard]] std::string write_json(const Json::Value& value, Layout layout);

}  // namespace acma::proto
