// SPDX-License-Identifier: Apache-2.0
// One list of fields per struct: {JSON name, member, presence, bounds}. It is encoder, decoder and
// documentation at once (docs/protocol.md is tested against it). Private to proto.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <json/value.h>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "proto/json.h"
#include "proto/plain.h"
#include "proto/text.h"

namespace acma::proto {

// What is wrong with which field. Built from the inside out: each level puts its name in front.
struct Fault {
    std::string path;    // "policy.psi_bp", "problems[2].what"
    std::string before;  // "Parameter '"
    std::string after;   // "' is missing"

    [[nodiscard]] Fault inside(std::string_view name) &&;
    [[nodiscard]] Error error() const;  // in qemu-ga's words
};
using Check = std::optional<Fault>;  // nothing: all is well

[[nodiscard]] Fault missing(std::string_view name);
[[nodiscard]] Fault unexpected(std::string_view name);
[[nodiscard]] Fault wrong_type(std::string_view expected);
[[nodiscard]] Fault wrong_value(std::string_view expected);

// Who wrote what we read. A request is refused for an unknown field or word: doing half of what
// was asked is worse. A reply or document may come from a newer release: what is unknown in it is
// ignored, and an unknown word becomes the cautious one of its kind.
enum class Reading { request, reply };

// Integers: the value. Text: bytes. Lists and maps: elements, and what one element may be.
struct Bounds {
    uint64_t least = 0;
    uint64_t most = std::numeric_limits<uint64_t>::max();
    uint64_t element_most = std::numeric_limits<uint64_t>::max();
};

// FieldList<T>: the list of T (k_fields) and its name in the documentation (k_title). Specialised
// in lists.h.
template <typename T>
struct FieldList;
template <typename T>
concept HasFieldList = requires {
    FieldList<T>::k_fields;
};

// Words<E>: text <-> enum E; `k_all` for the documentation, `k_newer` what an unknown word in a
// reply is read as. Specialised in lists.h.
template <typename E>
struct Words;

// Codec<T>: JSON <-> T.
//   static std::string type();                                   for the documentation
//   static void encode(const T&, const Bounds&, JsonWriter&);
//   static Check decode(const Json::Value&, const Bounds&, Reading, T&);
//   static bool read(PlainReader&, const Bounds&, T&);           a reply; false: decode() must
template <typename T>
struct Codec;

template <typename S>
struct Field {
    std::string_view name;
    bool required;
    Bounds bounds;
    std::string (*type)();
    void (*encode)(const S&, const Field&, JsonWriter&);  // its name too
    Check (*decode)(const Json::Value&, const Field&, Reading, S&);
    bool (*read)(PlainReader&, const Field&, S&);
};

namespace detail {
template <typename Member>
struct MemberOf;
template <typename S, typename T>
struct MemberOf<T S::*> {
    using Struct = S;
};
template <typename T>
struct Unwrap {
    using Type = T;
    static constexpr bool k_optional = false;
};
template <typename T>
struct Unwrap<std::optional<T>> {
    using Type = T;
    static constexpr bool k_optional = true;
};

// Path {&SetPolicy::policy, &Policy::min_mem} reaches through a nested struct.
template <auto First, auto... Rest, typename S>
constexpr auto& reach(S& object) {
    if constexpr (sizeof...(Rest) == 0) {
        return object.*First;
    } else {
        return reach<Rest...>(object.*First);
    }
}
}  // namespace detail

// A field of a list, for the member that `Path` leads to. std::optional members are left out of
// the JSON when empty, and may be missing from it.
template <auto First, auto... Rest>
constexpr auto field(std::string_view name, Bounds bounds = {}) {
    using S = typename detail::MemberOf<decltype(First)>::Struct;
    using Member = std::remove_cvref_t<decltype(detail::reach<First, Rest...>(std::declval<S&>()))>;
    using T = typename detail::Unwrap<Member>::Type;
    constexpr bool k_optional = detail::Unwrap<Member>::k_optional;
    return Field<S>{.name = name,
                    .required = !k_optional,
                    .bounds = bounds,
                    .type = &Codec<T>::type,
                    .encode =
                        [](const S& from, const Field<S>& self, JsonWriter& to) {
                            const auto& member = detail::reach<First, Rest...>(from);
                            if constexpr (!k_optional) {
                                to.name(self.name);
                                Codec<T>::encode(member, self.bounds, to);
                            } else if (member) {
                                to.name(self.name);
                                Codec<T>::encode(*member, self.bounds, to);
                            }
                        },
                    .decode = [](const Json::Value& value, const Field<S>& self, Reading reading,
                                 S& to) -> Check {
                        T decoded{};
                        Check fault = Codec<T>::decode(value, self.bounds, reading, decoded);
                        if (!fault) {
                            detail::reach<First, Rest...>(to) = std::move(decoded);
                        }
                        return fault;
                    },
                    .read = [](PlainReader& from, const Field<S>& self, S& to) -> bool {
                        if constexpr (k_optional) {
                            return Codec<T>::read(from, self.bounds,
                                                  detail::reach<First, Rest...>(to).emplace());
                        } else {
                            return Codec<T>::read(from, self.bounds,
                                                  detail::reach<First, Rest...>(to));
                        }
                    }};
}

// The same, for a member that older peers do not send: it keeps its default then.
template <auto First, auto... Rest>
constexpr auto optional_field(std::string_view name, Bounds bounds = {}) {
    auto made = field<First, Rest...>(name, bounds);
    made.required = false;
    return made;
}

// --- primitive codecs -----------------------------------------------------------------------

[[nodiscard]] Check decode_u64(const Json::Value& value, const Bounds& bounds, uint64_t& to);
[[nodiscard]] Check decode_i64(const Json::Value& value, int64_t& to);
[[nodiscard]] Check decode_text(const Json::Value& value, size_t most, std::string& to);
[[nodiscard]] Check check_size(const Json::Value& value, uint64_t most);
[[nodiscard]] bool read_u64(PlainReader& from, const Bounds& bounds, uint64_t& to);

template <std::unsigned_integral T>
requires(!std::same_as<T, bool>) struct Codec<T> {
    static std::string type() { return "integer"; }
    static void encode(const T& from, const Bounds&, JsonWriter& to) { to.number(uint64_t{from}); }
    static Check decode(const Json::Value& value, Bounds bounds, Reading, T& to) {
        bounds.most = std::min<uint64_t>(bounds.most, std::numeric_limits<T>::max());
        uint64_t wide = 0;
        Check fault = decode_u64(value, bounds, wide);
        to = static_cast<T>(wide);
        return fault;
    }
    static bool read(PlainReader& from, Bounds bounds, T& to) {
        bounds.most = std::min<uint64_t>(bounds.most, std::numeric_limits<T>::max());
        uint64_t wide = 0;
        const bool good = read_u64(from, bounds, wide);
        to = static_cast<T>(wide);
        return good;
    }
};

// Only ids are signed: qemu-ga's are int64.
template <>
struct Codec<int64_t> {
    static std::string type() { return "signed integer"; }
    static void encode(const int64_t& from, const Bounds&, JsonWriter& to) { to.number(from); }
    static Check decode(const Json::Value& value, const Bounds&, Reading, int64_t& to) {
        return decode_i64(value, to);
    }
    static bool read(PlainReader&, const Bounds&, int64_t&) { return false; }  // only ids are
};

template <typename Tag>
struct Codec<Quantity<Tag>> {
    static std::string type() { return "integer"; }
    static void encode(const Quantity<Tag>& from, const Bounds&, JsonWriter& to) {
        to.number(from.count());
    }
    static Check decode(const Json::Value& value, const Bounds& bounds, Reading,
                        Quantity<Tag>& to) {
        uint64_t count = 0;
        Check fault = decode_u64(value, bounds, count);
        to = Quantity<Tag>(count);
        return fault;
    }
    static bool read(PlainReader& from, const Bounds& bounds, Quantity<Tag>& to) {
        uint64_t count = 0;
        const bool good = read_u64(from, bounds, count);
        to = Quantity<Tag>(count);
        return good;
    }
};

template <>
struct Codec<Micros> {
    static std::string type() { return "integer"; }
    // A time before its origin cannot happen; 0 rather than 584,000 years.
    static void encode(const Micros& from, const Bounds&, JsonWriter& to) {
        to.number(std::max<int64_t>(from.count(), 0));
    }
    static Check decode(const Json::Value& value, Bounds bounds, Reading, Micros& to) {
        bounds.most = std::min<uint64_t>(bounds.most, std::numeric_limits<int64_t>::max());
        uint64_t count = 0;
        Check fault = decode_u64(value, bounds, count);
        to = Micros(static_cast<int64_t>(count));
        return fault;
    }
    static bool read(PlainReader& from, Bounds bounds, Micros& to) {
        bounds.most = std::min<uint64_t>(bounds.most, std::numeric_limits<int64_t>::max());
        uint64_t count = 0;
        const bool good = read_u64(from, bounds, count);
        to = Micros(static_cast<int64_t>(count));
        return good;
    }
};

template <>
struct Codec<bool> {
    static std::string type() { return "boolean"; }
    static void encode(const bool& from, const Bounds&, JsonWriter& to) { to.boolean(from); }
    static Check decode(const Json::Value& value, const Bounds&, Reading, bool& to);
    static bool read(PlainReader& from, const Bounds&, bool& to) {
        const auto value = from.boolean();
        to = value.value_or(false);
        return value.has_value();
    }
};

template <>
struct Codec<std::string> {
    static std::string type() { return "string"; }
    static void encode(const std::string& from, const Bounds& bounds, JsonWriter& to) {
        to.text(clean_text(from, bounds.most));
    }
    static Check decode(const Json::Value& value, const Bounds& bounds, Reading, std::string& to) {
        return decode_text(value, bounds.most, to);
    }
    static bool read(PlainReader& from, const Bounds& bounds, std::string& to) {
        const auto text = from.text();
        if (!text || text->size() > bounds.most) {
            return false;
        }
        to = *text;
        return true;
    }
};

template <typename E>
requires std::is_enum_v<E>
struct Codec<E> {
    static std::string type() {
        std::string names;
        for (const E word : Words<E>::k_all) {
            names += (names.empty() ? "" : ", ") + std::string(to_string(word));
        }
        return "one of " + names;
    }
    static void encode(const E& from, const Bounds&, JsonWriter& to) { to.text(to_string(from)); }
    static Check decode(const Json::Value& value, const Bounds&, Reading reading, E& to) {
        constexpr size_t k_longest_word = 64;
        std::string text;
        if (Check fault = decode_text(value, k_longest_word, text)) {
            return fault;
        }
        for (const E word : Words<E>::k_all) {
            if (text == to_string(word)) {
                to = word;
                return std::nullopt;
            }
        }
        if (reading == Reading::request) {
            return wrong_value(type());
        }
        to = Words<E>::k_newer;
        return std::nullopt;
    }
    static bool read(PlainReader& from, const Bounds&, E& to) {
        const auto text = from.text();
        for (const E word : Words<E>::k_all) {
            if (text && *text == to_string(word)) {
                to = word;
                return true;
            }
        }
        return false;
    }
};

template <typename T>
struct Codec<std::vector<T>> {
    static std::string type() { return "array of " + Codec<T>::type(); }
    static Bounds of_element(const Bounds& bounds) { return {.most = bounds.element_most}; }
    static void encode(const std::vector<T>& from, const Bounds& bounds, JsonWriter& to) {
        to.begin_array();
        for (const T& element : std::span(from).first(std::min<size_t>(from.size(), bounds.most))) {
            Codec<T>::encode(element, of_element(bounds), to);
        }
        to.end_array();
    }
    static Check decode(const Json::Value& value, const Bounds& bounds, Reading reading,
                        std::vector<T>& to) {
        if (!value.isArray()) {
            return wrong_type("array");
        }
        if (Check fault = check_size(value, bounds.most)) {
            return fault;
        }
        to.reserve(value.size());
        for (Json::ArrayIndex i = 0; i < value.size(); ++i) {
            T element{};
            if (Check fault = Codec<T>::decode(value[i], of_element(bounds), reading, element)) {
                return std::move(*fault).inside("[" + std::to_string(i) + "]");
            }
            to.push_back(std::move(element));
        }
        return std::nullopt;
    }
    static bool read(PlainReader& from, const Bounds& bounds, std::vector<T>& to) {
        if (!from.take('[')) {
            return false;
        }
        if (from.take(']')) {
            return true;
        }
        do {
            if (to.size() >= bounds.most ||
                !Codec<T>::read(from, of_element(bounds), to.emplace_back())) {
                return false;
            }
        } while (from.take(','));
        return from.take(']');
    }
};

// Names of numbers are chosen by the writer, so they are bounded like values.
template <>
struct Codec<std::map<std::string, uint64_t>> {
    using Map = std::map<std::string, uint64_t>;
    static std::string type() { return "object of integers"; }
    static void encode(const Map& from, const Bounds& bounds, JsonWriter& to);
    static Check decode(const Json::Value& value, const Bounds& bounds, Reading, Map& to);
    static bool read(PlainReader&, const Bounds&, Map&) { return false; }  // of no reply
};

// --- structs --------------------------------------------------------------------------------

template <HasFieldList T>
void encode_fields(const T& from, JsonWriter& to) {
    to.begin_object();
    for (const auto& each : FieldList<T>::k_fields) {
        each.encode(from, each, to);
    }
    to.end_object();
}

// Refuses a member of the object that is not known.
[[nodiscard]] Check check_names(const Json::Value& object, std::span<const std::string_view> known);

template <HasFieldList T>
[[nodiscard]] Check decode_fields(const Json::Value& object, Reading reading, T& to) {
    if (!object.isObject()) {
        return wrong_type("object");
    }
    std::vector<std::string_view> names;
    for (const auto& each : FieldList<T>::k_fields) {
        names.push_back(each.name);
        const Json::Value* value =
            object.find(each.name.data(), each.name.data() + each.name.size());
        if (value == nullptr && each.required) {
            return missing(each.name);
        }
        if (value != nullptr) {
            if (Check fault = each.decode(*value, each, reading, to)) {
                return std::move(*fault).inside(each.name);
            }
        }
    }
    return reading == Reading::request ? check_names(object, names) : std::nullopt;
}

// Fields usually come in the list's order, so the one after the last is tried first.
template <HasFieldList T>
[[nodiscard]] bool read_fields(PlainReader& from, T& to) {
    constexpr auto& k_fields = FieldList<T>::k_fields;
    std::array<bool, k_fields.size()> seen{};
    if (!from.take('{')) {
        return false;
    }
    if (!from.take('}')) {
        size_t found = 0;
        do {
            if (found == k_fields.size() || !from.take_name(k_fields[found].name)) {
                const auto name = from.name();
                const auto known = std::find_if(
                    k_fields.begin(), k_fields.end(),
                    [&name](const auto& field) { return name && field.name == *name; });
                if (known == k_fields.end()) {
                    return false;
                }
                found = static_cast<size_t>(known - k_fields.begin());
            }
            if (seen[found] || !k_fields[found].read(from, k_fields[found], to)) {
                return false;
            }
            seen[found++] = true;
        } while (from.take(','));
        if (!from.take('}')) {
            return false;
        }
    }
    for (size_t i = 0; i < k_fields.size(); ++i) {
        if (k_fields[i].required && !seen[i]) {
            return false;
        }
    }
    return true;
}

template <HasFieldList T>
struct Codec<T> {
    static std::string type() { return "object: " + std::string(FieldList<T>::k_title); }
    static void encode(const T& from, const Bounds&, JsonWriter& to) { encode_fields(from, to); }
    static Check decode(const Json::Value& value, const Bounds&, Reading reading, T& to) {
        return decode_fields(value, reading, to);
    }
    static bool read(PlainReader& from, const Bounds&, T& to) {
        if constexpr (FieldList<T>::k_fields.empty()) {
            return from.take('{') && from.take('}');
        } else {
            return read_fields(from, to);
        }
    }
};

}  // namespace acma::proto
