// SPDX-License-Identifier: Apache-2.0
// Runs commands to domains. A QEMU that hangs holds a libvirt call for ever (its monitor has no
// timeout), so such calls never run on the event thread, and one domain never has more than one
// running: it can hold up one worker, not the others' domains.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "host-controller/metadata/domain_xml.h"

namespace acma::host {

class CommandPool {
  public:
    using Command = std::function<void()>;

    // libvirtd serves 5 calls of one client at a time (max_client_requests); one stays for reads.
    static constexpr size_t k_workers = 4;
    // Beyond it a command is refused: something hangs, and later commands would be stale anyway.
    static constexpr size_t k_max_waiting = 4096;

    CommandPool();
    ~CommandPool();  // drops what waits, and waits for what runs
    CommandPool(const CommandPool&) = delete;
    CommandPool& operator=(const CommandPool&) = delete;

    // In order for one domain. False: refused.
    [[nodiscard]] bool post(const VmId& vm, Command command);

  private:
    struct Waiting {
        VmId vm;
        Command command;
    };
    void work(const std::stop_token& stop);
    std::deque<Waiting>::iterator next_runnable();

    std::mutex mutex_;  // protects waiting_ and running_
    std::deque<Waiting> waiting_;
    std::set<VmId> running_;
    std::condition_variable_any wake_;
    std::vector<std::jthread> workers_;
};

}  // namespace acma::host
