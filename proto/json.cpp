// SPDX-License-Identifier: Apache-2.0
#include "proto/json.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <memory>
#include <utility>

#include <json/reader.h>

#include "proto/text.h"

namespace acma::proto {

namespace {
constexpr size_t k_max_parser_text = 160;  // jsoncpp quotes the input; a hint is enough

Error parse_error(std::string_view what) {
    return Error{ErrorCode::invalid, "JSON parse error, " + std::string(what)};
}

// "* Line 1, Column 5\n  Syntax error.\n" -> "Line 1, Column 5 Syntax error."
std::string one_line(std::string_view parser_text) {
    std::string line;
    for (const char c : clean_text(parser_text, k_max_parser_text)) {
        const bool starts = line.empty() || line.back() == ' ';
        if (!(starts && (c == ' ' || c == '*'))) {
            line += c;
        }
    }
    while (!line.empty() && line.back() == ' ') {
        line.pop_back();
    }
    return line;
}

Error over_limit(std::string_view what, size_t limit) {
    return Error{ErrorCode::too_large,
                 "JSON parse error, " + std::string(what) + " than " + std::to_string(limit)};
}

// RFC 8259: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(std::string_view text) {
    const auto take = [&text](std::string_view any_of) {
        const bool taken = !text.empty() && any_of.find(text.front()) != std::string_view::npos;
        text.remove_prefix(taken ? 1 : 0);
        return taken;
    };
    const auto take_digits = [&text] {
        const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
        text.remove_prefix(digits);
        return digits > 0;
    };
    (void)take("-");
    if (!take("0") && !take_digits()) {
        return false;
    }
    if (take(".") && !take_digits()) {
        return false;
    }
    if (take("eE")) {
        (void)take("+-");
        if (!take_digits()) {
            return false;
        }
    }
    return text.empty();
}

// jsoncpp 1.9.6 makes an infinity of 1e999.
bool fits_a_double(std::string_view number) {
    double value = 0;
    return std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc();
}

// Before jsoncpp spends memory: depth and number of values; and what jsoncpp takes even in strict
// mode: comments, numbers such as 01 and +1, control characters in strings. It follows only
// strings, brackets and numbers; whether the whole is JSON is jsoncpp's to say.
class Scanner {
  public:
    explicit Scanner(const JsonLimits& limits) : limits_(limits) {}

    Status scan(std::string_view text) {
        while (!text.empty()) {
            const char c = text.front();
            if (c == '"') {
                const size_t size = string_size(text);
                if (size == 0) {
                    return parse_error("control character in a string");
                }
                text.remove_prefix(size);
            } else if (k_number.find(c) != std::string_view::npos) {
                const size_t size =
                    std::min(text.find_first_not_of(k_number_or_exponent), text.size());
                const std::string_view number = text.substr(0, size);
                if (!is_number(number) || !fits_a_double(number)) {
                    return parse_error("'" + clean_text(number, k_max_shown) + "' is not a number");
                }
                text.remove_prefix(size);
            } else {
                if (Status counted = count(c); !counted) {
                    return counted;
                }
                text.remove_prefix(1);
            }
        }
        return {};
    }

  private:
    static constexpr std::string_view k_number = "+-.0123456789";
    static constexpr std::string_view k_number_or_exponent = "+-.0123456789eE";
    static constexpr size_t k_max_shown = 32;

    // Of the string at the front, with its quotes; 0 if a control character is in it. One that has
    // no end takes all the rest.
    static size_t string_size(std::string_view text) {
        for (size_t i = 1; i < text.size(); ++i) {
            if (static_cast<unsigned char>(text[i]) < 0x20) {
                return 0;
            }
            if (text[i] == '"') {
                return i + 1;
            }
            i += text[i] == '\\' ? 1U : 0U;  // whatever is escaped does not end the string
        }
        return text.size();
    }

