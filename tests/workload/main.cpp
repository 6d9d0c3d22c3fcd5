// SPDX-License-Identifier: Apache-2.0
// acma-workload: memory needs that are known exactly, for tests, benches and the demo. One JSON
// object a line.
#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <time.h>
#include <unistd.h>

#include "tests/workload/memory.h"
#include "tests/workload/options.h"
#include "tests/workload/page_cache.h"

namespace acma::workload {
namespace {

constexpr int k_exit_usage = 2;
constexpr int k_exit_corrupt = 3;

constexpr const char* k_usage =
    "usage: acma-workload VERB [OPTIONS]\n"
    "  touch --mib N [--hot-mib H] [--period-ms P] [--seconds S]\n"
    "      fill N MiB, then touch H MiB of them (all) every P ms (100; 0: again and again) for S\n"
    "      seconds (for ever)\n"
    "  phases MIB:SECONDS,MIB:SECONDS... [--period-ms P] [--repeat R]\n"
    "      touch a hot set that changes its size; what was once filled stays allocated and gets "
    "cold\n"
    "  spike --mib N [--repeat R] [--pause-ms P]\n"
    "      map N MiB, write one word of each page, tell how long that took, unmap\n"
    "  copy --pages N\n"
    "      copy a page N times, as kernels do: what counts instructions may count each byte\n"
    "  holes --mib N [PATH] [--period-ms P]\n"
    "      fill N MiB of 4 KiB pages, free every second one, keep the rest until killed, and touch "
    "it\n"
    "      every P ms (0: never); half of it is the page cache of PATH, if one is named\n"
    "options of touch and phases:\n"
    "  --zero-percent Z   this much of each page is zeros, the rest noise (0: incompressible)\n"
    "  --verify 1         at the end check every byte that was filled\n"
    "A round touches one word of each page, then sleeps until the next period. Exit status 3: "
    "memory lost its "
    "content.\n";

Micros clock_now(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return Seconds(now.tv_sec) +
           std::chrono::duration_cast<Micros>(std::chrono::nanoseconds(now.tv_nsec));
}

Micros now() {
    return clock_now(CLOCK_MONOTONIC);
}

void sleep_until(Micros deadline) {
    const auto seconds = std::chrono::duration_cast<Seconds>(deadline);
    const timespec until{seconds.count(), std::chrono::nanoseconds(deadline - seconds).count()};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) != 0) {
    }
}

// What happened in the running second.
struct Tally {
    uint64_t rounds = 0;
    Micros longest{0};
    Micros busy{0};
};

void print_second(const Tally& tally, Bytes hot, Bytes filled) {
    std::printf("{\"t_us\": %" PRId64 ", \"unix_us\": %" PRId64 ", \"working_set_bytes\": %" PRIu64
                ", \"filled_bytes\": %" PRIu64 ", \"rounds\": %" PRIu64
                ", \"max_round_us\": %" PRId64 ", \"busy_us\": %" PRId64 "}\n",
                now().count(), clock_now(CLOCK_REALTIME).count(), hot.count(), filled.count(),
                tally.rounds, tally.longest.count(), tally.busy.count());
    std::fflush(stdout);
}

// The phase's hot set was touched in full, `took` after the phase began: the time from need to
// memory.
void print_ready(Bytes hot, Micros took) {
    std::printf("{\"t_us\": %" PRId64 ", \"unix_us\": %" PRId64 ", \"ready_bytes\": %" PRIu64
                ", \"ready_us\": %" PRId64 "}\n",
                now().count(), clock_now(CLOCK_REALTIME).count(), hot.count(), took.count());
    std::fflush(stdout);
}

