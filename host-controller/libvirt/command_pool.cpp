// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/command_pool.h"

#include <algorithm>
#include <utility>

namespace acma::host {

CommandPool::CommandPool() {
    for (size_t i = 0; i < k_workers; ++i) {
        workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
}

CommandPool::~CommandPool() {
    for (std::jthread& worker : workers_) {
        worker.request_stop();
    }
    workers_.clear();
}

bool CommandPool::post(const VmId& vm, Command command) {
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() >= k_max_waiting) {
            return false;
        }
        waiting_.push_back(Waiting{vm, std::move(command)});
    }
    wake_.notify_one();
    return true;
}

std::deque<CommandPool::Waiting>::iterator CommandPool::next_runnable() {
    return std::find_if(waiting_.begin(), waiting_.end(),
                        [this](const Waiting& waiting) { return !running_.contains(waiting.vm); });
}

void CommandPool::work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (wake_.wait(lock, stop, [this] { return next_runnable() != waiting_.end(); })) {
        if (stop.stop_requested()) {
            return;
        }
        const auto chosen = next_runnable();
        const Waiting taken = std::move(*chosen);
        waiting_.erase(chosen);
        running_.insert(taken.vm);
        lock.unlock();
        taken.command();
        lock.lock();
        running_.erase(taken.vm);
        wake_.notify_all();  // more of this domain may wait
    }
}

}  // namespace acma::host
