// SPDX-License-Identifier: Apache-2.0
// acma-blocks: /dev/acma by hand, for tests and benches. JSON on stdout; nothing is caught that the
// kernel has to refuse itself.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "kmod-balloon-shim/include/uapi/acma_balloon.h"

namespace {

constexpr const char* k_usage =
    "usage: acma-blocks VERB\n"
    "  state                what /dev/acma tells of itself\n"
    "  map                  a line for each window that has memory\n"
    "  take N [free]        N blocks from the highest window down; free: only free ones\n"
    "  take-window W [N]    all of window W that can be had, or N blocks of it\n"
    "  give-window W        all of window W that is voluntary\n"
    "  keep W               keeps what comes online of window W, until it is killed\n"
    "  release W            removes window W, a memory block that is owned\n"
    "  restore W            adds it again\n"
    "  recycle N            N whole memory blocks that are free, which go offline and come back\n"
    "  give N               N blocks back, from the lowest window up\n"
    "  attach SECONDS       attached for so long (0: as long as standard input is open)\n"
    "  hang SECONDS         attached, without ever calling again\n"
    "  wait MS              0 when something happened within MS milliseconds\n"
    "  pool N [NODE]        N blocks in one piece: are they, and zero? mapped until input ends\n"
    "  pool-pinned          a page of a pool that a pipe still holds when the pool is gone\n"
    "  pin N STRIDE         every STRIDE-th page of N * STRIDE held by a pipe, so that it cannot "
    "be moved\n"
    "  free-race W V S      for S seconds two give all of windows W and V at once, and take it "
    "again:\n"
    "                       how often, and did less stay than the host asks for?\n"
    "  rereport             tell the host again of all that is owned\n"
    "  refused              what is wrong in itself: prints what was not refused\n";

int device = -1;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "acma-blocks: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

acma_state state() {
    acma_state state{};
    if (ioctl(device, ACMA_IOC_STATE, &state) != 0) {
        fail("state");
    }
    return state;
}

void print_state() {
    const acma_state s = state();
    const std::pair<const char*, uint64_t> fields[] = {
        {"ram_bytes", s.ram_bytes},
        {"owned_bytes", s.owned_bytes},
        {"voluntary_bytes", s.voluntary_bytes},
        {"pending_bytes", s.pending_bytes},
        {"single_bytes", s.single_bytes},
        {"target_bytes", s.target_bytes},
        {"actual_bytes", s.actual_bytes},
        {"floor_bytes", s.floor_bytes},
        {"windows", s.windows},
        {"event", s.event},
        {"target_changes", s.target_changes},
        {"oom_freed_bytes", s.oom_freed_bytes},
        {"pressure_freed_bytes", s.pressure_freed_bytes},
        {"pressure_events", s.pressure_events},
        {"taken_bytes", s.taken_bytes},
        {"freed_bytes", s.freed_bytes},
        {"descriptors", s.descriptors},
        {"gone_window", s.gone_window},
        {"released_bytes", s.released_bytes},
        {"flags", s.flags},
        {"pool_bytes", s.pool_bytes},
        {"kept", s.kept},
    };
    const char* separator = "{";
    for (const auto& [name, value] : fields) {
        std::printf("%s\"%s\": %" PRIu64, separator, name, value);
        separator = ", ";
    }
    std::printf("}\n");
}

acma_window window(uint64_t number, uint32_t flags) {
    static acma_map_query query;
    query = {};
    query.first = number;
    query.nr = 1;
    query.flags = flags;
    if (ioctl(device, ACMA_IOC_MAP, &query) != 0) {
        fail("map");
    }
    return query.window[0];
}

void print_map() {
    for (uint64_t i = 0; i < state().windows; ++i) {
        const acma_window w = window(i, ACMA_MAP_FREE);
        if (w.present != 0) {
            std::printf("{\"window\": %" PRIu64
                        ", \"present\": %d, \"owned\": %d, \"pending\": %d, "
                        "\"free\": %d, \"owned_bits\": \"%016" PRIx64
                        "\", \"node\": %d, \"zone\": %u}\n",
                        i, std::popcount(uint64_t{w.present}), std::popcount(uint64_t{w.owned}),
                        std::popcount(uint64_t{w.pending}), std::popcount(uint64_t{w.free}),
                        uint64_t{w.owned}, w.nid, w.zone);
        }
    }
}

const char* word(uint8_t result) {
    constexpr const char* k_words[] = {"?",       "taken",     "freed",    "already",
                                       "busy",    "no_memory", "not_ram",  "used",
                                       "pending", "forced",    "not_tried"};
    return result < std::size(k_words) ? k_words[result] : "?";
}

bool put(uint64_t number, const char* word) {
    const std::string path =
        "/sys/devices/system/memory/memory" + std::to_string(number) + "/state";
    std::FILE* file = std::fopen(path.c_str(), "w");
    const bool done = file != nullptr && std::fputs(word, file) >= 0 && std::fflush(file) == 0;
    if (file != nullptr) {
        std::fclose(file);
    }
    return done;
}

bool keep(uint64_t number) {
    acma_keep_window keep{};
    keep.window = number;
    return ioctl(device, ACMA_IOC_KEEP, &keep) == 0;
}

void release_or_restore(unsigned long request, uint64_t number) {
    constexpr const char* k_words[] = {"?",
                                       "released",
                                       "restored",
                                       "busy",
                                       "no room",
                                       "not released",
                                       "not wholly owned",
                                       "guest's own",
                                       "not a memory block",
                                       "at zone edge",
                                       "not from boot",
                                       "1 GiB leaf",
                                       "kernel inside",
                                       "stays offline",
                                       "not proven"};
    acma_release_window window{};
    window.window = number;
    if (ioctl(device, request, &window) != 0) {
        fail("release or restore");
    }
    std::printf("{\"result\": \"%s\"}\n",
                window.result < std::size(k_words) ? k_words[window.result] : "?");
}

// Takes whole free memory blocks as the agent does where the kernel zeroes what it allocates.
void recycle(uint64_t wanted) {
    uint64_t kept = 0;
    uint64_t refused = 0;
    for (uint64_t number = state().windows; number-- > 0 && wanted > 0;) {
        const acma_window w = window(number, ACMA_MAP_FREE);
        if (w.free != ~__u64{0} || !keep(number)) {
            refused += w.present != 0 ? 1 : 0;
            continue;
        }
        const bool gone = put(number, "offline");
        if (gone && !put(number, "online")) {
            fail("online");
        }
        const int blocks = ioctl(device, ACMA_IOC_KEPT);
        kept += blocks > 0 ? static_cast<uint64_t>(blocks) : 0;
        --wanted;
    }
    std::printf("{\"taken\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n", kept, refused);
}

// At most `most` of `bits`, from the top or from the bottom.
uint64_t some(uint64_t bits, uint64_t most, bool from_the_top) {
    while (static_cast<uint64_t>(std::popcount(bits)) > most) {
        bits &= from_the_top ? bits - 1 : ~(uint64_t{1} << (63 - std::countl_zero(bits)));
    }
    return bits;
}

struct Totals {
    std::map<std::string, uint64_t> results;
    uint64_t ns = 0;  // in the kernel
};

uint64_t call(unsigned long request, uint64_t number, uint64_t bits, uint32_t flags,
              Totals& totals) {
    uint64_t done = 0;
    while (bits != 0) {
        const unsigned first = static_cast<unsigned>(std::countr_zero(bits));
        const unsigned length = static_cast<unsigned>(std::countr_one(bits >> first));
        acma_blocks blocks{};
        blocks.first = number * ACMA_WINDOW_BLOCKS + first;
        blocks.nr = length;
        blocks.flags = flags;
        const uint64_t before = now_ns();
        if (ioctl(device, request, &blocks) != 0) {
            fail("blocks");
        }
        totals.ns += now_ns() - before;
        for (unsigned i = 0; i < length; ++i) {
            ++totals.results[word(blocks.result[i])];
            done += blocks.result[i] == ACMA_TAKEN || blocks.result[i] == ACMA_FREED ? 1 : 0;
        }
        bits = first + length < 64 ? bits & ~uint64_t{0} << (first + length) : 0;
    }
    return done;
}

void print(const Totals& totals) {
    std::printf("{\"ns\": %" PRIu64, totals.ns);
    for (const auto& [name, nr] : totals.results) {
        std::printf(", \"%s\": %" PRIu64, name.c_str(), nr);
    }
    std::printf("}\n");
}

void take_window(uint64_t number, uint64_t most) {
    Totals totals;
    const acma_window w = window(number, 0);
    call(ACMA_IOC_ALLOC, number, some(w.present & ~w.owned, most, true), 0, totals);
    print(totals);
}

void give_window(uint64_t number) {
    Totals totals;
    call(ACMA_IOC_FREE, number, window(number, 0).owned, 0, totals);
    print(totals);
}

void move(bool take, uint64_t wanted, bool only_free) {
    const uint64_t windows = state().windows;
    Totals totals;
    for (uint64_t i = 0; i < windows && wanted > 0; ++i) {
        const uint64_t number = take ? windows - 1 - i : i;
        const acma_window w = window(number, only_free ? ACMA_MAP_FREE : 0);
        uint64_t bits = take ? w.present & ~w.owned : uint64_t{w.owned};
        if (only_free) {
            bits &= w.free;
        }
        wanted -= call(take ? ACMA_IOC_ALLOC : ACMA_IOC_FREE, number, some(bits, wanted, take),
                       only_free ? ACMA_ALLOC_FREE_ONLY : 0, totals);
    }
    print(totals);
}

void attach() {
    acma_attach attach{};
    attach.deadline_ms = 3000;
    attach.hold_off_ms = 5000;
    if (ioctl(device, ACMA_IOC_ATTACH, &attach) != 0) {
        fail("attach");
    }
    std::printf("attached\n");
    std::fflush(stdout);
}

void stay_attached(unsigned seconds) {
    attach();
    for (unsigned i = 0; seconds == 0 || i < seconds; ++i) {
        (void)state();
        pollfd input{.fd = 0, .events = POLLIN, .revents = 0};
        if (seconds == 0 ? poll(&input, 1, 1000) > 0 : sleep(1) != 0) {
            return;
        }
    }
}

int wait_for_event(int ms) {
    (void)state();
    pollfd news{.fd = device, .events = POLLPRI, .revents = 0};
    return poll(&news, 1, ms) == 1 && (news.revents & POLLPRI) != 0 ? 0 : 1;
}

constexpr size_t k_page = 4096;
constexpr size_t k_pages = ACMA_BLOCK_BYTES / k_page;

int open_pool(uint32_t blocks, int32_t nid) {
    acma_pool pool{};
    pool.blocks = blocks;
    pool.nid = nid;
    const int fd = ioctl(device, ACMA_IOC_POOL, &pool);
    if (fd < 0) {
        fail("pool");
    }
    return fd;
}

unsigned char* map_pool(int fd, size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        fail("mmap");
    }
    return static_cast<unsigned char*>(memory);
}

