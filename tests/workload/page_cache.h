// SPDX-License-Identifier: Apache-2.0
// A file's pages in memory: what the kernel can write back, drop and read again.
#pragma once

#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::workload {

// A file that is made anew, and mapped. Its pages are of 4 KiB: it is written in pieces so small.
class PageCache {
  public:
    static Result<PageCache> make(const std::string& path, Bytes size);
    PageCache(PageCache&& other) noexcept;
    PageCache& operator=(PageCache&&) = delete;
    ~PageCache();

    // Writes the pages of [from, to), so that they are in memory.
    Status fill(Bytes from, Bytes to);
    // Writes all of it to the disk, and lets go of every second page.
    Status punch_holes();
    // Reads one word of each page that is left.
    void touch() const;

  private:
    PageCache(int fd, std::span<const std::byte> map) : fd_(fd), map_(map) {}

    int fd_;
    std::span<const std::byte> map_;
};

}  // namespace acma::workload
