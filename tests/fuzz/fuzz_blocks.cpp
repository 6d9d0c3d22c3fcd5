// SPDX-License-Identifier: Apache-2.0
// The kernel module's bookkeeping of blocks and what it tells the host, under a script, beside a
// model that keeps each block on its own: after each step both say the same.
//
// The script: an operation, a window, and a number of runs (two bytes each) whose sum modulo 2 is
// the blocks meant.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern "C" {
#include "kmod-balloon-shim/queues.h"
}

namespace {
// As in fuzz.h, whose namespace has the name of the module's struct.
void require(bool holds, const char* what) {
    if (!holds) {
        (void)std::fprintf(stderr, "broken: %s\n", what);
        std::abort();
    }
}

constexpr u64 k_windows = 3;
constexpr u64 k_blocks = k_windows * 64;

struct Block {
    bool present, owned, pending, unmanaged, leaving, leaving_unmanaged;
    bool discarded;  // by the host, that was told that it may
};
}  // namespace

// The module, its map, its model and the host.
struct acma {
    std::array<acma_words, k_windows> words{};
    acma_map map{};
    std::array<Block, k_blocks> model{};
    u64 features = 0;
    u64 told = 0;       // of the window's blocks, by the call that is being made
    unsigned most = 0;  // descriptors of one report
    u64 last_told = 0;  // the last block of a report, and one more
    std::vector<u64> freed;
    bool ended = false;  // a report that was not full has come
};

extern "C" {
int acma_send_runs(acma* acma, const acma_run* runs, unsigned nr) {
    require(nr > 0 && nr <= std::min(acma->most, unsigned{ACMA_REPORT_MAX}), "a report fits");
    require(!acma->ended, "only the last report is not full");
    acma->ended = nr < std::min(acma->most, unsigned{ACMA_REPORT_MAX});
    for (unsigned i = 0; i < nr; ++i) {
        require(runs[i].nr > 0, "a run has blocks");
        require(runs[i].first > acma->last_told || acma->last_told == 0, "runs are maximal");
        acma->last_told = runs[i].first + runs[i].nr;
        for (u64 block = runs[i].first; block < acma->last_told; ++block) {
            require(block < k_blocks && acma->model[block].pending, "only pending ones are told");
            acma->model[block].discarded = true;
            acma->told |= u64{1} << block % 64;
        }
    }
    return 0;
}

int acma_send_block(acma* acma, acma_queue queue, u64 block) {
    const bool inflate = queue == ACMA_INFLATE_QUEUE;
    require(block < k_blocks, "it is one of the blocks");
    require(acma->model[block].pending == inflate, "pending is what is being inflated");
    acma->model[block].discarded = inflate;
    acma->told |= u64{1} << block % 64;
    return 0;
}

void acma_tell_deflated(acma* acma, u64 window, u64 bits) {
    require(acma->freed.empty(), "the host is told before the first is free");
    acma_tell_each(acma, ACMA_DEFLATE_QUEUE, window << ACMA_WINDOW_SHIFT, bits);
}

void acma_free_block(acma* acma, u64 block, bool unmanaged) {
    const bool must_tell = (acma->features & 1U << VIRTIO_BALLOON_F_MUST_TELL_HOST) != 0;
    require(block < k_blocks && !acma->model[block].pending, "nothing pending is freed");
    require(!must_tell || !acma->model[block].discarded, "the host was told");
    require(unmanaged == acma->model[block].unmanaged, "what was unmanaged is managed again");
    acma->model[block].discarded = false;
    acma->freed.push_back(block);
}
}

namespace {
class Script {
  public:
    Script(const uint8_t* data, size_t size) : data_(data), left_(size) {}

    [[nodiscard]] bool ended() const { return left_ == 0; }

    uint8_t byte() {
        if (left_ == 0) {
            return 0;
        }
        --left_;
        return *data_++;
    }

    u64 bits() {
        u64 bits = 0;
        for (unsigned runs = byte() % 6; runs > 0; --runs) {
            const unsigned first = byte() % 64;
            bits ^= acma_bits(first, byte() % 65);
        }
        return bits;
    }