bool cannot_map(int fd, size_t bytes, int flags, off_t offset) {
    return mmap(nullptr, bytes, PROT_READ, flags, fd, offset) == MAP_FAILED && errno == EINVAL;
}

// Page frame numbers, as the kernel tells root.
std::vector<uint64_t> frames(const unsigned char* memory, size_t bytes) {
    std::vector<uint64_t> entries(bytes / k_page);
    const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    const size_t size = entries.size() * sizeof(entries[0]);
    const auto offset =
        static_cast<off_t>(reinterpret_cast<uintptr_t>(memory) / k_page * sizeof(entries[0]));
    if (fd < 0 || pread(fd, entries.data(), size, offset) != static_cast<ssize_t>(size)) {
        fail("/proc/self/pagemap");
    }
    close(fd);
    for (uint64_t& entry : entries) {
        entry = entry >> 63 != 0 ? entry & ((uint64_t{1} << 55) - 1) : 0;
    }
    return entries;
}

// The descriptor is closed before the mapping is used.
void use_pool(uint32_t blocks, int32_t nid) {
    const size_t bytes = blocks * ACMA_BLOCK_BYTES;
    const int fd = open_pool(blocks, nid);
    const bool refuses = cannot_map(fd, bytes, MAP_PRIVATE, 0) &&
                         cannot_map(fd, bytes + k_page, MAP_SHARED, 0) &&
                         cannot_map(fd, bytes, MAP_SHARED, k_page) &&
                         cannot_map(fd, k_page, MAP_SHARED, static_cast<off_t>(bytes));
    const bool closes_on_exec = (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
    unsigned char* memory = map_pool(fd, bytes);
    const unsigned char* again = map_pool(fd, bytes);
    close(fd);
    bool zero = true;
    for (size_t i = 0; i < bytes; ++i) {
        zero = zero && memory[i] == 0;
    }
    std::memset(memory, 0xa5, bytes);
    const bool shared = std::memcmp(memory, again, bytes) == 0;
    const auto pages = frames(memory, bytes);
    bool contiguous = pages[0] != 0 && pages[0] % k_pages == 0;
    for (size_t i = 1; i < pages.size(); ++i) {
        contiguous = contiguous && pages[i] == pages[0] + i;
    }
    const auto yes = [](bool value) { return value ? "true" : "false"; };
    std::printf("{\"first\": %" PRIu64
                ", \"contiguous\": %s, \"zero\": %s, \"shared\": %s, \"refuses\": %s, "
                "\"closes_on_exec\": %s}\n",
                uint64_t{pages[0] / k_pages}, yes(contiguous), yes(zero), yes(shared), yes(refuses),
                yes(closes_on_exec));
    std::fflush(stdout);
    char byte = 0;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

void pin_pool() {
    int ends[2];
    const int fd = open_pool(1, -1);
    unsigned char* memory = map_pool(fd, ACMA_BLOCK_BYTES);
    if (pipe(ends) != 0) {
        fail("pipe");
    }
    std::memset(memory, 0x5a, ACMA_BLOCK_BYTES);
    const uint64_t frame = frames(memory, k_page)[0];
    iovec page{.iov_base = memory, .iov_len = k_page};
    if (vmsplice(ends[1], &page, 1, 0) != static_cast<ssize_t>(k_page)) {
        fail("vmsplice");
    }
    munmap(memory, ACMA_BLOCK_BYTES);
    close(fd);
    // Whoever gets free memory now must not get this page.
    const size_t much = size_t{256} << 20;
    void* other = mmap(nullptr, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (other == MAP_FAILED) {
        fail("mmap");
    }
    std::memset(other, 0xff, much);
    bool used = false;
    for (const uint64_t got : frames(static_cast<unsigned char*>(other), much)) {
        used = used || got == frame;
    }
    unsigned char content[k_page];
    bool same = read(ends[0], content, sizeof(content)) == static_cast<ssize_t>(k_page);
    for (const unsigned char byte : content) {
        same = same && byte == 0x5a;
    }
    std::printf("%s\n", same && !used ? "kept" : "lost");
}

// Pages of the guest that nobody can move. vmsplice() takes no long-term pin, so the kernel does
// not move them out of ZONE_MOVABLE first.
void pin(uint64_t pages, uint64_t stride) {
    constexpr int k_pipe_bytes = 1 << 20;
    const size_t bytes = pages * stride * k_page;
    void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        fail("mmap");
    }
    auto* memory = static_cast<unsigned char*>(mapped);
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    std::memset(memory, 1, bytes);
    int ends[2];
    for (uint64_t i = 0; i < pages; ++i) {
        if (i % (k_pipe_bytes / k_page) == 0 &&
            (pipe(ends) != 0 || fcntl(ends[1], F_SETPIPE_SZ, k_pipe_bytes) < k_pipe_bytes)) {
            fail("pipe");
        }
        iovec page{.iov_base = memory + i * stride * k_page, .iov_len = k_page};
        if (vmsplice(ends[1], &page, 1, 0) != static_cast<ssize_t>(k_page)) {
            fail("vmsplice");
        }
    }
    std::printf("pinned\n");
    std::fflush(stdout);
    pause();
}

acma_blocks whole(uint64_t number) {
    acma_blocks blocks{};
    blocks.first = number * ACMA_WINDOW_BLOCKS;
    blocks.nr = ACMA_WINDOW_BLOCKS;
    return blocks;
}

void take_again(const acma_blocks& freed) {
    for (unsigned i = 0; i < freed.nr; ++i) {
        if (freed.result[i] == ACMA_FREED) {
            acma_blocks block{};
            block.first = freed.first + i;
            block.nr = 1;
            if (ioctl(device, ACMA_IOC_ALLOC, &block) != 0) {
                fail("take again");
            }
        }
    }
}

void race_free(uint64_t one, uint64_t other, uint64_t seconds) {
    const uint64_t end = now_ns() + seconds * 1'000'000'000;
    std::atomic<uint64_t> started = 0;
    std::atomic<uint64_t> done = 0;
    std::atomic<bool> over = false;
    acma_blocks mine{};
    acma_blocks theirs{};
    std::thread thread([&] {
        for (uint64_t round = 1; !over; ++round) {
            while (started < round && !over) {
            }
            if (!over && ioctl(device, ACMA_IOC_FREE, &theirs) != 0) {
                fail("free");
            }
            done = round;
        }
    });
    uint64_t rounds = 0;
    uint64_t freed = 0;
    bool less = false;
    while (now_ns() < end) {
        mine = whole(one);
        theirs = whole(other);
        started = ++rounds;
        // Now this one is first, now that one.
        for (std::atomic<uint64_t> wait = rounds % 60 * 10; wait != 0; --wait) {
        }
        if (ioctl(device, ACMA_IOC_FREE, &mine) != 0) {
            fail("free");
        }
        while (done < rounds) {
        }
        const acma_state now = state();
        less = now.owned_bytes < now.target_bytes;
        if (less) {
            break;
        }
        for (const acma_blocks* blocks : {&mine, &theirs}) {
            freed += static_cast<uint64_t>(
                std::count(std::begin(blocks->result), std::end(blocks->result), ACMA_FREED));
            take_again(*blocks);
        }
    }
    over = true;
    thread.join();
    std::printf("{\"rounds\": %" PRIu64 ", \"freed\": %" PRIu64 ", \"short\": %s}\n", rounds, freed,
                less ? "true" : "false");
}

// Each has to fail with this errno and change nothing.
bool refused(const char* what, unsigned long request, void* argument, int expected) {
    errno = 0;
    const int got = ioctl(device, request, argument);
    if (got == -1 && errno == expected) {
        return true;
    }
    std::printf("%s: %d, %s\n", what, got, std::strerror(errno));
    return false;
}

int check_refusals() {
    const acma_state before = state();
    bool good = true;
    const auto blocks = [&](const char* what, uint64_t first, uint32_t nr, uint32_t flags,
                            uint8_t dirt) {
        acma_blocks b{};
        b.first = first;
        b.nr = nr;
        b.flags = flags;
        b.result[63] = dirt;
        good &= refused(what, ACMA_IOC_ALLOC, &b, EINVAL);
        good &= refused(what, ACMA_IOC_FREE, &b, EINVAL);
    };
    blocks("no blocks", 64, 0, 0, 0);
    blocks("too many blocks", 64, 65, 0, 0);
    blocks("over a window's end", 65, 64, 0, 0);
    blocks("a wrap-around", 127, UINT32_MAX, 0, 0);
    blocks("far beyond memory", UINT64_MAX - 63, 1, 0, 0);
    blocks("just beyond memory", before.windows * 64, 1, 0, 0);
    blocks("an unknown flag", 64, 1, 0x80, 0);
    blocks("a result given", 64, 1, 0, 1);
    acma_map_query query{};
    query.nr = 33;
    good &= refused("too many windows", ACMA_IOC_MAP, &query, EINVAL);
    acma_keep_window kept{};
    kept.window = state().windows;
    good &= refused("to keep a window beyond the last", ACMA_IOC_KEEP, &kept, EINVAL);
    kept.window = state().windows - 1;
    good &= refused("to keep a window without memory", ACMA_IOC_KEEP, &kept, EOPNOTSUPP);
    kept.reserved = 1;
    good &= refused("to keep with reserved bits", ACMA_IOC_KEEP, &kept, EINVAL);
    for (const unsigned long request : {ACMA_IOC_RELEASE, ACMA_IOC_RESTORE}) {
        acma_release_window released{};
        released.window = before.windows;
        good &= refused("to release a window beyond the last", request, &released, EINVAL);
        released = {.window = 1, .result = 1, .reserved = 0};
        good &= refused("to release with a result given", request, &released, EINVAL);
        released = {.window = 1, .result = 0, .reserved = 1};
        good &= refused("to release with reserved bits", request, &released, EINVAL);
    }
    query.nr = 0;
    good &= refused("no windows", ACMA_IOC_MAP, &query, EINVAL);
    query.nr = 1;
    query.flags = 2;
    good &= refused("an unknown flag of the map", ACMA_IOC_MAP, &query, EINVAL);
    query.flags = 0;
    query.first = before.windows;
    good &= refused("a window beyond memory", ACMA_IOC_MAP, &query, EINVAL);
    query.first = 0;
    query.window[31].reserved = 1;
    good &= refused("a reserved field", ACMA_IOC_MAP, &query, EINVAL);
    acma_attach attach{.deadline_ms = 99, .hold_off_ms = 0, .reserved = 0};
    good &= refused("a short deadline", ACMA_IOC_ATTACH, &attach, EINVAL);
    attach.deadline_ms = 60'001;
    good &= refused("a long deadline", ACMA_IOC_ATTACH, &attach, EINVAL);
    attach = {.deadline_ms = 1000, .hold_off_ms = 600'001, .reserved = 0};
    good &= refused("a long hold-off", ACMA_IOC_ATTACH, &attach, EINVAL);
    attach = {.deadline_ms = 1000, .hold_off_ms = 0, .reserved = 1};
    good &= refused("a reserved field of attach", ACMA_IOC_ATTACH, &attach, EINVAL);
    good &= refused("an unknown call", _IO('a', 0x7f), nullptr, ENOTTY);
    good &= refused("a call of another size", _IOWR('a', 0x01, uint64_t), nullptr, ENOTTY);
    good &= refused("no address", ACMA_IOC_STATE, nullptr, EFAULT);
    const auto pool = [&](const char* what, uint32_t nr, int32_t nid, uint32_t flags,
                          uint32_t reserved) {
        acma_pool p{.blocks = nr, .nid = nid, .flags = flags, .reserved = reserved};
        good &= refused(what, ACMA_IOC_POOL, &p, EINVAL);
    };
    pool("a pool of nothing", 0, -1, 0, 0);
    pool("too large a pool", ACMA_POOL_BLOCKS + 1, -1, 0, 0);
    pool("a huge pool", UINT32_MAX, -1, 0, 0);
    pool("a pool of a node that is none", 1, -2, 0, 0);
    pool("a pool of a node that is not there", 1, 1, 0, 0);
    pool("a pool of a node beyond all", 1, INT32_MAX, 0, 0);
    pool("a pool with a flag", 1, -1, 1, 0);
    pool("a pool with reserved bits", 1, -1, 0, 1);
    good &= refused("a pool at no address", ACMA_IOC_POOL, nullptr, EFAULT);
    // Nothing may be taken of which nobody can be told.
    void* page = mmap(nullptr, k_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        fail("mmap");
    }
    uint64_t number = before.windows - 1;
    while (number > 0 && window(number, ACMA_MAP_FREE).free == 0) {
        --number;
    }
    *static_cast<acma_blocks*>(page) = whole(number);
    mprotect(page, k_page, PROT_READ);
    good &= refused("a result that cannot be written", ACMA_IOC_ALLOC, page, EFAULT);
    const acma_state after = state();
    good &= std::memcmp(&before, &after, sizeof(before)) == 0;
    std::printf("%s\n", good ? "all refused" : "not all refused, or something changed");
    return good ? 0 : 1;
}

int run(int argc, char** argv) {
    const std::string_view verb = argv[1];
    const uint64_t number = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    if (verb == "state") {
        print_state();
    } else if (verb == "map") {
        print_map();
    } else if (verb == "take-window") {
        take_window(number, argc > 3 ? std::strtoull(argv[3], nullptr, 10) : ACMA_WINDOW_BLOCKS);
    } else if (verb == "give-window") {
        give_window(number);
    } else if (verb == "keep") {
        if (!keep(number)) {
            fail("keep");
        }
        std::printf("kept\n");
        std::fflush(stdout);
        pause();
    } else if (verb == "release" || verb == "restore") {
        release_or_restore(verb == "release" ? ACMA_IOC_RELEASE : ACMA_IOC_RESTORE, number);
    } else if (verb == "recycle") {
        recycle(number);
    } else if (verb == "take" || verb == "give") {
        move(verb == "take", number, argc > 3 && std::string_view(argv[3]) == "free");
    } else if (verb == "attach") {
        stay_attached(static_cast<unsigned>(number));
    } else if (verb == "hang") {
        attach();
        sleep(static_cast<unsigned>(number));
    } else if (verb == "wait") {
        return wait_for_event(static_cast<int>(number));
    } else if (verb == "pool") {
        use_pool(static_cast<uint32_t>(number), argc > 3 ? std::atoi(argv[3]) : -1);
    } else if (verb == "pool-pinned") {
        pin_pool();
    } else if (verb == "free-race" && argc > 4) {
        race_free(number, std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10));
    } else if (verb == "rereport") {
        if (ioctl(device, ACMA_IOC_REREPORT) != 0) {
            fail("rereport");
        }
    } else if (verb == "refused") {
        return check_refusals();
    } else {
        std::fputs(k_usage, stderr);
        return 2;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs(k_usage, stderr);
        return 2;
    }
    if (argc > 3 && std::string_view(argv[1]) == "pin") {
        // Without the device: the module may be removed meanwhile.
        pin(std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10));
    }
    device = open("/dev/acma", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        fail("open /dev/acma");
    }
    return run(argc, argv);
}
