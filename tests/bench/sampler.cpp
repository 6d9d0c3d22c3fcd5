// SPDX-License-Identifier: Apache-2.0
// acma-sampler: what a bench sees of a guest, with as little disturbance as there can be. Every
// period one JSON object a line: time, PSI, and the named counters of /proc/vmstat.
//
//   acma-sampler [--period-ms P] [--trigger-us S --window-us W] COUNTER...
//
// With a trigger it also says when tasks stalled on memory for S within W, as soon as it happens.
// Times are CLOCK_MONOTONIC, which the guest's tracing can use too. It is locked into memory and
// runs before every other task, so that the pressure that it measures does not hold it up.
#include <algorithm>
#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "platform/file.h"
#include "platform/psi_trigger.h"
#include "tests/workload/options.h"

namespace acma::bench {
namespace {

constexpr const char* k_pressure = "/proc/pressure/memory";

int64_t now_us() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

// The number right behind `name`; 0 where the kernel does not have it.
uint64_t number_behind(std::string_view text, std::string_view name) {
    const size_t at = text.find(name);
    uint64_t number = 0;
    if (at != std::string_view::npos) {
        const char* const start = text.data() + at + name.size();
        (void)std::from_chars(start, text.data() + text.size(), number);
    }
    return number;
}

// The same for a line "name number" of its own; `line_start` is "\nname ".
uint64_t counter(std::string_view text, std::string_view line_start) {
    const std::string_view first = line_start.substr(1);
    return number_behind(text, text.starts_with(first) ? first : line_start);
}

void print(const std::string& line) {
    // A line that cannot be written is seen as a gap by whoever reads them.
    (void)!write(STDOUT_FILENO, line.data(), line.size());
}

class Sampler {
  public:
    Sampler(platform::PolledFile vmstat, platform::PolledFile pressure,
            std::vector<std::string> counters)
        : vmstat_(std::move(vmstat)),
          pressure_(std::move(pressure)),
          counters_(std::move(counters)) {
        for (const auto& name : counters_) {
            line_starts_.push_back("\n" + name + " ");
        }
    }

    // Reuses its buffers: nothing is allocated once it runs.
    Status sample() {
        line_ = "{\"t_us\": " + std::to_string(now_us());
        const auto pressure = pressure_.read();
        if (!pressure) {
            return pressure.error();
        }
        const size_t full = pressure->find("full ");
        add("psi_some_us", number_behind(*pressure, "total="));
        add("psi_full_us",
            full == std::string_view::npos ? 0 : number_behind(pressure->substr(full), "total="));
        const auto vmstat = vmstat_.read();
        if (!vmstat) {
            return vmstat.error();
        }
        for (size_t i = 0; i < counters_.size(); ++i) {
            add(counters_[i], counter(*vmstat, line_starts_[i]));
        }
        line_ += "}\n";
        print(line_);
        return {};
    }

  private:
    void add(std::string_view name, uint64_t value) {
        line_.append(", \"").append(name).append("\": ").append(std::to_string(value));
    }

    platform::PolledFile vmstat_;
    platform::PolledFile pressure_;
    std::vector<std::string> counters_;
    std::vector<std::string> line_starts_;
    std::string line_;
};

Status run(const workload::Options& options) {
    auto vmstat = platform::PolledFile::open("/proc/vmstat");
    auto pressure = platform::PolledFile::open(k_pressure);
    if (!vmstat || !pressure) {
        return vmstat ? pressure.error() : vmstat.error();
    }
    std::optional<platform::Fd> trigger;
    if (const uint64_t stall = options.number("--trigger-us", 0); stall > 0) {
        auto armed = platform::open_psi_trigger(k_pressure, Micros(stall),
                                                Micros(options.number("--window-us", 500'000)));
        if (!armed) {
            return armed.error();
        }
        trigger = std::move(*armed);
    }
    const sched_param priority{.sched_priority = 1};
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0 ||
        sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
        return error_from_errno(errno, "mlockall or sched_setscheduler");
    }
    Sampler sampler(std::move(*vmstat), std::move(*pressure), options.words());
    const int64_t period = static_cast<int64_t>(options.number("--period-ms", 100)) * 1'000;
    int64_t next = now_us();
    for (;;) {
        const int64_t left = next - now_us();
        if (left <= 0) {
            if (Status status = sampler.sample(); !status) {
                return status;
            }
            next = std::max(next + period, now_us());
            continue;
        }
        pollfd event{.fd = trigger ? trigger->get() : -1, .events = POLLPRI, .revents = 0};
        const timespec timeout{.tv_sec = left / 1'000'000, .tv_nsec = left % 1'000'000 * 1'000};
        if (ppoll(&event, 1, &timeout, nullptr) > 0) {
            print("{\"t_us\": " + std::to_string(now_us()) + ", \"trigger\": true}\n");
        }
    }
}

}  // namespace
}  // namespace acma::bench

int main(int argc, char** argv) {
    using namespace acma;
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    constexpr std::array<std::string_view, 3> k_known{"--period-ms", "--trigger-us", "--window-us"};
    const auto options = workload::Options::parse(words, k_known);
    const Status status = options ? bench::run(*options) : Status(options.error());
    std::fprintf(stderr, "acma-sampler: %s\n", status ? "" : status.error().message.c_str());
    return 2;
}
