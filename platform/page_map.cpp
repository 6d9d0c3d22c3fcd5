// SPDX-License-Identifier: Apache-2.0
#include "platform/page_map.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <random>

#include <fcntl.h>
#include <linux/kernel-page-flags.h>

#include "platform/fd.h"

namespace acma::platform {

namespace {
constexpr uint64_t k_page = 4096;

Bytes piece_size(const std::vector<PhysicalRange>& ram) {
    Bytes total;
    for (const auto& range : ram) {
        total += range.end - range.start;
    }
    const Bytes least = total / (k_page_map_probes / k_probes_per_piece);
    return std::max(k_block, Bytes(std::bit_ceil(least.count())));
}

Result<bool> evictable(int fd, Bytes address) {
    uint64_t flags = 0;
    const auto at = static_cast<off_t>(address.count() / k_page * sizeof(flags));
    const ssize_t got = ::pread(fd, &flags, sizeof(flags), at);
    if (got < 0) {
        return error_from_errno(errno, "read /proc/kpageflags");
    }
    constexpr uint64_t k_lru = uint64_t{1} << KPF_LRU;
    constexpr uint64_t k_unevictable = uint64_t{1} << KPF_UNEVICTABLE;
    return got == sizeof(flags) && (flags & (k_lru | k_unevictable)) == k_lru;
}

// Anywhere in the piece's i-th part: places at even distances would meet memory that is used in a
// pattern, such as every other page, always or never.
Bytes place(const Piece& piece, unsigned i, std::minstd_rand& random) {
    const uint64_t pages = piece.size.count() / k_page;
    const uint64_t first = pages * i / k_probes_per_piece;
    const uint64_t end = std::max(pages * (i + 1) / k_probes_per_piece, first + 1);
    return piece.start + Bytes(k_page * (first + random() % (end - first)));
}
}  // namespace

Result<std::vector<Piece>> probe_page_map(const std::string& kpageflags,
                                          const std::vector<PhysicalRange>& ram, uint32_t seed) {
    const Fd fd(::open(kpageflags.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + kpageflags);
    }
    const Bytes size = piece_size(ram);
    std::minstd_rand random(seed);
    std::vector<Piece> pieces;
    for (const auto& range : ram) {
        // Pieces are aligned, so that those of a 2 MiB guest page never straddle two.
        for (Bytes start = range.start; start < range.end;) {
            const Bytes next =
                std::min(range.end, Bytes((start.count() / size.count() + 1) * size.count()));
            Piece piece{.start = start, .size = next - start};
            for (unsigned i = 0; i < k_probes_per_piece; ++i) {
                const auto seen = evictable(fd.get(), place(piece, i, random));
                if (!seen) {
                    return seen.error();
                }
                piece.evictable += *seen ? 1U : 0U;
            }
            pieces.push_back(piece);
            start = next;
        }
    }
    return pieces;
}

}  // namespace acma::platform
