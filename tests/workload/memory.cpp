// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/memory.h"

#include <cerrno>
#include <utility>

#include <sys/mman.h>

namespace acma::workload {
namespace {

constexpr size_t k_words_per_page = 4096 / sizeof(uint64_t);
// Word 0 of a page is its stamp, word 1 counts touches, the rest is content.
constexpr size_t k_header_words = 2;

Result<std::span<std::byte>> map(Bytes size, int protection_flags) {
    const size_t length = size.count();
    void* start = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | protection_flags, -1, 0);
    if (start == MAP_FAILED) {
        return error_from_errno(errno, "mmap");
    }
    return std::span(static_cast<std::byte*>(start), length);
}

// xorshift64: cheap noise that can be made again for checking.
uint64_t next_noise(uint64_t state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

uint64_t stamp_of(size_t index) {
    return next_noise(index + 0x9e3779b97f4a7c15ULL);
}

size_t noise_words(Fill fill) {
    return (k_words_per_page - k_header_words) * (100 - fill.zero_percent) / 100;
}

}  // namespace

Result<Memory> Memory::reserve(Bytes size, Fill fill) {
    auto space = map(size, MAP_NORESERVE);
    if (!space) {
        return space.error();
    }
    return Memory(*space, fill);
}

Memory::Memory(Memory&& other) noexcept
    : space_(std::exchange(other.space_, {})), fill_(other.fill_), filled_(other.filled_) {}

Memory::~Memory() {
    if (!space_.empty()) {
        munmap(space_.data(), space_.size());
    }
}

uint64_t* Memory::page(size_t index) const {
    return reinterpret_cast<uint64_t*>(space_.data() + index * k_page.count());
}

void Memory::grow_to(Bytes size) {
    const size_t words = noise_words(fill_);
    const size_t end = size.count() / k_page.count();
    for (size_t index = filled_.count() / k_page.count(); index < end; ++index) {
        uint64_t* const content = page(index);
        uint64_t noise = stamp_of(index);
        content[0] = noise;
        content[1] = 1;
        for (size_t word = 0; word < words; ++word) {
            noise = next_noise(noise);
            content[k_header_words + word] = noise;
        }
    }
    filled_ = std::max(filled_, size);
}

bool Memory::touch(Bytes size) {
    const size_t end = std::min(size, filled_).count() / k_page.count();
    bool intact = true;
    for (size_t index = 0; index < end; ++index) {
        uint64_t* const content = page(index);
        intact = intact && content[0] == stamp_of(index);
        content[1] = content[1] + 1;
    }
    return intact;
}

bool Memory::verify() const {
    const size_t words = noise_words(fill_);
    const size_t end = filled_.count() / k_page.count();
    for (size_t index = 0; index < end; ++index) {
        const uint64_t* const content = page(index);
        uint64_t noise = stamp_of(index);
        bool intact = content[0] == noise && content[1] != 0;
        for (size_t word = 0; word < k_words_per_page - k_header_words; ++word) {
            noise = word < words ? next_noise(noise) : 0;
            intact = intact && content[k_header_words + word] == noise;
        }
        if (!intact) {
            return false;
        }
    }
    return true;
}

void Memory::first_touch(Bytes size) {
    const size_t end = size.count() / k_page.count();
    for (size_t index = 0; index < end; ++index) {
        *const_cast<volatile uint64_t*>(page(index)) = stamp_of(index);
    }
}

void Memory::punch_holes(Bytes size) {
    const size_t end = size.count() / k_page.count();
    for (size_t index = 0; index < end; index += 2) {
        (void)madvise(page(index), k_page.count(), MADV_DONTNEED);
    }
}

void Memory::touch_left(Bytes size) const {
    const size_t end = size.count() / k_page.count();
    for (size_t index = 1; index < end; index += 2) {
        (void)*const_cast<const volatile uint64_t*>(page(index));
    }
}

void Memory::avoid_huge_pages() {
    (void)madvise(space_.data(), space_.size(), MADV_NOHUGEPAGE);
}

Result<TranslationFlusher> TranslationFlusher::make() {
    // Linux flushes the whole TLB instead of single pages above 33 of them
    // (arch/x86/mm/tlb.c: tlb_single_page_flush_ceiling).
    auto pages = map(k_page * 64, MAP_POPULATE);
    if (!pages) {
        return pages.error();
    }
    return TranslationFlusher(*pages);
}

void TranslationFlusher::flush() {
    writable_ = !writable_;
    // Failure only means that DAMON sees less; mprotect of our own pages has no reason to fail.
    (void)mprotect(pages_.data(), pages_.size(), writable_ ? PROT_READ | PROT_WRITE : PROT_READ);
}

}  // namespace acma::workload
