// SPDX-License-Identifier: Apache-2.0
#include "engine/base/units.h"

#include <array>
#include <cstdio>
#include <string_view>

namespace acma {

namespace {
// n / unit with one decimal, dropped when it is zero.
std::string one_decimal(uint64_t n, uint64_t unit, std::string_view name) {
    const uint64_t whole = n / unit;
    const uint64_t tenth = (n % unit) * 10 / unit;
    std::string text = std::to_string(whole);
    if (tenth != 0) {
        text += "." + std::to_string(tenth);
    }
    return text + " " + std::string(name);
}
}  // namespace

std::string human(Bytes bytes) {
    struct Unit {
        uint64_t size;
        std::string_view name;
    };
    constexpr std::array<Unit, 4> k_units{{{uint64_t{1} << 40, "TiB"},
                                           {uint64_t{1} << 30, "GiB"},
                                           {uint64_t{1} << 20, "MiB"},
                                           {uint64_t{1} << 10, "KiB"}}};
    for (const auto& unit : k_units) {
        if (bytes.count() >= unit.size) {
            return one_decimal(bytes.count(), unit.size, unit.name);
        }
    }
    return std::to_string(bytes.count()) + " B";
}

std::string human(BasisPoints share) {
    std::array<char, 40> text{};
    (void)std::snprintf(text.data(), text.size(), "%llu.%02llu %%",
                        static_cast<unsigned long long>(share.count() / 100),
                        static_cast<unsigned long long>(share.count() % 100));
    return text.data();
}

std::string human(Micros duration) {
    const bool negative = duration.count() < 0;
    const auto us = static_cast<uint64_t>(negative ? -duration.count() : duration.count());
    std::string text = us >= 1'000'000 ? one_decimal(us, 1'000'000, "s")
                       : us >= 1'000   ? one_decimal(us, 1'000, "ms")
                                       : std::to_string(us) + " us";
    return negative ? "-" + text : text;
}

}  // namespace acma
