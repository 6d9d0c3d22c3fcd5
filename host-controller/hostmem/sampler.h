// SPDX-License-Identifier: Apache-2.0
// Measures the host bytes of many guests on a thread of its own: a read of smaps waits for the
// process's memory lock and may take long, which must not hold up anything else.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "host-controller/hostmem/pace.h"
#include "host-controller/hostmem/qemu_process.h"
#include "host-controller/hostmem/smaps.h"
#include "host-controller/ports.h"

namespace acma::host {

class HostMemorySampler final : public HostMemory {
  public:
    // Called on the sampler's thread, for each measurement and when one starts to fail.
    using Sink = std::function<void(const VmId&, const Result<HostBytes>&)>;

    HostMemorySampler(ProcRoots roots, PaceLimits limits, Sink sink);
    ~HostMemorySampler() override;
    HostMemorySampler(const HostMemorySampler&) = delete;
    HostMemorySampler& operator=(const HostMemorySampler&) = delete;

    // Any thread; returns at once. Watching a VM again replaces what is known of it.
    void watch(const VmId& vm, std::string domain_name, std::vector<Bytes> ram_blocks) override;
    void unwatch(const VmId& vm) override;

  private:
    struct Order {
        std::string domain_name;
        std::vector<Bytes> ram_blocks;
        uint64_t number = 0;  // tells a VM that was replaced meanwhile
    };
    struct Watched;
    using WatchedVms = std::map<VmId, Watched>;

    void run(const std::stop_token& stop);
    void take_orders(WatchedVms& vms);
    // True when the costly part was done.
    bool look_at(const VmId& vm, Watched& watched, Time now);
    // Nothing when the guest stands still; `costly` tells whether smaps was read.
    Result<std::optional<HostBytes>> measure(Watched& watched, Time now, bool& costly);

    const ProcRoots roots_;
    const PaceLimits limits_;
    const Sink sink_;

    std::mutex mutex_;  // protects orders_ and next_number_
    std::map<VmId, Order> orders_;
    uint64_t next_number_ = 1;
    std::condition_variable_any wake_;  // a stop or, with mutex_, a change of orders_

    std::string text_;     // reused by every read; only the thread uses it
    std::jthread thread_;  // last: it uses all of the above
};

}  // namespace acma::host
