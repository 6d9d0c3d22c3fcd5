// SPDX-License-Identifier: Apache-2.0
// acma-pages: how much of each memory block is free, by what the kernel says of every page frame
// (Documentation/admin-guide/mm/pagemap.rst). One JSON object: of each memory block from physical
// address 0 on the pages that are RAM now, of these those in the allocator's hands, and those that
// a balloon gave to the host.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace {

// include/uapi/linux/kernel-page-flags.h
constexpr unsigned k_buddy = 10;
constexpr unsigned k_nopage = 20;  // of memory that is offline; of holes not on every kernel
constexpr unsigned k_offline = 23;

constexpr uint64_t k_page_bytes = 4096;
constexpr uint64_t k_memory_block_pages = (uint64_t{128} << 20) / k_page_bytes;
constexpr size_t k_bytes = k_memory_block_pages * sizeof(uint64_t);

struct MemoryBlock {
    uint64_t present = 0;
    uint64_t free = 0;
    uint64_t offline = 0;
};

struct Range {
    uint64_t first = 0;  // page frame
    uint64_t end = 0;
};

std::vector<Range> system_ram() {
    std::vector<Range> ranges;
    std::ifstream iomem("/proc/iomem");
    for (std::string line; std::getline(iomem, line);) {
        unsigned long start = 0;
        unsigned long last = 0;
        if (line.find(" : System RAM") != std::string::npos &&
            std::sscanf(line.c_str(), "%lx-%lx", &start, &last) == 2) {
            ranges.push_back({.first = (start + k_page_bytes - 1) / k_page_bytes,
                              .end = (last + 1) / k_page_bytes});
        }
    }
    return ranges;
}

uint64_t has(uint64_t flags, unsigned bit) {
    return flags >> bit & 1;
}

}  // namespace

int main() {
    const int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        std::perror("/proc/kpageflags");
        return 1;
    }
    const std::vector<Range> ram = system_ram();
    std::vector<uint64_t> flags(k_memory_block_pages);
    std::printf("{\"memory_blocks\": [");
    bool first = true;
    for (off_t at = 0;; at += static_cast<off_t>(k_bytes)) {
        const ssize_t got = pread(fd, flags.data(), k_bytes, at);
        if (got <= 0) {
            break;
        }
        MemoryBlock block;
        for (size_t i = 0; i < static_cast<size_t>(got) / sizeof(uint64_t); ++i) {
            const uint64_t pfn = static_cast<uint64_t>(at) / sizeof(uint64_t) + i;
            if (std::none_of(ram.begin(), ram.end(),
                             [&](const Range& r) { return r.first <= pfn && pfn < r.end; })) {
                continue;
            }
            block.present += 1 - has(flags[i], k_nopage);
            block.free += has(flags[i], k_buddy);
            block.offline += has(flags[i], k_offline);
        }
        std::printf("%s[%lu, %lu, %lu]", first ? "" : ", ", block.present, block.free,
                    block.offline);
        first = false;
    }
    std::printf("]}\n");
    return 0;
}
