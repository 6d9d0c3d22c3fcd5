// SPDX-License-Identifier: Apache-2.0
#include "platform/page_map.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>

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
}  // namespace

Result<std::vector<Piece>> probe_page_map(const std::string& kpageflags,
                                          const std::vector<PhysicalRange>& ram) {
    const Fd fd(::open(kpageflags.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + kpageflags);
    }
    const Bytes size = piece_size(ram);
    std::vector<Piece> pieces;
    for (const auto& range : ram) {
        // Pieces are aligned, so that those of a 2 MiB guest page never straddle two.
        for (Bytes start = range.start; start < range.end;) {
            const Bytes next =
                std::min(range.end, Bytes((start.count() / size.count() + 1) * size.count()));
            Piece piece{.start = start, .size = next - start};
            for (unsigned i = 0; i < k_probes_per_piece; ++i) {
                const Bytes offset = piece.size / (2 * k_probes_per_piece) * (2 * i + 1);
                const auto seen = evictable(fd.get(), start + offset);
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
