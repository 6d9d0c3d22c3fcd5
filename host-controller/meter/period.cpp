// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/period.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <ctime>
#include <optional>

namespace acma::host {

namespace {
using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;

constexpr days k_longest{3653};  // ten years

// Takes `digits` digits from the front of `text`.
std::optional<unsigned> take_number(std::string_view& text, size_t digits) {
    unsigned number = 0;
    if (text.size() < digits) {
        return std::nullopt;
    }
    const auto [end, failed] = std::from_chars(text.data(), text.data() + digits, number);
    if (failed != std::errc{} || end != text.data() + digits) {
        return std::nullopt;
    }
    text.remove_prefix(digits);
    return number;
}

bool take(std::string_view& text, char wanted) {
    const bool there = text.starts_with(wanted);
    text.remove_prefix(there ? 1 : 0);
    return there;
}

std::optional<std::chrono::sys_days> take_date(std::string_view& text) {
    const auto year = take_number(text, 4);
    const bool first = take(text, '-');
    const auto month = take_number(text, 2);
    const bool second = take(text, '-');
    const auto day = take_number(text, 2);
    if (!year || !first || !month || !second || !day) {
        return std::nullopt;
    }
    const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                           std::chrono::month(*month), std::chrono::day(*day)};
    return date.ok() ? std::optional<std::chrono::sys_days>(date) : std::nullopt;
}

// "10:00" or "10:00:00".
std::optional<Seconds> take_time(std::string_view& text) {
    const auto hour = take_number(text, 2);
    const bool colon = take(text, ':');
    const auto minute = take_number(text, 2);
    if (!hour || !colon || !minute || *hour > 23 || *minute > 59) {
        return std::nullopt;
    }
    Seconds time = hours(*hour) + minutes(*minute);
    if (take(text, ':')) {
        const auto second = take_number(text, 2);
        if (!second || *second > 59) {
            return std::nullopt;
        }
        time += Seconds(*second);
    }
    return time;
}

// "Z", "+01:00" or nothing, which is UTC.
std::optional<Seconds> take_offset(std::string_view& text) {
    if (text.empty() || take(text, 'Z')) {
        return Seconds(0);
    }
    const bool east = take(text, '+');
    if (!east && !take(text, '-')) {
        return std::nullopt;
    }
    const auto offset = take_time(text);
    return offset ? std::optional(east ? *offset : -*offset) : std::nullopt;
}

std::optional<Micros> parse_iso(std::string_view text) {
    const auto date = take_date(text);
    if (!date) {
        return std::nullopt;
    }
    Seconds at = date->time_since_epoch();
    if (take(text, 'T')) {
        const auto time = take_time(text);
        const auto offset = time ? take_offset(text) : std::nullopt;
        if (!offset) {
            return std::nullopt;
        }
        at += *time - *offset;
    }
    return text.empty() && at >= Seconds(0) ? std::optional<Micros>(at) : std::nullopt;
}

std::optional<Micros> unit_of(char letter) {
    switch (letter) {
        case 'm':
            return minutes(1);
        case 'h':
            return hours(1);
        case 'd':
            return days(1);
        case 'w':
            return days(7);
        default:
            return std::nullopt;
    }
}
}  // namespace

Result<Micros> parse_duration(std::string_view text) {
    const Error bad{ErrorCode::invalid, "'" + std::string(text.substr(0, 64)) +
                                            "' is not a duration from 1m to 10 years; write a "
                                            "number with m, h, d or w, such as 24h or 30d"};
    const auto unit = text.empty() ? std::nullopt : unit_of(text.back());
    uint32_t count = 0;
    const char* const last = text.data() + text.size() - (text.empty() ? 0 : 1);
    const auto [end, failed] = std::from_chars(text.data(), last, count);
    if (!unit || failed != std::errc{} || end != last || count == 0 || count > k_longest / *unit) {
        return bad;
    }
    return *unit * int64_t{count};
}

Result<Micros> parse_moment(std::string_view text, Micros now) {
    if (const auto at = parse_iso(text)) {
        return *at;
    }
    if (const auto ago = parse_duration(text)) {
        return std::max(now - *ago, Micros(0));
    }
    return Error{ErrorCode::invalid,
                 "'" + std::string(text.substr(0, 64)) +
                     "' is not a time; write 2026-11-01, 2026-11-01T10:00:00Z or, so long ago, "
                     "24h or 30d"};
}

std::string format_utc(Micros wall) {
    const std::time_t seconds = std::chrono::floor<Seconds>(wall).count();
    std::tm parts{};
    std::array<char, sizeof "2026-11-21T10:00:00Z"> text{};
    if (::gmtime_r(&seconds, &parts) == nullptr ||
        std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        return "-";
    }
    return text.data();
}

}  // namespace acma::host