  private:
    const uint8_t* data_;
    size_t left_;
};

// The blocks of a window that are so.
template <typename Predicate>
u64 where(const acma& acma, u64 window, Predicate&& is) {
    u64 bits = 0;
    for (unsigned i = 0; i < 64; ++i) {
        bits |= is(acma.model[window * 64 + i]) ? u64{1} << i : 0;
    }
    return bits;
}

template <typename Change>
void each(acma& acma, u64 window, u64 bits, Change&& change) {
    for (unsigned i = 0; i < 64; ++i) {
        if ((bits >> i & 1) != 0) {
            change(acma.model[window * 64 + i]);
        }
    }
}

void tell(acma& acma, u64 window, u64 bits, bool report) {
    acma.told = acma.last_told = 0;
    acma.ended = false;
    if (acma_queue_for_blocks(true, report, 0) == ACMA_REPORT_QUEUE) {
        acma_tell_runs(&acma, window * 64, bits, acma.most);
    } else {
        acma_tell_each(&acma, ACMA_INFLATE_QUEUE, window * 64, bits);
    }
    require(acma.told == bits, "the host is told of all of them");
}

void give(acma& acma, u64 window, u64 bits) {
    u64 unmanaged = 0;
    const u64 freed = acma_map_release(&acma.map, window, bits, &unmanaged);
    require(
        freed == (bits & where(acma, window,
                               [](const Block& block) { return block.owned && !block.pending; })),
        "what is owned and not pending is released");
    acma.freed.clear();
    acma_hand_back(&acma, acma.features, window, freed, unmanaged);
    require(acma.freed.size() == acma_count(freed), "all of it is freed, once");
    for (const u64 block : acma.freed) {
        require((freed >> block % 64 & 1) != 0 && block / 64 == window, "nothing else is");
        require(acma.model[block].owned, "nor twice");
        acma.model[block].owned = acma.model[block].unmanaged = false;
    }
}

void step(acma& acma, Script& script) {
    const uint8_t operation = script.byte();
    const u64 window = script.byte() % k_windows;
    const u64 bits = script.bits();
    u64 unmanaged = 0;
    switch (operation % 10) {
        case 0: {  // found to be memory; what is leaving is not looked at
            const u64 found = bits & ~where(acma, window, [](const Block& b) { return b.leaving; });
            acma_map_present(&acma.map, window, found);
            each(acma, window, found, [](Block& b) { b.present = true; });
            break;
        }
        case 1: {
            const u64 gone = acma_map_absent(&acma.map, window, bits);
            require(gone == (bits & where(acma, window, [](const Block& b) { return b.owned; })),
                    "it says what was owned");
            each(acma, window, bits, [](Block& b) { b = {}; });
            break;
        }
        case 2: {  // taken, or told of again
            const u64 taken = bits & where(acma, window, [](const Block& b) { return b.present; });
            acma_map_own(&acma.map, window, taken);
            each(acma, window, taken, [](Block& b) { b.owned = b.pending = true; });
            tell(acma, window, taken, (operation & 0x80) != 0);
            break;
        }
        case 3:
            acma_map_confirm(&acma.map, window, bits);
            each(acma, window, bits, [](Block& b) { b.pending = false; });
            break;
        case 4:
            give(acma, window, bits);
            break;
        case 5: {
            const u64 changed = acma_map_unmanage(&acma.map, window, bits);
            require(
                changed == (bits & where(acma, window,
                                         [](const Block& b) { return b.owned && !b.unmanaged; })),
                "those that were managed");
            each(acma, window, changed, [](Block& b) { b.unmanaged = true; });
            break;
        }
        case 6: {
            const u64 changed = acma_map_manage(&acma.map, window, bits);
            require(
                changed == (bits & where(acma, window, [](const Block& b) { return b.unmanaged; })),
                "those that were unmanaged");
            each(acma, window, changed, [](Block& b) { b.unmanaged = false; });
            break;
        }
        case 7: {
            const u64 going = bits & ~where(acma, window, [](const Block& b) { return b.pending; });
            const u64 leaving = acma_map_leave(&acma.map, window, going, &unmanaged);
            require(
                leaving == (going & where(acma, window, [](const Block& b) { return b.owned; })),
                "those that were owned");
            require(unmanaged ==
                        (going & where(acma, window, [](const Block& b) { return b.unmanaged; })),
                    "those that were unmanaged");
            each(acma, window, going, [](Block& b) {
                const Block before = b;
                b = {};
                b.leaving = before.owned;
                b.leaving_unmanaged = before.unmanaged;
                b.discarded = before.discarded;
            });
            break;
        }
        case 8:
            acma_map_stay(&acma.map, window, bits);
            each(acma, window, bits, [](Block& b) {
                if (b.leaving) {
                    b.present = b.owned = true;
                    b.unmanaged = b.leaving_unmanaged;
                    b.leaving = b.leaving_unmanaged = false;
                }
            });
            break;
        default: {  // as many as are asked for, by the order of windows
            const u64 from = acma_map_give_from(&acma.map);
            if (from != ACMA_NO_WINDOW) {
                const u64 free = acma.words[from].owned & ~acma.words[from].pending;
                give(acma, from, acma_lowest(free, acma_count(bits)));
            }
            break;
        }
    }
}

void check_words(const acma& acma) {
    std::array<u64, 4> counted{};
    for (u64 window = 0; window < k_windows; ++window) {
        const acma_words& words = acma.words[window];
        const auto same = [&](u64 bits, bool Block::*member) {
            return bits == where(acma, window, [&](const Block& b) { return b.*member; });
        };
        require(same(words.present, &Block::present), "present");
        require(same(words.owned, &Block::owned), "owned");
        require(same(words.pending, &Block::pending), "pending");
        require(same(words.unmanaged, &Block::unmanaged), "unmanaged");
        require(same(words.leaving, &Block::leaving), "leaving");
        require(same(words.leaving_unmanaged, &Block::leaving_unmanaged), "leaving, unmanaged");
        require((words.owned & ~words.present) == 0, "owned is present");
        require((words.pending & ~words.owned) == 0, "pending is owned");
        require((words.unmanaged & ~words.owned) == 0, "unmanaged is owned");
        require((words.leaving & words.present) == 0, "leaving is not present");
        require((words.leaving_unmanaged & ~words.leaving) == 0, "leaving unmanaged is leaving");
        counted[0] += acma_count(words.present);
        counted[1] += acma_count(words.owned);
        counted[2] += acma_count(words.pending);
        counted[3] += acma_count(words.unmanaged);
    }
    require(counted == std::array<u64, 4>{acma.map.nr_present, acma.map.nr_owned,
                                          acma.map.nr_pending, acma.map.nr_unmanaged},
            "the counts are those of the bits");
}

void check_order(const acma& acma) {
    u64 take = ACMA_NO_WINDOW;
    u64 partly = ACMA_NO_WINDOW;
    u64 whole = ACMA_NO_WINDOW;
    for (u64 window = k_windows; window-- > 0;) {
        const acma_words& words = acma.words[window];
        if (take == ACMA_NO_WINDOW && words.present != words.owned) {
            take = window;
        }
        if (words.owned != words.pending) {
            (words.owned == words.present ? whole : partly) = window;
        }
    }
    require(acma_map_take_from(&acma.map, ACMA_NO_WINDOW) == take, "the highest not fully taken");
    require(acma_map_give_from(&acma.map) == (partly != ACMA_NO_WINDOW ? partly : whole),
            "the lowest partly taken, or else the lowest taken");
}

void check_bits(u64 bits, unsigned nr) {
    const u64 highest = acma_highest(bits, nr);
    const u64 lowest = acma_lowest(bits, nr);
    require(((highest | lowest) & ~bits) == 0, "a subset");
    require(acma_count(highest) == std::min(nr, acma_count(bits)), "so many, or all");
    require(acma_count(lowest) == acma_count(highest), "so many, or all");
    require((bits & ~highest) < (highest & -highest) || highest == 0, "the highest");
    require(lowest < (bits & ~lowest & -(bits & ~lowest)) || lowest == bits, "the lowest");

    std::array<acma_run, 64> pieces{};
    u64 covered = 0;
    const unsigned nr_pieces = acma_pieces(64, bits, pieces.data(), 64);
    for (unsigned i = 0; i < nr_pieces; ++i) {
        const u64 first = pieces[i].first - 64;
        const u64 size = pieces[i].nr;
        require(first < 64 && size > 0 && first + size <= 64, "a piece lies in the window");
        require((size & (size - 1)) == 0 && first % size == 0, "an aligned power of two");
        const u64 these = acma_bits(static_cast<unsigned>(first), static_cast<unsigned>(size));
        require((these & covered) == 0, "pieces do not overlap");
        covered |= these;
        const u64 start = first & ~(2 * size - 1);
        const u64 twice = acma_bits(static_cast<unsigned>(start), static_cast<unsigned>(2 * size));
        require(size == 64 || (bits & twice) != twice, "none could be twice as large");
    }
    require(covered == bits, "the pieces are all of it and nothing else");
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Script script(data, size);
    acma acma;
    acma.map.nr_windows = k_windows;
    acma.map.window = acma.words.data();
    acma.features = script.byte() % 2 != 0 ? u64{1} << VIRTIO_BALLOON_F_MUST_TELL_HOST : 0;
    acma.most = 1 + script.byte() % 40;
    while (!script.ended()) {
        step(acma, script);
        check_words(acma);
        check_order(acma);
        for (const acma_words& words : acma.words) {
            check_bits(words.owned, acma.most);
        }
    }
    return 0;
}
