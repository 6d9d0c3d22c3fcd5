// SPDX-License-Identifier: Apache-2.0
#include "proto/guest_file.h"

#include <array>

#include <json/value.h>

#include "proto/json.h"

namespace acma::proto {

namespace {
constexpr JsonLimits k_limits{.bytes = size_t{64} * 1024, .depth = 8, .values = 256};

Error refused(std::string_view what) {
    return Error{ErrorCode::invalid, "the guest agent's reply: " + std::string(what)};
}

// The object "return".
Result<Json::Value> returned(std::string_view reply) {
    const Result<Json::Value> root = parse_json(reply, k_limits);
    if (!root) {
        return root.error().in("the guest agent's reply");
    }
    return root->isMember("return") ? Result<Json::Value>((*root)["return"])
                                    : Result<Json::Value>(refused("no 'return'"));
}

// A digit of base64; 64: none.
unsigned digit(char c) {
    constexpr std::string_view k_digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t place = k_digits.find(c);
    return place == std::string_view::npos ? 64U : static_cast<unsigned>(place);
}

Result<std::string> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) {
        return refused("base64 of the wrong length");
    }
    while (text.ends_with('=')) {
        text.remove_suffix(1);
    }
    std::string bytes;
    unsigned bits = 0;
    unsigned held = 0;
    for (const char c : text) {
        const unsigned value = digit(c);
        if (value == 64U) {
            return refused("not base64");
        }
        bits = (bits << 6U | value) & 0xffffU;
        held += 6;
        if (held >= 8) {
            held -= 8;
            bytes.push_back(static_cast<char>(bits >> held & 0xffU));
        }
    }
    return bytes;
}

void begin(JsonWriter& json, std::string_view command) {
    json.begin_object();
    json.name("execute");
    json.text(command);
    json.name("arguments");
    json.begin_object();
}

std::string end(JsonWriter& json) {
    json.end_object();
    json.end_object();
    return json.take();
}
}  // namespace

std::string open_file_request(std::string_view path) {
    JsonWriter json(Layout::line);
    begin(json, "guest-file-open");
    json.name("path");
    json.text(path);
    json.name("mode");
    json.text("r");
    return end(json);
}

std::string read_file_request(int64_t handle, size_t most) {
    JsonWriter json(Layout::line);
    begin(json, "guest-file-read");
    json.name("handle");
    json.number(handle);
    json.name("count");
    json.number(static_cast<uint64_t>(most));
    return end(json);
}

std::string close_file_request(int64_t handle) {
    JsonWriter json(Layout::line);
    begin(json, "guest-file-close");
    json.name("handle");
    json.number(handle);
    return end(json);
}

Result<int64_t> opened_file(std::string_view reply) {
    const Result<Json::Value> value = returned(reply);
    if (!value) {
        return value.error();
    }
    return value->isInt64() ? Result<int64_t>(value->asInt64())
                            : Result<int64_t>(refused("no handle"));
}

Result<std::string> read_from_file(std::string_view reply, size_t most) {
    const Result<Json::Value> value = returned(reply);
    if (!value) {
        return value.error();
    }
    if (!value->isObject() || !(*value)["buf-b64"].isString()) {
        return refused("no content");
    }
    Result<std::string> bytes = from_base64((*value)["buf-b64"].asString());
    if (bytes && bytes->size() > most) {
        return refused("more than was asked for");
    }
    return bytes;
}

}  // namespace acma::proto
