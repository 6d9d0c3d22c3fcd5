// SPDX-License-Identifier: Apache-2.0
#include "host-controller/hostmem/sampler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "platform/clock.h"

namespace acma::host {

namespace {
// How often each process's cheap figures are looked at, and a missing process is searched for.
constexpr Micros k_look_every{1'000'000};
constexpr Micros k_search_every{10'000'000};
// The first searches follow quickly: libvirt says "started" before the pid file is there.
constexpr int k_eager_searches = 5;
}  // namespace

struct HostMemorySampler::Watched {
    VmId vm;
    Order order;
    std::optional<QemuProcess> process;
    PaceState pace;
    Time next_look;
    int searches = 0;
    std::string last_error;
};

HostMemorySampler::HostMemorySampler(ProcRoots roots, PaceLimits limits, Sink sink)
    : roots_(std::move(roots)),
      limits_(limits),
      sink_(std::move(sink)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

HostMemorySampler::~HostMemorySampler() {
    thread_.request_stop();
    thread_.join();
}

void HostMemorySampler::watch(const VmId& vm, std::string domain_name,
                              std::vector<Bytes> ram_blocks) {
    const std::lock_guard lock(mutex_);
    Order& order = orders_[vm];
    if (order.number != 0 && order.domain_name == domain_name && order.ram_blocks == ram_blocks) {
        return;
    }
    order = Order{std::move(domain_name), std::move(ram_blocks), next_number_++};
    wake_.notify_one();
}

void HostMemorySampler::unwatch(const VmId& vm) {
    const std::lock_guard lock(mutex_);
    orders_.erase(vm);
}

// Brings the thread's own list in line with the orders.
void HostMemorySampler::take_orders(WatchedVms& vms) {
    std::erase_if(vms, [this](const auto& entry) {
        const auto order = orders_.find(entry.first);
        return order == orders_.end() || order->second.number != entry.second.order.number;
    });
    for (const auto& [vm, order] : orders_) {
        vms.try_emplace(vm, Watched{.vm = vm, .order = order});
    }
}

void HostMemorySampler::run(const std::stop_token& stop) {
    WatchedVms vms;
    while (!stop.stop_requested()) {
        Time wake_at = platform::now() + k_look_every;
        for (auto& [vm, watched] : vms) {
            if (stop.stop_requested()) {
                return;
            }
            const Time start = platform::now();
            if (start >= watched.next_look && look_at(vm, watched, start)) {
                const Time end = platform::now();
                const Micros rest = rest_until(end, end - start, limits_) - end;
                std::unique_lock lock(mutex_);
                wake_.wait_for(lock, stop, rest, [] { return false; });
            }
            wake_at = std::min(wake_at, watched.next_look);
        }
        std::unique_lock lock(mutex_);
        const uint64_t seen = next_number_;
        const Micros pause = std::max(wake_at - platform::now(), Micros(0));
        wake_.wait_for(lock, stop, pause, [this, seen] { return next_number_ != seen; });
        take_orders(vms);
    }
}

bool HostMemorySampler::look_at(const VmId& vm, Watched& watched, Time now) {
    bool costly = false;
    const Result<std::optional<HostBytes>> measured = measure(watched, now, costly);
    if (!measured) {
        if (measured.error().message != watched.last_error) {
            watched.last_error = measured.error().message;
            sink_(vm, measured.error());
        }
    } else if (*measured) {
        watched.last_error.clear();
        sink_(vm, **measured);
    }
    return costly;
}

Result<std::optional<HostBytes>> HostMemorySampler::measure(Watched& watched, Time now,
                                                            bool& costly) {
    watched.next_look = now + k_look_every;
    if (!watched.process) {
        if (++watched.searches > k_eager_searches) {
            watched.next_look = now + k_search_every;
        }
        Result<QemuProcess> found =
            QemuProcess::find(roots_, watched.order.domain_name, watched.vm.uuid);
        if (!found) {
            return found.error();
        }
        watched.process.emplace(std::move(*found));
        watched.pace = PaceState{};
    }
    const Status read = watched.process->read("status", text_);
    const Result<ProcessMemory> seen = read ? parse_process_status(text_) : read.error();
    if (!seen) {
        watched.process.reset();  // it has ended; libvirt will say so, or a new one comes
        return seen.error();
    }
    if (!is_due(watched.pace, *seen, now, limits_)) {
        return std::optional<HostBytes>();
    }
    costly = true;
    watched.pace = PaceState{now, *seen};
    if (const Status smaps = watched.process->read("smaps", text_); !smaps) {
        return smaps.error().in("host bytes");
    }
    const Result<HostBytes> bytes = host_bytes_of(text_, watched.order.ram_blocks);
    if (!bytes) {
        return bytes.error();
    }
    return std::optional(*bytes);
}

}  // namespace acma::host
