// SPDX-License-Identifier: Apache-2.0
#include "proto/fields.h"

namespace acma::proto {

namespace {
constexpr size_t k_max_shown_name = 64;  // of a peer's field, in an error text

std::string shown(std::string_view name) {
    return clean_text(name, k_max_shown_name);
}

Fault out_of_range(std::string_view what) {
    return {.path = "", .before = "Parameter '", .after = "' " + std::string(what)};
}

// NB: not Value::isUInt64(), which also takes the double 2.0.
bool is_integer(const Json::Value& value) {
    return value.type() == Json::intValue || value.type() == Json::uintValue;
}
}  // namespace

Fault Fault::inside(std::string_view name) && {
    const bool joins = path.empty() || path.front() == '[';
    path = std::string(name) + (joins ? "" : ".") + path;
    return std::move(*this);
}

Error Fault::error() const {
    return Error{ErrorCode::invalid, before + path + after};
}

Fault missing(std::string_view name) {
    return {.path = std::string(name), .before = "Parameter '", .after = "' is missing"};
}
Fault unexpected(std::string_view name) {
    return {.path = shown(name), .before = "Parameter '", .after = "' is unexpected"};
}
Fault wrong_type(std::string_view expected) {
    return {.path = "",
            .before = "Invalid parameter type for '",
            .after = "', expected: " + std::string(expected)};
}
Fault wrong_value(std::string_view expected) {
    return out_of_range("expects " + std::string(expected));
}

Check decode_u64(const Json::Value& value, const Bounds& bounds, uint64_t& to) {
    if (!is_integer(value)) {
        return wrong_type("integer");
    }
    if (!value.isUInt64() || value.asUInt64() < bounds.least || value.asUInt64() > bounds.most) {
        return wrong_value("a value from " + std::to_string(bounds.least) + " to " +
                           std::to_string(bounds.most));
    }
    to = value.asUInt64();
    return std::nullopt;
}

bool read_u64(PlainReader& from, const Bounds& bounds, uint64_t& to) {
    const auto number = from.number();
    to = number.value_or(0);
    return number && to >= bounds.least && to <= bounds.most;
}

Check decode_i64(const Json::Value& value, int64_t& to) {
    if (!is_integer(value) || !value.isInt64()) {
        return wrong_type("integer");  // qemu-ga says the same of a number beyond int64
    }
    to = value.asInt64();
    return std::nullopt;
}

Check decode_text(const Json::Value& value, size_t most, std::string& to) {
    if (!value.isString()) {
        return wrong_type("string");
    }
    const std::string text = value.asString();
    if (text.size() > most) {
        return out_of_range("is longer than " + std::to_string(most) + " bytes");
    }
    to = clean_text(text, most);
    return std::nullopt;
}

Check check_size(const Json::Value& value, uint64_t most) {
    if (value.size() > most) {
        return out_of_range("has more than " + std::to_string(most) + " elements");
    }
    return std::nullopt;
}

Check check_names(const Json::Value& object, std::span<const std::string_view> known) {
    for (const std::string& name : object.getMemberNames()) {
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            return unexpected(name);
        }
    }
    return std::nullopt;
}

Check Codec<bool>::decode(const Json::Value& value, const Bounds&, Reading, bool& to) {
    if (!value.isBool()) {
        return wrong_type("boolean");
    }
    to = value.asBool();
    return std::nullopt;
}

void Codec<std::map<std::string, uint64_t>>::encode(const Map& from, const Bounds& bounds,
                                                    JsonWriter& to) {
    // Cleaned and cut names may become the same; the first of them stays.
    Map clean;
    for (const auto& [name, number] : from) {
        if (clean.size() < bounds.most) {
            clean.emplace(clean_text(name, bounds.element_most), number);
        }
    }
    to.begin_object();
    for (const auto& [name, number] : clean) {
        to.name(name);
        to.number(number);
    }
    to.end_object();
}

Check Codec<std::map<std::string, uint64_t>>::decode(const Json::Value& value, const Bounds& bounds,
                                                     Reading, Map& to) {
    if (!value.isObject()) {
        return wrong_type("object");
    }
    if (Check fault = check_size(value, bounds.most)) {
        return fault;
    }
    for (const std::string& name : value.getMemberNames()) {
        if (name.size() > bounds.element_most) {
            return unexpected(name);
        }
        uint64_t number = 0;
        if (Check fault = decode_u64(value[name], {}, number)) {
            return std::move(*fault).inside(shown(name));
        }
        to.emplace(clean_text(name, bounds.element_most), number);
    }
    return std::nullopt;
}

}  // namespace acma::proto
