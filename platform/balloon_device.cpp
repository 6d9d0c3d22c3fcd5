// SPDX-License-Identifier: Apache-2.0
#include "platform/balloon_device.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/ioctl.h>

#include "kmod-balloon-shim/include/uapi/acma_balloon.h"
#include "platform/memory_block.h"

namespace acma::platform {

namespace {

static_assert(ACMA_BLOCK_BYTES == k_block.count());
static_assert(ACMA_WINDOW_BLOCKS == scaling::k_window_blocks);
static_assert(sizeof(acma_blocks) == 80);
static_assert(sizeof(acma_window) == 48);
static_assert(sizeof(acma_state) == 176);
static_assert(sizeof(acma_pool) == 16);
static_assert(ACMA_POOL_BLOCKS * ACMA_BLOCK_BYTES == BalloonDevice::k_pool_most.count());

// A block that is free goes offline within some 10 ms.
constexpr Millis k_offline_patience = Millis(1'000);

template <typename T>
Status call(int fd, unsigned long request, T& argument, const char* what) {
    int got = 0;
    do {
        got = ::ioctl(fd, request, &argument);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? Status(error_from_errno(errno, std::string("/dev/acma: ") + what)) : Status();
}

std::string why_kept(uint32_t result) {
    constexpr std::pair<uint32_t, const char*> k_reasons[] = {
        {ACMA_RELEASE_BUSY, "the kernel did not let go of a memory block"},
        {ACMA_NOT_WHOLLY_OWNED, "no memory block is wholly owned"},
        {ACMA_GUESTS_OWN, "the guest may need it back"},
        {ACMA_NOT_A_MEMORY_BLOCK, "the kernel's memory blocks are larger than 128 MiB"},
        {ACMA_AT_ZONE_EDGE, "at the edge of a zone"},
        {ACMA_NOT_FROM_BOOT, "the memory was not there at boot"},
        {ACMA_GIB_LEAF, "the kernel maps the memory with pages of 1 GiB"},
        {ACMA_KERNEL_INSIDE, "the kernel lies in the same piece of memory"},
        {ACMA_STAYS_OFFLINE, "memory that is added does not come online by itself"},
        {ACMA_NOT_PROVEN, "not proven on this architecture"},
    };
    for (const auto& [value, text] : k_reasons) {
        if (value == result) {
            return text;
        }
    }
    return {};
}

// Rows need not be adjacent blocks; calls do.
template <typename Each>
Status each_run(const scaling::Row& row, Each each) {
    uint64_t left = row.bits;
    while (left != 0) {
        const unsigned first = static_cast<unsigned>(std::countr_zero(left));
        const unsigned length = static_cast<unsigned>(std::countr_one(left >> first));
        acma_blocks blocks{};
        blocks.first = row.window * ACMA_WINDOW_BLOCKS + first;
        blocks.nr = length;
        if (const Status status = each(blocks, first); !status) {
            return status;
        }
        left = first + length < 64 ? left & ~uint64_t{0} << (first + length) : 0;
    }
    return {};
}

}  // namespace

Result<BalloonDevice> BalloonDevice::open(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + path);
    }
    return BalloonDevice(std::move(fd));
}

Status BalloonDevice::attach(Millis deadline, Millis hold_off) {
    acma_attach attach{};
    attach.deadline_ms = static_cast<uint32_t>(deadline.count());
    attach.hold_off_ms = static_cast<uint32_t>(hold_off.count());
    return call(fd_.get(), ACMA_IOC_ATTACH, attach, "attach");
}

Result<BalloonDevice::State> BalloonDevice::state() {
    acma_state state{};
    if (const Status status = call(fd_.get(), ACMA_IOC_STATE, state, "ask for its state");
        !status) {
        return status.error();
    }
    return State{.ram = Bytes(state.ram_bytes),
                 .owned = Bytes(state.owned_bytes),
                 .voluntary = Bytes(state.voluntary_bytes),
                 .asked = Bytes(state.target_bytes),
                 .floor = Bytes(state.floor_bytes),
                 .taken_total = Bytes(state.taken_bytes),
                 .freed_total = Bytes(state.freed_bytes),
                 .oom_freed_total = Bytes(state.oom_freed_bytes),
                 .released = Bytes(state.released_bytes),
                 .kept = why_kept(state.kept),
                 .pressure_freed_total = Bytes(state.pressure_freed_bytes),
                 .windows = state.windows,
                 .target_changes = state.target_changes,
                 .pressure_events = state.pressure_events,
                 .has_device = (state.flags & ACMA_DEVICE) != 0,
                 .reports = (state.flags & ACMA_REPORTS) != 0,
                 .zeroes = (state.flags & ACMA_ZEROES) != 0,
                 .gone_window = state.gone_window == ~uint64_t{0}
                                    ? std::nullopt
                                    : std::optional<uint64_t>(state.gone_window)};
}

Result<std::vector<scaling::Window>> BalloonDevice::windows(const State& state, Look look) {
    std::vector<scaling::Window> windows;
    for (uint64_t first = 0; first < state.windows; first += ACMA_MAP_WINDOWS) {
        acma_map_query query{};
        query.first = first;
        query.nr = ACMA_MAP_WINDOWS;
        query.flags = look == Look::free ? ACMA_MAP_FREE : 0;
        if (const Status status = call(fd_.get(), ACMA_IOC_MAP, query, "ask for the map");
            !status) {
            return status.error();
        }
        for (uint64_t i = 0; i < std::min<uint64_t>(query.nr, ACMA_MAP_WINDOWS); ++i) {
            const acma_window& window = query.window[i];
            if (window.present != 0) {
                windows.push_back({.number = first + i,
                                   .present = window.present,
                                   .owned = window.owned,
                                   .pending = window.pending,
                                   .free = window.free,
                                   .node = window.nid,
                                   .zone = window.zone});
            }
        }
    }
    return windows;
}

Result<BalloonDevice::Outcome> BalloonDevice::take(const scaling::Row& row) {
    Outcome outcome;
    const Status status = each_run(row, [&](acma_blocks& blocks, unsigned first) -> Status {
        blocks.flags = row.free_only ? ACMA_ALLOC_FREE_ONLY : 0;
        if (Status failed = call(fd_.get(), ACMA_IOC_ALLOC, blocks, "take blocks"); !failed) {
            return failed;
        }
        for (unsigned i = 0; i < blocks.nr; ++i) {
            const uint64_t bit = uint64_t{1} << (first + i);
            outcome.done |= blocks.result[i] == ACMA_TAKEN ? bit : 0;
            outcome.busy |= blocks.result[i] == ACMA_BUSY ? bit : 0;
            outcome.no_memory |= blocks.result[i] == ACMA_NO_MEMORY ? bit : 0;
        }
        return {};
    });
    return status ? Result<Outcome>(outcome) : Result<Outcome>(status.error());
}

Status BalloonDevice::take_whole(uint64_t window, const std::string& memory_dir) {
    acma_keep_window keep{};
    keep.window = window;
    if (const Status status = call(fd_.get(), ACMA_IOC_KEEP, keep, "keep a memory block");
        !status) {
        return status;
    }
    const Status recycled = recycle_memory_block(memory_dir, window, k_offline_patience);
    const int kept = ::ioctl(fd_.get(), ACMA_IOC_KEPT);
    if (!recycled) {
        return recycled;
    }
    return kept == ACMA_WINDOW_BLOCKS
               ? Status()
               : Status(Error{ErrorCode::busy, "/dev/acma: the memory block was not kept"});
}

Result<BalloonDevice::Outcome> BalloonDevice::give(const scaling::Row& row) {
    Outcome outcome;
    const Status status = each_run(row, [&](acma_blocks& blocks, unsigned first) -> Status {
        if (Status failed = call(fd_.get(), ACMA_IOC_FREE, blocks, "give blocks back"); !failed) {
            return failed;
        }
        for (unsigned i = 0; i < blocks.nr; ++i) {
            outcome.done |= blocks.result[i] == ACMA_FREED ? uint64_t{1} << (first + i) : 0;
        }
        return {};
    });
    return status ? Result<Outcome>(outcome) : Result<Outcome>(status.error());
}

Result<Fd> BalloonDevice::pool(Bytes size, int node) {
    acma_pool pool{};
    pool.blocks = static_cast<uint32_t>((size.count() + ACMA_BLOCK_BYTES - 1) / ACMA_BLOCK_BYTES);
    pool.nid = node;
    Fd fd(::ioctl(fd_.get(), ACMA_IOC_POOL, &pool));
    if (!fd) {
        const std::string what = "/dev/acma: " + human(size) + " of contiguous memory";
        switch (errno) {
            case ENOMEM:
                return error_from_errno(
                    errno, what +
                               ": too little would be left (what is used where it should be "
                               "needs as much free memory elsewhere)");
            case EBUSY:
                return error_from_errno(errno, what + ": no place could be emptied");
            case EINVAL:
                return error_from_errno(errno, what + ": there is no such node");
            default:
                return error_from_errno(errno, what);
        }
    }
    return fd;
}

std::string describe_released(const BalloonDevice::State& state) {
    if (state.released > Bytes(0)) {
        return human(state.released) + " released" +
               (state.kept.empty() ? "" : "; not more: " + state.kept);
    }
    return state.kept.empty() ? "none released" : "not possible here: " + state.kept;
}

Status BalloonDevice::report_again() {
    return ::ioctl(fd_.get(), ACMA_IOC_REREPORT) == 0
               ? Status()
               : Status(error_from_errno(errno, "/dev/acma: report again"));
}

}  // namespace acma::platform
