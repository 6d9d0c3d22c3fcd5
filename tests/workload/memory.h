// SPDX-License-Identifier: Apache-2.0
// Anonymous memory with known content, and touching it in a way that DAMON sees under TCG too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::workload {

constexpr Bytes k_page{4096};

// How much of each page is zeros; the rest is noise that no compressor shrinks.
struct Fill {
    unsigned zero_percent = 0;
};

// A private mapping that grows at its end up to a reserved size and is never moved.
class Memory {
  public:
    // Reserves address space only; nothing is resident before grow_to() or touch().
    static Result<Memory> reserve(Bytes size, Fill fill);
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&&) = delete;
    ~Memory();

    // Fills the pages between the present end and `size`, so that they are resident.
    void grow_to(Bytes size);
    [[nodiscard]] Bytes filled() const { return filled_; }

    // Reads and writes one word of each page in [0, size). False when a page lost its content.
    [[nodiscard]] bool touch(Bytes size);
    // True when every byte of [0, filled()) is what was put there.
    [[nodiscard]] bool verify() const;
    // Writes one word of each page of [0, size) without filling it: the cheapest first touch.
    void first_touch(Bytes size);
    // Gives every second page of [0, size) back to the kernel.
    void punch_holes(Bytes size);
    // Reads one word of each page that punch_holes() left.
    void touch_left(Bytes size) const;
    // Pages of 4 KiB only, from now on.
    void avoid_huge_pages();

  private:
    Memory(std::span<std::byte> space, Fill fill) : space_(space), fill_(fill) {}
    [[nodiscard]] uint64_t* page(size_t index) const;

    std::span<std::byte> space_;
    Fill fill_;
    Bytes filled_;
};

// Makes this process's address translations be looked up anew. DAMON clears Accessed bits without a
// TLB flush; a real TLB is so small that this hardly matters, but TCG's holds many thousands of
// pages and hides repeated accesses to them: of 64 MiB touched every 20 ms DAMON saw now and then
// 40 MiB when the workload only slept between rounds, and 64 MiB with this.
class TranslationFlusher {
  public:
    static Result<TranslationFlusher> make();
    void flush();

  private:
    explicit TranslationFlusher(std::span<std::byte> pages) : pages_(pages) {}
    std::span<std::byte> pages_;
    bool writable_ = true;
};

}  // namespace acma::workload