    Status count(char c) {
        values_ += c == ',' || c == ':' ? 1 : 0;
        depth_ += c == '{' || c == '[' ? 1 : 0;
        depth_ -= (c == '}' || c == ']') && depth_ > 0 ? 1 : 0;
        if (depth_ > limits_.depth) {
            return over_limit("nested deeper", limits_.depth);
        }
        if (values_ > limits_.values) {
            return over_limit("more values", limits_.values);
        }
        if (c == '/') {
            return parse_error("comment");
        }
        return {};
    }

    JsonLimits limits_;
    size_t depth_ = 0;
    size_t values_ = 0;
};

// Filled once: that costs half as much as parsing a status.
const Json::CharReaderBuilder& strict_reader() {
    static const Json::CharReaderBuilder k_builder = [] {
        Json::CharReaderBuilder builder;
        Json::CharReaderBuilder::strictMode(&builder.settings_);
        // The scanner comes first; this only guards against a mistake in it. NB: jsoncpp 1.9.5
        // throws when it is hit.
        builder["stackLimit"] = 64;
        return builder;
    }();
    return k_builder;
}
}  // namespace

Result<Json::Value> parse_json(std::string_view text, const JsonLimits& limits) {
    if (text.size() > limits.bytes) {
        return over_limit("longer in bytes", limits.bytes);
    }
    if (!is_utf8(text)) {
        return parse_error("bytes that are not UTF-8");
    }
    if (const Status scanned = Scanner(limits).scan(text); !scanned) {
        return scanned.error();
    }
    try {
        const std::unique_ptr<Json::CharReader> reader(strict_reader().newCharReader());
        Json::Value root;
        std::string errors;
        if (!reader->parse(text.data(), text.data() + text.size(), &root, &errors)) {
            return parse_error(one_line(errors));
        }
        if (!root.isObject()) {
            return Error{ErrorCode::invalid, "QMP input must be a JSON object"};
        }
        return root;
    } catch (const std::exception& thrown) {
        return parse_error(one_line(thrown.what()));
    }
}

// --- writing --------------------------------------------------------------------------------

void JsonWriter::name(std::string_view name) {
    separate();
    quote(name);
    text_ += layout_ == Layout::line ? ":" : ": ";
    follows_name_ = true;
}

void JsonWriter::text(std::string_view valid_utf8) {
    separate();
    quote(valid_utf8);
    follows_value_ = true;
}

void JsonWriter::number(uint64_t number) {
    separate();
    text_ += std::to_string(number);
    follows_value_ = true;
}

void JsonWriter::number(int64_t number) {
    separate();
    text_ += std::to_string(number);
    follows_value_ = true;
}

void JsonWriter::boolean(bool value) {
    separate();
    text_ += value ? "true" : "false";
    follows_value_ = true;
}

std::string JsonWriter::take() {
    if (layout_ == Layout::indented) {
        text_ += '\n';
    }
    return std::move(text_);
}

void JsonWriter::begin(char bracket) {
    separate();
    text_ += bracket;
    ++depth_;
    follows_value_ = false;
}

void JsonWriter::end(char bracket) {
    --depth_;
    if (follows_value_) {  // else it is empty
        new_line();
    }
    text_ += bracket;
    follows_value_ = true;
}

void JsonWriter::separate() {
    if (std::exchange(follows_name_, false)) {
        return;
    }
    if (follows_value_) {
        text_ += ',';
    }
    if (depth_ > 0) {
        new_line();
    }
}

void JsonWriter::new_line() {
    if (layout_ == Layout::indented) {
        text_ += '\n';
        text_.append(2 * depth_, ' ');
    }
}

void JsonWriter::quote(std::string_view valid_utf8) {
    constexpr std::string_view k_hex = "0123456789abcdef";
    text_ += '"';
    for (const char c : valid_utf8) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20) {
            text_ += "\\u00";
            text_ += k_hex[byte >> 4U];
            text_ += k_hex[byte & 0xFU];
            continue;
        }
        if (c == '"' || c == '\\') {
            text_ += '\\';
        }
        text_ += c;
    }
    text_ += '"';
}

}  // namespace acma::proto
