// SPDX-License-Identifier: Apache-2.0
// Measures the host bytes of many guests on a thread of its own: a read of smaps waits for the
// process's memory lock and may take long, which must not hold up anything else. Where one hangs
// (the lock's holder waits for storage that is gone), another thread goes on with the other VMs.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
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
    // Called on a thread of the sampler, for each measurement and when one starts to fail, and by
    // relieve() when one hangs.
    using Sink = std::function<void(const VmId&, const Result<HostBytes>&)>;

    HostMemorySampler(ProcRoots roots, PaceLimits limits, Sink sink);
    ~HostMemorySampler() override;
    HostMemorySampler(const HostMemorySampler&) = delete;
    HostMemorySampler& operator=(const HostMemorySampler&) = delete;

    // Any thread; returns at once. Watching a VM again replaces what is known of it.
    void watch(const VmId& vm, std::string domain_name, std::vector<Bytes> ram_blocks) override;
    void unwatch(const VmId& vm) override;

    // What does not hang takes milliseconds, on a host that is starved perhaps a second.
    static constexpr Micros k_patience{5'000'000};
    // With so many processes that hang nothing is measured any more.
    static constexpr size_t k_most_threads = 8;
    // Call now and then: whatever hangs is left to its thread, and measured again when it is back.
    void relieve(Time now);

  private:
    struct Order {
        std::string domain_name;
        std::vector<Bytes> ram_blocks;
        uint64_t number = 0;  // tells a VM that was replaced meanwhile
    };
    struct Watched;
    using WatchedVms = std::map<VmId, Watched>;
    struct Look {
        VmId vm;
        Time since;
    };
    struct Reader {
        std::optional<Look> look;  // what it is at
        bool replaced = false;     // another goes on; it ends when it is back
        bool left = false;
        std::jthread thread;
    };
    struct Measured {
        Result<std::optional<HostBytes>> bytes;  // nothing when the guest stands still
        bool costly = false;                     // smaps was read
    };

    void add_reader();
    void run(const std::stop_token& stop, Reader& reader);
    void take_orders(WatchedVms& vms, uint64_t& taken);
    void begin(Reader& reader, const VmId& vm, Time now);
    // False: it took so long that another goes on.
    bool end(Reader& reader);
    [[nodiscard]] Measured measure(Watched& watched, ProcessSearch& search, Time now,
                                   std::string& text) const;
    void tell(const VmId& vm, Watched& watched, const Result<std::optional<HostBytes>>& bytes);

    const ProcRoots roots_;
    const PaceLimits limits_;
    const Sink sink_;

    std::mutex mutex_;  // protects all that follows
    std::map<VmId, Order> orders_;
    std::set<VmId> hanging_;            // left to the threads that are at them
    uint64_t next_number_ = 1;          // moves with every change of these two
    std::condition_variable_any wake_;  // a stop or such a change
    std::list<Reader> readers_;         // last: they use all of the above
};

}  // namespace acma::host
