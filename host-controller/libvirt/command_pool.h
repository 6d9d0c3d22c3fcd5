// SPDX-License-Identifier: Apache-2.0
// Runs commands to domains. A QEMU that hangs holds a libvirt call for ever (its monitor has no
// timeout), so such calls never run on the event thread, and one domain never has more than one
// running: it can hold up one worker, not the others' domains. When domains that hang hold all the
// workers, others are hired.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "engine/base/units.h"
#include "host-controller/metadata/domain_xml.h"

namespace acma::host {

class CommandPool {
  public:
    // libvirtd serves 5 calls of one client at a time (max_client_requests). The regular workers
    // share the one connection, and one call stays for reads; a hired one needs a connection of
    // its own.
    enum class Worker { regular, hired };
    using Command = std::function<void(Worker)>;

    static constexpr size_t k_regular = 4;
    // libvirtd has 20 workers of its own for all its clients (max_workers): it must not be us who
    // take the last.
    static constexpr size_t k_most = 16;
    // What libvirt is busy with otherwise takes milliseconds.
    static constexpr Micros k_patience{5'000'000};
    // Beyond it a command is refused: something hangs, and later commands would be stale anyway.
    static constexpr size_t k_max_waiting = 4096;

    CommandPool();
    ~CommandPool();  // drops what waits, and waits for what runs
    CommandPool(const CommandPool&) = delete;
    CommandPool& operator=(const CommandPool&) = delete;

    // In order for one domain. False: refused.
    [[nodiscard]] bool post(const VmId& vm, Command command);

    // Call now and then. Hires a worker when none of those that are there has taken up anything for
    // a while although a command waits.
    void relieve(Time now);
    [[nodiscard]] size_t workers() const { return workers_.size(); }

  private:
    struct Waiting {
        VmId vm;
        Command command;
    };
    void work(const std::stop_token& stop, Worker worker);
    std::deque<Waiting>::iterator next_runnable();
    [[nodiscard]] bool may_take(Worker worker);

    std::mutex mutex_;  // protects all but workers_
    std::deque<Waiting> waiting_;
    std::set<VmId> running_;
    size_t regular_at_work_ = 0;
    bool taken_since_look_ = false;   // a command, since the last relieve()
    std::optional<Time> idle_since_;  // nothing was taken up since then, though something waits
    std::condition_variable_any wake_;
    std::vector<std::jthread> workers_;  // grows by relieve() only
};

}  // namespace acma::host
