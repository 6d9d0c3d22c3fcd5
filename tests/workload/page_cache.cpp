// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/page_cache.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/workload/memory.h"

namespace acma::workload {

namespace {

Error failed(const char* what) {
    return Error{ErrorCode::io, std::string(what) + ": " + std::strerror(errno)};
}

}  // namespace

Result<PageCache> PageCache::make(const std::string& path, Bytes size) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return failed(path.c_str());
    }
    void* map = ftruncate(fd, static_cast<off_t>(size.count())) == 0
                    ? mmap(nullptr, size.count(), PROT_READ, MAP_SHARED, fd, 0)
                    : MAP_FAILED;
    if (map == MAP_FAILED) {
        const Error error = failed(path.c_str());
        close(fd);
        return error;
    }
    // No page is read but those that are asked for.
    (void)madvise(map, size.count(), MADV_RANDOM);
    return PageCache(fd, {static_cast<const std::byte*>(map), size.count()});
}

PageCache::PageCache(PageCache&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), map_(std::exchange(other.map_, {})) {}

PageCache::~PageCache() {
    if (fd_ >= 0) {
        munmap(const_cast<std::byte*>(map_.data()), map_.size());
        close(fd_);
    }
}

Status PageCache::fill(Bytes from, Bytes to) {
    std::array<std::byte, k_page.count()> page{};
    for (uint64_t at = from.count(); at < to.count(); at += page.size()) {
        std::memcpy(page.data(), &at, sizeof(at));
        if (pwrite(fd_, page.data(), page.size(), static_cast<off_t>(at)) !=
            static_cast<ssize_t>(page.size())) {
            return failed("write");
        }
    }
    return {};
}

Status PageCache::punch_holes() {
    if (fsync(fd_) != 0) {
        return failed("fsync");
    }
    for (uint64_t at = 0; at < map_.size(); at += 2 * k_page.count()) {
        if (const int error =
                posix_fadvise(fd_, static_cast<off_t>(at), static_cast<off_t>(k_page.count()),
                              POSIX_FADV_DONTNEED);
            error != 0) {
            errno = error;
            return failed("posix_fadvise");
        }
    }
    return {};
}

void PageCache::touch() const {
    for (uint64_t at = k_page.count(); at < map_.size(); at += 2 * k_page.count()) {
        (void)*static_cast<const volatile std::byte*>(&map_[at]);
    }
}

}  // namespace acma::workload
