// SPDX-License-Identifier: Apache-2.0
#include "proto/json.h"

#include <exception>
#include <memory>

#include <json/reader.h>
#include <json/writer.h>

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

// Depth and number of values, before jsoncpp spends memory on them. Follows only strings and
// brackets; whether the text is JSON at all is jsoncpp's to say.
Status check_cost(std::string_view text, const JsonLimits& limits) {
    size_t depth = 0;
    size_t values = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;  // whatever is escaped does not end the string
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        values += c == ',' || c == ':' ? 1 : 0;
        depth += c == '{' || c == '[' ? 1 : 0;
        depth -= (c == '}' || c == ']') && depth > 0 ? 1 : 0;
        if (depth > limits.depth) {
            return over_limit("nested deeper", limits.depth);
        }
        if (values > limits.values) {
            return over_limit("more values", limits.values);
        }
    }
    return {};
}

Json::CharReaderBuilder strict_reader(const JsonLimits& limits) {
    Json::CharReaderBuilder builder;
    Json::CharReaderBuilder::strictMode(&builder.settings_);
    // check_cost() comes first; this only guards against a mistake in it. One more, since jsoncpp
    // counts the scalar inside the innermost object too. NB: jsoncpp 1.9.5 throws when it is hit.
    builder["stackLimit"] = static_cast<Json::UInt>(limits.depth + 1);
    return builder;
}
}  // namespace

Result<Json::Value> parse_json(std::string_view text, const JsonLimits& limits) {
    if (text.size() > limits.bytes) {
        return over_limit("longer in bytes", limits.bytes);
    }
    if (!is_utf8(text)) {
        return parse_error("bytes that are not UTF-8");
    }
    if (const Status cost = check_cost(text, limits); !cost) {
        return cost.error();
    }
    try {
        const std::unique_ptr<Json::CharReader> reader(strict_reader(limits).newCharReader());
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

std::string write_json(const Json::Value& value, Layout layout) {
    Json::StreamWriterBuilder builder;
    builder["commentStyle"] = "None";
    builder["indentation"] = layout == Layout::line ? "" : "  ";
    builder["enableYAMLCompatibility"] = layout == Layout::indented;  // "a": 1, not "a" : 1
    std::string text = Json::writeString(builder, value);
    if (layout == Layout::indented) {
        text += '\n';
    }
    return text;
}

}  // namespace acma::proto
