// SPDX-License-Identifier: Apache-2.0
// Which blocks scale-down takes, and which scale-up gives back. The rules are the talk's: take from
// the highest memory block that is not fully taken, give back from the lowest that is partly taken;
// inside it free memory before used, and coldest first. Blocks that cannot be emptied are skipped
// with back-off.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/base/units.h"
#include "engine/scaling/coldness.h"

namespace acma::scaling {

// 64 blocks, a memory block of 128 MiB, as the shim shows it: bit n is block n. Numbers count from
// physical address 0.
constexpr unsigned k_window_blocks = 64;
struct Window {
    uint64_t number = 0;
    uint64_t present = 0;  // memory that the kernel uses
    uint64_t owned = 0;
    uint64_t pending = 0;  // owned, and not confirmed by the host
    uint64_t free = 0;     // entirely free a moment ago
    int node = -1;
    unsigned zone = 0;     // where the edges of two zones meet counts, not which they are
    bool offline = false;  // all of it owned, and with its memory block offline
    bool operator==(const Window&) const = default;
};

// Blocks of one window: what the shim takes or gives in one call.
struct Row {
    uint64_t window = 0;
    uint64_t bits = 0;
    bool free_only = true;  // else used ones are emptied by migration
    bool operator==(const Row&) const = default;
};
[[nodiscard]] Bytes size_of(const Row& row);
[[nodiscard]] bool is_whole(const Row& row);

// Blocks that could not be emptied, by window.
class BackOff {
  public:
    // `busy`: what did not move just now. A block's wait doubles each time.
    void failed(uint64_t window, uint64_t busy, Time now);
    // What of a window is not worth trying.
    [[nodiscard]] uint64_t busy(uint64_t window, Time now) const;
    // Something in it did not move when it was last tried: it will hardly be taken as a whole.
    [[nodiscard]] bool spoilt(uint64_t window) const { return failures_.contains(window); }
    bool operator==(const BackOff&) const = default;

  private:
    struct Failure {
        uint64_t bits = 0;
        Time until{};
        unsigned times = 0;
        bool operator==(const Failure&) const = default;
    };
    std::map<uint64_t, Failure> failures_;  // one a window at most
};
constexpr Micros k_busy_first = Seconds(2);
constexpr Micros k_busy_most = Seconds(128);

struct Amounts {
    Bytes all;       // to take
    Bytes migrated;  // of these, at most so much by migration
    bool operator==(const Amounts&) const = default;
};

// At most `amounts`, in the order in which they are to be taken. `windows` by number, ascending.
// While a window has used blocks that may be worth emptying, nothing is taken below it: what is
// taken would be scattered over all of memory. Windows that cannot be had as a whole come last:
// what moves out of the others needs room, and whole memory blocks are worth more.
[[nodiscard]] std::vector<Row> take_rows(const std::vector<Window>& windows, Amounts amounts,
                                         const BackOff& back_off, const Coldness& coldness,
                                         Time now);

// Whether there was as much to take as `amounts` allow, in all or by migration.
[[nodiscard]] bool use_up(const std::vector<Row>& rows, Amounts amounts);

// At least `amount`, as far as there is so much that the host has confirmed.
[[nodiscard]] std::vector<Row> give_rows(const std::vector<Window>& windows, Bytes amount);

// Power saving: memory blocks, by number, that can go offline: all of it is taken. `block_windows`
// are in one; the highest first. The first and the last of a zone's stay: the zone would end
// before them, and they might come back as memory of another one.
[[nodiscard]] std::vector<uint64_t> blocks_to_offline(const std::vector<Window>& windows,
                                                      uint64_t block_windows);

}  // namespace acma::scaling
