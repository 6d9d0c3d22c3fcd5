// SPDX-License-Identifier: Apache-2.0
// The border to jsoncpp: strict, bounded, never throws. Only .cpp files of proto (and proto's own
// tests) include this header; the daemons see typed structs.
#pragma once

#include <cstddef>
#include <cstdint>
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

// Writes one JSON value, piece by piece, straight into text. Not by way of a Json::Value tree: that
// costs 150,000 instructions for a status, which an agent pays every second out of its 1,000,000.
// The caller keeps the grammar: names inside objects, each followed by one value. In Layout::line
// neither a newline nor a 0xFF ever comes out.
class JsonWriter {
  public:
    explicit JsonWriter(Layout layout) : layout_(layout) {}

    void begin_object() { begin('{'); }
    void end_object() { end('}'); }
    void begin_array() { begin('['); }
    void end_array() { end(']'); }
    void name(std::string_view name);
    void text(std::string_view valid_utf8);
    void number(uint64_t number);
    void number(int64_t number);
    void boolean(bool value);

    [[nodiscard]] std::string take();

  private:
    void begin(char bracket);
    void end(char bracket);
    void separate();
    void new_line();
    void quote(std::string_view valid_utf8);

    Layout layout_;
    std::string text_;
    size_t depth_ = 0;
    bool follows_value_ = false;  // in the same object or array
    bool follows_name_ = false;
};

}  // namespace acma::proto
