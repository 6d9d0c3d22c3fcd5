// SPDX-License-Identifier: Apache-2.0
#include "host-controller/hostmem/smaps.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>

namespace acma::host {

namespace {
struct Mapping {
    uint64_t start = 0;
    uint64_t end = 0;
    bool ram_like = false;  // writable and not executable (TCG's code buffer is both)
    bool taken = false;     // belongs to a RAM block
    Bytes resident;
    Bytes swapped;
    Bytes hugetlb;

    [[nodiscard]] Bytes size() const { return Bytes(end - start); }
};

std::string_view next_line(std::string_view& text) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return line;
}

bool take_hex(std::string_view& text, uint64_t& value) {
    const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return err == std::errc{};
}

// "7f01a000-7f01b000 rw-p ..." starts a mapping; "Rss:   4 kB" does not.
std::optional<Mapping> parse_header(std::string_view line) {
    Mapping mapping;
    if (!take_hex(line, mapping.start) || !line.starts_with('-')) {
        return std::nullopt;
    }
    line.remove_prefix(1);
    constexpr size_t k_permissions = 5;  // " rw-p"
    if (!take_hex(line, mapping.end) || line.size() < k_permissions || line.front() != ' ' ||
        mapping.end < mapping.start) {
        return std::nullopt;
    }
    mapping.ram_like = line[2] == 'w' && line[3] != 'x';
    return mapping;
}

// "Rss:     1234 kB" with the wanted name -> bytes.
std::optional<Bytes> kib_field(std::string_view line, std::string_view name) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') {
        return std::nullopt;
    }
    line.remove_prefix(name.size() + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    uint64_t kib = 0;
    const auto [end, err] = std::from_chars(line.data(), line.data() + line.size(), kib);
    if (err != std::errc{}) {
        return std::nullopt;
    }
    return to_bytes(Kibibytes(kib));
}

void read_field(std::string_view line, Mapping& mapping) {
    if (const auto rss = kib_field(line, "Rss")) {
        mapping.resident = *rss;
    } else if (const auto swap = kib_field(line, "Swap")) {
        mapping.swapped = *swap;
    } else if (const auto own = kib_field(line, "Private_Hugetlb")) {
        mapping.hugetlb += *own;  // hugetlb pages are not in Rss
    } else if (const auto shared = kib_field(line, "Shared_Hugetlb")) {
        mapping.hugetlb += *shared;
    }
}

std::vector<Mapping> parse_mappings(std::string_view smaps) {
    std::vector<Mapping> mappings;
    while (!smaps.empty()) {
        const std::string_view line = next_line(smaps);
        if (const auto mapping = parse_header(line)) {
            mappings.push_back(*mapping);
        } else if (!mappings.empty()) {
            read_field(line, mappings.back());
        }
    }
    return mappings;
}

bool take_exact(std::vector<Mapping>& mappings, Bytes block) {
    for (Mapping& mapping : mappings) {
        if (mapping.ram_like && !mapping.taken && mapping.size() == block) {
            return mapping.taken = true;
        }
    }
    return false;
}

// Adjoining pieces from `first` on that make up exactly `block`; one past the last, or `first`.
size_t run_end(const std::vector<Mapping>& mappings, size_t first, Bytes block) {
    Bytes sum;
    for (size_t i = first; i < mappings.size() && sum < block; ++i) {
        const Mapping& piece = mappings[i];
        const bool adjoins = i == first || mappings[i - 1].end == piece.start;
        if (!piece.ram_like || piece.taken || !adjoins) {
            return first;
        }
        sum += piece.size();
        if (sum == block) {
            return i + 1;
        }
    }
    return first;
}

bool take_run(std::vector<Mapping>& mappings, Bytes block) {
    for (size_t first = 0; first < mappings.size(); ++first) {
        const size_t end = run_end(mappings, first, block);
        for (size_t i = first; i < end; ++i) {
            mappings[i].taken = true;
        }
        if (end != first) {
            return true;
        }
    }
    return false;
}
}  // namespace

Result<HostBytes> host_bytes_of(std::string_view smaps, const std::vector<Bytes>& ram_blocks) {
    std::vector<Mapping> mappings = parse_mappings(smaps);
    for (const Bytes block : ram_blocks) {
        if (!take_exact(mappings, block) && !take_run(mappings, block)) {
            return Error{ErrorCode::not_found,
                         "no RAM mapping of " + human(block) + " in the QEMU process"};
        }
    }
    HostBytes sum;
    for (const Mapping& mapping : mappings) {
        if (mapping.taken) {
            sum.resident += mapping.resident;
            sum.swapped += mapping.swapped;
            sum.hugetlb += mapping.hugetlb;
        } else {
            sum.qemu_own += mapping.resident + mapping.swapped;
        }
    }
    return sum;
}

Result<ProcessMemory> parse_process_status(std::string_view status) {
    std::optional<Bytes> resident;
    ProcessMemory memory;
    while (!status.empty()) {
        const std::string_view line = next_line(status);
        if (const auto rss = kib_field(line, "VmRSS")) {
            resident = rss;
        } else if (const auto swap = kib_field(line, "VmSwap")) {
            memory.swapped = *swap;
        } else if (const auto huge = kib_field(line, "HugetlbPages")) {
            memory.hugetlb = *huge;
        }
    }
    if (!resident) {
        // A zombie has no memory lines.
        return Error{ErrorCode::not_found, "process status: no VmRSS"};
    }
    memory.resident = *resident;
    return memory;
}

}  // namespace acma::host