// Touches `hot` bytes every period until `end`; one line a second. False when memory lost its
// content.
bool touch_until(Memory& memory, TranslationFlusher& flusher, Bytes hot, Millis period,
                 Micros end) {
    Tally tally;
    Micros next_line = now() + Seconds(1);
    Micros round_start = now();
    while (round_start < end) {
        if (!memory.touch(hot)) {
            return false;
        }
        flusher.flush();
        const Micros done = now();
        ++tally.rounds;
        tally.longest = std::max(tally.longest, done - round_start);
        tally.busy += done - round_start;
        if (done >= next_line) {
            print_second(tally, hot, memory.filled());
            tally = {};
            next_line = std::max(next_line + Seconds(1), done);
        }
        sleep_until(std::min(round_start + period, end));
        round_start = now();
    }
    return true;
}

int finish(const Memory& memory, bool intact, bool verify) {
    intact = intact && (!verify || memory.verify());
    std::printf("{\"t_us\": %" PRId64 ", \"done\": true, \"intact\": %s}\n", now().count(),
                intact ? "true" : "false");
    return intact ? 0 : k_exit_corrupt;
}

// Runs the phases one after another over one piece of memory; `filled_first` is filled before the
// first.
Result<int> run_phases(const std::vector<Phase>& phases, Bytes filled_first,
                       const Options& options) {
    Bytes most = filled_first;
    for (const Phase& phase : phases) {
        most = std::max(most, phase.hot);
    }
    const Fill fill{
        static_cast<unsigned>(std::min<uint64_t>(options.number("--zero-percent", 0), 100))};
    auto memory = Memory::reserve(most, fill);
    auto flusher = TranslationFlusher::make();
    if (!memory || !flusher) {
        return (memory ? flusher.error() : memory.error());
    }
    memory->grow_to(filled_first);
    const Millis period(options.number("--period-ms", 100));
    bool intact = true;
    for (uint64_t round = 0; intact && round < options.number("--repeat", 1); ++round) {
        for (const Phase& phase : phases) {
            const Micros start = now();
            const Micros end = start + phase.duration;
            std::printf("{\"t_us\": %" PRId64 ", \"unix_us\": %" PRId64
                        ", \"phase_bytes\": %" PRIu64 "}\n",
                        start.count(), clock_now(CLOCK_REALTIME).count(), phase.hot.count());
            std::fflush(stdout);
            memory->grow_to(phase.hot);
            intact = intact && memory->touch(phase.hot);
            print_ready(phase.hot, now() - start);
            intact = intact && touch_until(*memory, *flusher, phase.hot, period, end);
        }
    }
    return finish(*memory, intact, options.number("--verify", 0) != 0);
}

Result<int> touch(const Options& options) {
    const Bytes size = options.mib("--mib", 0);
    if (size == Bytes(0)) {
        return Error{ErrorCode::invalid, "touch needs --mib"};
    }
    constexpr uint64_t k_for_ever = 1'000'000'000;
    const Bytes hot = std::min(options.mib("--hot-mib", options.number("--mib", 0)), size);
    return run_phases({{hot, Seconds(options.number("--seconds", k_for_ever))}}, size, options);
}

Result<int> phases(const Options& options) {
    if (options.words().size() != 1) {
        return Error{ErrorCode::invalid, "phases needs MIB:SECONDS,MIB:SECONDS..."};
    }
    const auto steps = parse_phases(options.words().front());
    if (!steps) {
        return steps.error();
    }
    return run_phases(*steps, Bytes(0), options);
}

Result<int> spike(const Options& options) {
    const Bytes size = options.mib("--mib", 0);
    if (size == Bytes(0)) {
        return Error{ErrorCode::invalid, "spike needs --mib"};
    }
    for (uint64_t round = 0; round < options.number("--repeat", 1); ++round) {
        auto memory = Memory::reserve(size, Fill{});
        if (!memory) {
            return memory.error();
        }
        const Micros start = now();
        memory->first_touch(size);
        const Micros took = now() - start;
        std::printf("{\"t_us\": %" PRId64 ", \"spike_bytes\": %" PRIu64 ", \"spike_us\": %" PRId64
                    "}\n",
                    start.count(), size.count(), took.count());
        std::fflush(stdout);
        sleep_until(now() + Millis(options.number("--pause-ms", 0)));
    }
    return 0;
}

