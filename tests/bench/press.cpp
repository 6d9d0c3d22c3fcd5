// SPDX-License-Identifier: Apache-2.0
// acma-press: takes memory until tasks stall on it for so long that a PSI trigger fires, then gives
// all of it back. A pressure spike that is exactly as long as it has to be. One JSON object.
//
//   acma-press --mib MOST --trigger-us S --window-us W
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <vector>

#include <poll.h>
#include <sys/mman.h>
#include <time.h>

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

Status run(const workload::Options& options) {
    const size_t size = options.mib("--mib", 0).count();
    auto trigger = platform::open_psi_trigger("/proc/pressure/memory",
                                              Micros(options.number("--trigger-us", 50'000)),
                                              Micros(options.number("--window-us", 500'000)));
    if (!trigger) {
        return trigger.error();
    }
    void* const space = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) {
        return error_from_errno(errno, "mmap");
    }
    auto* const bytes = static_cast<volatile char*>(space);
    const int64_t start = now_us();
    size_t touched = 0;
    while (touched < size && !fired(*trigger)) {
        for (size_t page = 0; page < k_stride && touched < size; ++page, touched += k_page) {
            bytes[touched] = 1;
        }
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
    constexpr std::array<std::string_view, 3> k_known{"--mib", "--trigger-us", "--window-us"};
    const auto options = workload::Options::parse(words, k_known);
    const Status status = options ? bench::run(*options) : Status(options.error());
    if (!status) {
        std::fprintf(stderr, "acma-press: %s\n", status.error().message.c_str());
        return 2;
    }
    return 0;
}
