// SPDX-License-Identifier: Apache-2.0
#include "engine/policy/policy.h"

#include <array>
#include <charconv>
#include <utility>

namespace acma {

namespace {
constexpr std::array<std::pair<Mode, std::string_view>, 3> k_modes{{
    {Mode::automatic, "auto"},
    {Mode::observe, "observe"},
    {Mode::off, "off"},
}};

struct SizeUnit {
    std::string_view name;
    int shift;
};
// The first name of each shift is the one that format_size writes.
constexpr std::array<SizeUnit, 8> k_size_units{{
    {"TiB", 40},
    {"GiB", 30},
    {"MiB", 20},
    {"KiB", 10},
    {"T", 40},
    {"G", 30},
    {"M", 20},
    {"K", 10},
}};

std::string quoted(std::string_view text) {
    constexpr size_t k_shown = 64;  // an error message must not carry a whole hostile document
    return "'" + std::string(text.substr(0, k_shown)) + (text.size() > k_shown ? "...'" : "'");
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && text.front() == ' ') {
        text.remove_prefix(1);
    }
    while (!text.empty() && text.back() == ' ') {
        text.remove_suffix(1);
    }
    return text;
}

// Splits "123 rest"; fails when there is no digit at the start or the number overflows.
Result<std::pair<uint64_t, std::string_view>> leading_number(std::string_view text) {
    uint64_t number = 0;
    const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (err == std::errc::result_out_of_range) {
        return Error{ErrorCode::invalid, quoted(text) + " is too large"};
    }
    if (err != std::errc{}) {
        return Error{ErrorCode::invalid, quoted(text) + " does not start with a number"};
    }
    return std::pair{number, text.substr(static_cast<size_t>(end - text.data()))};
}
}  // namespace

std::string_view to_string(Mode mode) {
    for (const auto& [value, name] : k_modes) {
        if (value == mode) {
            return name;
        }
    }
    return "unknown";
}

Result<Mode> parse_mode(std::string_view text) {
    for (const auto& [value, name] : k_modes) {
        if (name == text) {
            return value;
        }
    }
    return Error{ErrorCode::invalid, quoted(text) + " is not one of auto, observe, off"};
}

Result<Bytes> parse_size(std::string_view text) {
    text = trim(text);
    const auto number = leading_number(text);
    if (!number) {
        return number.error().in("size");
    }
    const std::string_view unit = trim(number->second);
    if (unit.starts_with('.')) {
        return Error{ErrorCode::invalid,
                     "size " + quoted(text) + " is not a whole number; write 1536MiB for 1.5 GiB"};
    }
    if (unit.empty()) {
        return Error{ErrorCode::invalid,
                     "size " + quoted(text) + " has no unit; write KiB, MiB or GiB"};
    }
    for (const auto& known : k_size_units) {
        if (known.name == unit) {
            if (number->first > (std::numeric_limits<uint64_t>::max() >> known.shift)) {
                return Error{ErrorCode::invalid, "size " + quoted(text) + " is too large"};
            }
            return Bytes(number->first << known.shift);
        }
    }
    return Error{ErrorCode::invalid,
                 "size " + quoted(text) + " has an unknown unit; write KiB, MiB or GiB"};
}

std::string format_size(Bytes size) {
    for (const auto& unit : k_size_units) {
        const uint64_t one = uint64_t{1} << unit.shift;
        if (size.count() != 0 && size.count() % one == 0) {
            return std::to_string(size.count() >> unit.shift) + std::string(unit.name);
        }
    }
    // Not a multiple of 1 KiB: rounded up, since a guest keeps rather more memory than less.
    return std::to_string(to_kib_ceil(size).count()) + "KiB";
}

Result<BasisPoints> parse_psi(std::string_view text) {
    const std::string_view whole_text = trim(text);
    const auto number = leading_number(whole_text);
    if (!number) {
        return number.error();
    }
    auto [percent, rest] = *number;
    uint64_t hundredths = 0;
    if (!rest.empty() && rest.front() == '.') {
        rest.remove_prefix(1);
        size_t digits = 0;
        uint64_t weight = 10;
        while (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') {
            const auto digit = static_cast<uint64_t>(rest.front() - '0');
            if (weight == 0 && digit != 0) {
                return Error{ErrorCode::invalid,
                             quoted(whole_text) + " is finer than 0.01 %, the smallest step"};
            }
            hundredths += digit * weight;
            weight /= 10;
            ++digits;
            rest.remove_prefix(1);
        }
        if (digits == 0) {
            return Error{ErrorCode::invalid, quoted(whole_text) + " has no digit after '.'"};
        }
    }
    if (trim(rest) != "%") {
        return Error{ErrorCode::invalid, quoted(whole_text) + " is not a percentage such as 0.1%"};
    }
    if (percent > 100 || (percent == 100 && hundredths != 0)) {
        return Error{ErrorCode::invalid, quoted(whole_text) + " is above 100 %"};
    }
    const uint64_t bp = percent * 100 + hundredths;
    if (bp == 0) {
        return Error{ErrorCode::invalid,
                     quoted(whole_text) + " must be above 0 (0.01 % is the smallest)"};
    }
    return BasisPoints(bp);
}

std::string format_psi(BasisPoints psi) {
    std::string text = std::to_string(psi.count() / 100);
    if (const uint64_t rest = psi.count() % 100; rest != 0) {
        text += rest % 10 == 0 ? "." + std::to_string(rest / 10)
                               : (rest < 10 ? ".0" : ".") + std::to_string(rest);
    }
    return text + "%";
}

Result<uint32_t> parse_shares(std::string_view text) {
    const auto number = leading_number(text);
    if (!number || !number->second.empty() || number->first == 0 || number->first > k_max_shares) {
        return Error{ErrorCode::invalid,
                     quoted(text) + " is not a number from 1 to " + std::to_string(k_max_shares)};
    }
    return static_cast<uint32_t>(number->first);
}

Status validate(const Policy& policy) {
    if (policy.min_mem < k_least_min_mem) {
        return Error{ErrorCode::invalid, "min-mem " + human(policy.min_mem) + " is below " +
                                             human(k_least_min_mem) +
                                             ", the least a guest can live on"};
    }
    if (policy.min_mem > policy.max_mem) {
        return Error{ErrorCode::invalid, "min-mem " + human(policy.min_mem) + " is above max-mem " +
                                             human(policy.max_mem)};
    }
    if (policy.psi < 1_bp || policy.psi > k_full_bp) {
        return Error{ErrorCode::invalid,
                     "psi " + human(policy.psi) + " is not from 0.01 % to 100 %"};
    }
    if (policy.shares == 0 || policy.shares > k_max_shares) {
        return Error{ErrorCode::invalid, "shares " + std::to_string(policy.shares) +
                                             " is not from 1 to " + std::to_string(k_max_shares)};
    }
    return {};
}

std::string describe(const Policy& policy) {
    return "min " + human(policy.min_mem) + ", max " + human(policy.max_mem) + ", psi " +
           human(policy.psi) + ", shares " + std::to_string(policy.shares) + ", mode " +
           std::string(to_string(policy.mode));
}

}  // namespace acma
