// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/regions.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "engine/damon/validate.h"

namespace acma::damon {

namespace {

// A machine with a terabyte in 128 MiB pieces has 8192 ranges; a line has some 60 characters.
constexpr size_t k_max_text = size_t{4} * 1024 * 1024;
constexpr size_t k_max_ranges = 16'384;

Error bad_line(size_t number, std::string_view line) {
    return Error{ErrorCode::invalid, "iomem line " + std::to_string(number) + ": '" +
                                         std::string(line.substr(0, 64)) +
                                         "' is not START-END : NAME"};
}

bool is_ram(std::string_view name) {
    constexpr std::string_view k_name = "System RAM";
    return name == k_name || name.starts_with("System RAM (");  // "System RAM (kmem)"
}

std::optional<uint64_t> take_hex(std::string_view& text) {
    uint64_t number = 0;
    const auto [rest, err] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
    if (err != std::errc{}) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<size_t>(rest - text.data()));
    return number;
}

bool take(std::string_view& text, std::string_view what) {
    if (!text.starts_with(what)) {
        return false;
    }
    text.remove_prefix(what.size());
    return true;
}

// "  start-end : name" with an inclusive end; nullopt when malformed.
std::optional<Region> parse_range(std::string_view line) {
    const std::optional<uint64_t> start = take_hex(line);
    if (!start || !take(line, "-")) {
        return std::nullopt;
    }
    const std::optional<uint64_t> last = take_hex(line);
    if (!last || !take(line, " : ") || *last < *start || *last == Address::max().count()) {
        return std::nullopt;
    }
    return Region{Address(*start), Address(*last + 1)};
}

// Sorts, and joins what touches or overlaps (nested RAM).
std::vector<Region> joined(std::vector<Region> ranges) {
    std::ranges::sort(ranges, {}, &Region::start);
    std::vector<Region> result;
    for (const Region& range : ranges) {
        if (!result.empty() && range.start <= result.back().end) {
            result.back().end = std::max(result.back().end, range.end);
        } else {
            result.push_back(range);
        }
    }
    return result;
}

}  // namespace

Result<std::vector<Region>> parse_iomem(std::string_view text) {
    if (text.size() > k_max_text) {
        return Error{ErrorCode::too_large, "iomem has " + std::to_string(text.size()) + " bytes"};
    }
    std::vector<Region> ranges;
    bool zeros = false;
    for (size_t number = 1; !text.empty(); number++) {
        const size_t length = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, length);
        text.remove_prefix(std::min(length + 1, text.size()));
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        const size_t separator = line.find(" : ");
        if (separator == std::string_view::npos || !is_ram(line.substr(separator + 3))) {
            continue;
        }
        const std::optional<Region> range = parse_range(line);
        if (!range) {
            return bad_line(number, line);
        }
        if (range->start == Address(0) && range->end == Address(1)) {
            zeros = true;
            continue;
        }
        if (ranges.size() == k_max_ranges) {
            return Error{
                ErrorCode::too_large,
                "iomem has more than " + std::to_string(k_max_ranges) + " System RAM ranges"};
        }
        ranges.push_back(*range);
    }
    if (ranges.empty()) {
        return zeros ? Error{ErrorCode::permission,
                             "/proc/iomem shows only zeros: it takes root (CAP_SYS_ADMIN) to see "
                             "where RAM is"}
                     : Error{ErrorCode::not_found, "/proc/iomem names no System RAM"};
    }
    return joined(std::move(ranges));
}

Result<std::vector<Region>> target_regions(const std::vector<Region>& ram, Bytes least) {
    const uint64_t page = k_min_region.count();
    const Bytes smallest = std::max(least, k_min_region);
    std::vector<Region> regions;
    for (const Region& range : joined(ram)) {
        // Inwards: the kernel would align outwards, onto memory that is not RAM.
        const uint64_t start = detail::add_saturating(range.start.count(), page - 1) / page * page;
        const uint64_t end = range.end.count() / page * page;
        if (end > start && Bytes(end - start) >= smallest) {
            regions.push_back({Address(start), Address(end)});
        }
    }
    if (regions.empty()) {
        return Error{ErrorCode::not_found, "no System RAM range has at least " + human(smallest)};
    }
    return regions;
}

Bytes size_of(const Region& region) {
    return Bytes((region.end - region.start).count());
}

Bytes size_of(const std::vector<Region>& regions) {
    Bytes sum;
    for (const Region& region : regions) {
        sum += size_of(region);
    }
    return sum;
}

}  // namespace acma::damon
