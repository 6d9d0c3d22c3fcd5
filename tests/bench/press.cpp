// SPDX-License-Identifier: Apache-2.0
// acma-press: takes memory until tasks stall on it for so long that a PSI trigger fires, then gives
// all of it back. A pressure spike that is exactly as long as it has to be. First it takes all but
// LEFT of what is available and waits for SIGUSR1, so that the spike comes at once then. One JSON
// object for each of the two.
//
//   acma-press --mib MOST --leave-mib LEFT --trigger-us S --window-us W
#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <vector>

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "platform/file.h"
#include "platform/proc.h"
#include "platform/psi_trigger.h"
#include "tests/workload/options.h"

namespace acma::bench {
namespace {

// Pages between two looks at the trigger.
constexpr size_t k_stride = 64;
constexpr size_t k_page = 4096;

int64_t now_us() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

bool fired(const platform::Fd& trigger) {
    pollfd event{.fd = trigger.get(), .events = POLLPRI, .revents = 0};
    return poll(&event, 1, 0) > 0;
}

void touch(volatile char* bytes, size_t from, size_t to) {
    for (; from < to; from += k_page) {
        bytes[from] = 1;
    }
}

Result<size_t> available() {
    const auto text = platform::read_file("/proc/meminfo");
    const auto meminfo =
        text ? platform::parse_meminfo(*text) : Result<platform::MemInfo>(text.error());
    return meminfo ? Result<size_t>(meminfo->available.count()) : meminfo.error();
}

void wait_for_go() {
    sigset_t go;
    (void)sigemptyset(&go);
    (void)sigaddset(&go, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &go, nullptr);
    std::printf("{\"ready\": true}\n");
    (void)std::fflush(stdout);
    int signal = 0;
    (void)sigwait(&go, &signal);
}

Status run(const workload::Options& options) {
    const size_t size = options.mib("--mib", 0).count();
    const size_t left = options.mib("--leave-mib", 0).count();
    const auto there = available();
    if (!there) {
        return there.error();
    }
    void* const space = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) {
        return error_from_errno(errno, "mmap");
    }
    auto* const bytes = static_cast<volatile char*>(space);
    size_t touched = std::min(size, *there > left ? (*there - left) / k_page * k_page : 0);
    touch(bytes, 0, touched);
    wait_for_go();

    auto trigger = platform::open_psi_trigger("/proc/pressure/memory",
                                              Micros(options.number("--trigger-us", 50'000)),
                                              Micros(options.number("--window-us", 500'000)));
    if (!trigger) {
        return trigger.error();
    }
    const int64_t start = now_us();
    while (touched < size && !fired(*trigger)) {
        const size_t next = std::min(size, touched + k_stride * k_page);
        touch(bytes, touched, next);
        touched = next;
    }
    const int64_t end = now_us();
    (void)munmap(space, size);
    std::printf("{\"t_us\": %" PRId64 ", \"until_us\": %" PRId64
                ", \"taken_bytes\": %zu, \"fired\": %s}\n",
                start, end, touched, touched < size ? "true" : "false");
    return {};
}

}  // namespace
}  // namespace acma::bench

int main(int argc, char** argv) {
    using namespace acma;
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    constexpr std::array<std::string_view, 4> k_known{"--mib", "--leave-mib", "--trigger-us",
                                                      "--window-us"};
    const auto options = workload::Options::parse(words, k_known);
    const Status status = options ? bench::run(*options) : Status(options.error());
    if (!status) {
        std::fprintf(stderr, "acma-press: %s\n", status.error().message.c_str());
        return 2;
    }
    return 0;
}
