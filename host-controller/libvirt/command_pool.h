// SPDX-License-Identifier: Apache-2.0
// Runs commands to domains. A QEMU that hangs holds a libvirt call for ever (its monitor has no
// timeout), so such calls never run on the event thread, and one domain never has more than one
// running: it can hold up one worker, not the others' domains. When domains that hang hold all the
// workers, others are hired, for as long as they are needed.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "engine/base/units.h"
#include "host-controller/libvirt/handles.h"
#include "host-controller/metadata/domain_xml.h"

namespace acma::host {

class CommandPool {
  public:
    // libvirtd serves 5 calls of one client at a time (max_client_requests). The regular workers
    // share the one connection, and one call stays for reads; a hired one needs a connection of
    // its own, which the first command opens here and which lasts as long as the worker.
    struct Worker {
        bool hired = false;
        std::shared_ptr<virConnect> connection;
    };
    using Command = std::function<void(Worker&)>;

    static constexpr size_t k_regular = 4;
    // libvirtd has 20 workers of its own for all its clients (max_workers): it must not be us who
    // take the last.
    static constexpr size_t k_most = 16;
    // What does not hang takes milliseconds, on a host that is starved perhaps a second.
    static constexpr Micros k_patience{2'000'000};
    // A hired worker goes, with its connection, when it has had nothing to do for this long.
    static constexpr Micros k_rest{60'000'000};
    // Beyond these a command is refused: something hangs, and later commands would be stale anyway.
    // One domain that hangs must not take up the others' places.
    static constexpr size_t k_max_waiting = 4096;
    static constexpr std::ptrdiff_t k_max_waiting_of_one = 8;

    CommandPool();
    ~CommandPool();  // drops what waits, and waits for what runs
    CommandPool(const CommandPool&) = delete;
    CommandPool& operator=(const CommandPool&) = delete;

    // In order for one domain. False: refused.
    [[nodiscard]] bool post(const VmId& vm, Command command);

    // Call now and then. Hires a worker when all that are there are stuck in the commands that they
    // have, though another could run; lets hired ones go that have had nothing to do for long.
    void relieve(Time now);
    [[nodiscard]] size_t workers();

  private:
    struct Waiting {
        VmId vm;
        Command command;
    };
    struct Place {
        bool hired = false;
        bool at_work = false;
        bool left = false;
        std::optional<Time> rests_since;
        std::jthread thread;
    };
    void add_worker(bool hired);
    void work(const std::stop_token& stop, Place& place);
    void let_go(Time now);
    std::deque<Waiting>::iterator next_runnable();
    [[nodiscard]] bool may_take(const Place& place);

    std::mutex mutex_;  // protects all
    std::deque<Waiting> waiting_;
    std::set<VmId> running_;
    std::optional<Time> stuck_since_;  // something could run, and nobody has taken up anything
    std::condition_variable_any wake_;
    std::list<Place> places_;
};

}  // namespace acma::host
