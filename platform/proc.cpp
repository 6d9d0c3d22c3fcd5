// SPDX-License-Identifier: Apache-2.0
#include "platform/proc.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace acma::platform {

namespace {

std::optional<uint64_t> number_at(std::string_view text) {
    while (!text.empty() && text.front() == ' ') {
        text.remove_prefix(1);
    }
    uint64_t number = 0;
    const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), number);
    (void)end;
    return err == std::errc{} ? std::optional(number) : std::nullopt;
}

// Calls `use(line)` for each line until it returns false.
template <typename Use>
void for_each_line(std::string_view text, Use use) {
    while (!text.empty()) {
        const size_t end = text.find('\n');
        if (!use(text.substr(0, end)) || end == std::string_view::npos) {
            return;
        }
        text.remove_prefix(end + 1);
    }
}

// Fills the fields whose name starts a line, stops once all were seen.
template <typename Struct, typename Field, size_t N, typename Convert>
size_t fill(std::string_view text, Struct& out,
            const std::array<std::pair<std::string_view, Field Struct::*>, N>& table,
            Convert convert) {
    size_t found = 0;
    for_each_line(text, [&](std::string_view line) {
        for (const auto& [name, member] : table) {
            if (line.size() > name.size() && line.starts_with(name)) {
                if (const auto number = number_at(line.substr(name.size()))) {
                    out.*member = convert(*number);
                    ++found;
                }
                break;
            }
        }
        return found < N;
    });
    return found;
}

}  // namespace

Result<Micros> parse_psi_some_total(std::string_view text) {
    std::optional<uint64_t> total;
    for_each_line(text, [&](std::string_view line) {
        constexpr std::string_view k_total = "total=";
        const size_t at = line.find(k_total);
        if (line.starts_with("some ") && at != std::string_view::npos) {
            total = number_at(line.substr(at + k_total.size()));
        }
        return !total;
    });
    if (!total || *total > static_cast<uint64_t>(Micros::max().count())) {
        return Error{ErrorCode::invalid,
                     "no usable line 'some ... total=' in /proc/pressure/memory"};
    }
    return Micros(static_cast<int64_t>(*total));
}

VmStat parse_vmstat(std::string_view text, Bytes page_size) {
    VmStat stat;
    // The trailing space keeps "pswpin" from matching a longer name.
    constexpr std::array<std::pair<std::string_view, Bytes VmStat::*>, 4> k_bytes{{
        {"workingset_refault_anon ", &VmStat::refault_anon_total},
        {"workingset_refault_file ", &VmStat::refault_file_total},
        {"pswpin ", &VmStat::swap_in_total},
        {"pswpout ", &VmStat::swap_out_total},
    }};
    constexpr std::array<std::pair<std::string_view, uint64_t VmStat::*>, 1> k_counts{{
        {"oom_kill ", &VmStat::oom_kills_total},
    }};
    (void)fill(text, stat, k_bytes, [&](uint64_t pages) { return page_size * pages; });
    (void)fill(text, stat, k_counts, [](uint64_t count) { return count; });
    return stat;
}

Result<MemInfo> parse_meminfo(std::string_view text) {
    MemInfo info;
    constexpr std::array<std::pair<std::string_view, Bytes MemInfo::*>, 5> k_fields{{
        {"MemTotal:", &MemInfo::total},
        {"MemFree:", &MemInfo::free},
        {"MemAvailable:", &MemInfo::available},
        {"SwapTotal:", &MemInfo::swap_total},
        {"SwapFree:", &MemInfo::swap_free},
    }};
    (void)fill(text, info, k_fields, [](uint64_t kib) { return to_bytes(Kibibytes(kib)); });
    if (info.total == Bytes(0)) {
        return Error{ErrorCode::invalid, "no MemTotal in /proc/meminfo"};
    }
    return info;
}

Result<ZoneInfo> parse_zoneinfo(std::string_view text, Bytes page_size) {
    ZoneInfo zones;
    for_each_line(text, [&](std::string_view line) {
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        // The trailing space keeps "low" from matching the "low:" of a per-CPU list.
        constexpr std::array<std::pair<std::string_view, Bytes ZoneInfo::*>, 2> k_fields{{
            {"managed ", &ZoneInfo::managed},
            {"low ", &ZoneInfo::low_watermarks},
        }};
        for (const auto& [name, member] : k_fields) {
            if (const auto pages =
                    line.starts_with(name) ? number_at(line.substr(name.size())) : std::nullopt) {
                zones.*member += page_size * *pages;
            }
        }
        return true;
    });
    if (zones.managed == Bytes(0)) {
        return Error{ErrorCode::invalid, "no zone with memory in /proc/zoneinfo"};
    }
    return zones;
}

}  // namespace acma::platform
