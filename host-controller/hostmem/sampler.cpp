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
// Between rounds over all VMs, so that what falls due is done together.
constexpr Micros k_round{200'000};
// How often what statm does not tell (swap, huge pages) is looked at where that stands still.
constexpr Micros k_status_every{10'000'000};
// The first searches follow quickly: libvirt says "started" before the pid file is there.
constexpr int k_eager_searches = 5;
}  // namespace

struct HostMemorySampler::Watched {
    VmId vm;
    Order order;
    std::optional<QemuProcess> process;
    PaceState pace;
    std::optional<Time> status_at;  // when that was looked at
    bool huge_pages = false;        // as it said
    Bytes resident;                 // when smaps was read
    Time next_look;
    int searches = 0;
    std::string last_error;
};

HostMemorySampler::HostMemorySampler(ProcRoots roots, PaceLimits limits, Sink sink)
    : roots_(std::move(roots)), limits_(limits), sink_(std::move(sink)) {
    const std::lock_guard lock(mutex_);
    add_reader();
}

// A thread that hangs holds up the end, too: nothing can stop it.
HostMemorySampler::~HostMemorySampler() {
    for (Reader& reader : readers_) {
        reader.thread.request_stop();
    }
    for (Reader& reader : readers_) {
        reader.thread.join();
    }
}

// mutex_ is held.
void HostMemorySampler::add_reader() {
    Reader& reader = readers_.emplace_back();
    reader.thread =
        std::jthread([this, &reader](const std::stop_token& stop) { run(stop, reader); });
}

void HostMemorySampler::relieve(Time now) {
    std::optional<VmId> hangs;
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(readers_, [](const Reader& reader) { return reader.left; });
        const auto active = std::find_if(readers_.begin(), readers_.end(),
                                         [](const Reader& reader) { return !reader.replaced; });
        if (!active->look || now - active->look->since < k_patience ||
            readers_.size() >= k_most_threads) {
            return;
        }
        hangs = active->look->vm;
        active->replaced = true;
        hanging_.insert(*hangs);
        ++next_number_;
        add_reader();
    }
    sink_(*hangs, Error{ErrorCode::timeout, "host bytes: looking at its QEMU process hangs"});
}

void HostMemorySampler::begin(Reader& reader, const VmId& vm, Time now) {
    const std::lock_guard lock(mutex_);
    reader.look = Look{vm, now};
}

bool HostMemorySampler::end(Reader& reader) {
    const std::lock_guard lock(mutex_);
    if (reader.replaced) {
        hanging_.erase(reader.look->vm);
        ++next_number_;
        reader.left = true;
    }
    reader.look.reset();
    return !reader.replaced;
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
    ++next_number_;
}

// Brings the thread's own list in line with the orders; `taken` says with which.
void HostMemorySampler::take_orders(WatchedVms& vms, uint64_t& taken) {
    if (std::exchange(taken, next_number_) == next_number_) {
        return;
    }
    std::erase_if(vms, [this](const auto& entry) {
        const auto order = orders_.find(entry.first);
        return order == orders_.end() || order->second.number != entry.second.order.number;
    });
    for (const auto& [vm, order] : orders_) {
        if (!hanging_.contains(vm)) {
            vms.try_emplace(vm, Watched{.vm = vm, .order = order});
        }
    }
}

void HostMemorySampler::run(const std::stop_token& stop, Reader& reader) {
    WatchedVms vms;
    uint64_t taken = 0;  // of the orders: none yet
    ProcessSearch search(roots_);
    std::string text;  // used again by every read
    while (!stop.stop_requested()) {
        Time wake_at = platform::now() + k_look_every;
        for (auto& [vm, watched] : vms) {
            if (stop.stop_requested()) {
                return;
            }
            const Time start = platform::now();
            if (start >= watched.next_look) {
                begin(reader, vm, start);
                const Measured measured = measure(watched, search, start, text);
                if (!end(reader)) {
                    return;
                }
                tell(vm, watched, measured.bytes);
                if (measured.costly) {
                    const Time now = platform::now();
                    const Micros rest = rest_until(now, now - start, limits_) - now;
                    std::unique_lock lock(mutex_);
                    wake_.wait_for(lock, stop, rest, [] { return false; });
                }
            }
            wake_at = std::min(wake_at, watched.next_look);
        }
        std::unique_lock lock(mutex_);
        const Micros pause = std::max(wake_at - platform::now(), k_round);
        wake_.wait_for(lock, stop, pause, [this, taken] { return next_number_ != taken; });
        take_orders(vms, taken);
    }
}

void HostMemorySampler::tell(const VmId& vm, Watched& watched,
                             const Result<std::optional<HostBytes>>& bytes) {
    if (!bytes) {
        if (bytes.error().message != watched.last_error) {
            watched.last_error = bytes.error().message;
            sink_(vm, bytes.error());
        }
    } else if (*bytes) {
        watched.last_error.clear();
        sink_(vm, **bytes);
    }
}

HostMemorySampler::Measured HostMemorySampler::measure(Watched& watched, ProcessSearch& search,
                                                       Time now, std::string& text) const {
    watched.next_look = now + k_look_every;
    if (!watched.process) {
        const bool eager = ++watched.searches <= k_eager_searches;
        const Micros pause = eager ? k_look_every : k_search_every;
        watched.next_look = now + pause;
        Result<QemuProcess> found =
            search.find(watched.order.domain_name, watched.vm.uuid, now, pause);
        if (!found) {
            return {.bytes = found.error()};
        }
        watched.process.emplace(std::move(*found));
        watched.pace = PaceState{};
        watched.status_at.reset();
    }
    const Result<Bytes> resident = watched.process->resident();
    if (resident && watched.status_at && now - *watched.status_at < k_status_every &&
        !watched.huge_pages && distance(*resident, watched.resident) < limits_.moved) {
        return {.bytes = std::optional<HostBytes>()};
    }
    const Status read = watched.process->read("status", text);
    const Result<ProcessMemory> seen = read ? parse_process_status(text) : read.error();
    if (!seen) {
        watched.process.reset();  // it has ended; libvirt will say so, or a new one comes
        return {.bytes = seen.error()};
    }
    watched.status_at = now;
    watched.huge_pages = seen->hugetlb > Bytes(0);
    if (!is_due(watched.pace, *seen, now, limits_)) {
        return {.bytes = std::optional<HostBytes>()};
    }
    watched.pace = PaceState{now, *seen};
    watched.resident = resident.value_or(Bytes(0));
    if (const Status smaps = watched.process->read("smaps", text); !smaps) {
        return {.bytes = smaps.error().in("host bytes"), .costly = true};
    }
    const Result<HostBytes> bytes = host_bytes_of(text, watched.order.ram_blocks);
    return {.bytes = bytes ? Result<std::optional<HostBytes>>(std::optional(*bytes))
                           : Result<std::optional<HostBytes>>(bytes.error()),
            .costly = true};
}

}  // namespace acma::host