// By the instruction of copy_mc_enhanced_fast_string (arch/x86/lib/copy_mc_64.S), with which a
// kernel copies a page that it moves.
Result<int> copy(const Options& options) {
    const std::vector<std::byte> from(static_cast<size_t>(k_page.count()));
    std::vector<std::byte> to(from.size());
    const Micros start = now();
    for (uint64_t i = 0; i < options.number("--pages", 1); ++i) {
        const std::byte* source = from.data();
        std::byte* target = to.data();
        size_t bytes = from.size();
        asm volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(bytes) : : "memory");
    }
    std::printf("{\"copied_us\": %" PRId64 "}\n", (now() - start).count());
    return 0;
}

// What is used afterwards lies everywhere: in every block of what was filled, half is free. With a
// file half of each block that is used is its page cache.
Result<int> holes(const Options& options) {
    const Bytes size = options.mib("--mib", 0);
    const std::string file = options.words().empty() ? "" : options.words().front();
    const Millis period(options.number("--period-ms", 0));
    if (size == Bytes(0)) {
        return Error{ErrorCode::invalid, "holes needs --mib"};
    }
    const Bytes anonymous = file.empty() ? size : size / 2;
    auto memory = Memory::reserve(anonymous, Fill{.zero_percent = 100});
    if (!memory) {
        return memory.error();
    }
    memory->avoid_huge_pages();
    std::optional<PageCache> cache;
    if (!file.empty()) {
        auto made = PageCache::make(file, size - anonymous);
        if (!made) {
            return made.error();
        }
        cache.emplace(std::move(*made));
    }
    for (Bytes done; done < anonymous; done += 1_MiB) {
        memory->grow_to(std::min(done + 1_MiB, anonymous));
        if (cache) {
            if (const Status status = cache->fill(done, std::min(done + 1_MiB, size - anonymous));
                !status) {
                return status.error();
            }
        }
    }
    auto flusher = TranslationFlusher::make();
    if (!flusher) {
        return flusher.error();
    }
    memory->punch_holes(anonymous);
    if (cache) {
        if (const Status status = cache->punch_holes(); !status) {
            return status.error();
        }
    }
    std::printf("{\"t_us\": %" PRId64 ", \"holes_bytes\": %" PRIu64 "}\n", now().count(),
                size.count() / 2);
    std::fflush(stdout);
    for (;;) {
        if (period == Millis(0)) {
            pause();
        }
        sleep_until(now() + period);
        flusher->flush();
        memory->touch_left(anonymous);
        if (cache) {
            cache->touch();
        }
    }
}

struct Verb {
    std::string_view name;
    Result<int> (*run)(const Options&);
    std::vector<std::string_view> known;
};

int run(std::span<const std::string_view> words) {
    const std::array<Verb, 5> verbs{
        Verb{"copy", copy, {"--pages"}}, Verb{"holes", holes, {"--mib", "--period-ms"}},
        Verb{"touch",
             touch,
             {"--mib", "--hot-mib", "--period-ms", "--seconds", "--zero-percent", "--verify"}},
        Verb{"phases", phases, {"--period-ms", "--repeat", "--zero-percent", "--verify"}},
        Verb{"spike", spike, {"--mib", "--repeat", "--pause-ms"}}};
    const auto verb = std::find_if(verbs.begin(), verbs.end(), [&words](const Verb& candidate) {
        return !words.empty() && candidate.name == words.front();
    });
    if (verb == verbs.end()) {
        std::fputs(k_usage, stderr);
        return k_exit_usage;
    }
    const auto options = Options::parse(words.subspan(1), verb->known);
    const auto status = options ? verb->run(*options) : Result<int>(options.error());
    if (!status) {
        std::fprintf(stderr, "acma-workload: %s\n", status.error().message.c_str());
        return k_exit_usage;
    }
    return *status;
}

}  // namespace
}  // namespace acma::workload

int main(int argc, char** argv) {
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    return acma::workload::run(words);
}
