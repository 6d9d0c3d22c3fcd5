// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/command_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace acma::host {

CommandPool::CommandPool() {
    for (size_t i = 0; i < k_regular; ++i) {
        workers_.emplace_back([this](const std::stop_token& stop) { work(stop, Worker::regular); });
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
    wake_.notify_all();  // not each worker may take it
    return true;
}

void CommandPool::relieve(Time now) {
    {
        const std::lock_guard lock(mutex_);
        const bool stuck = next_runnable() != waiting_.end() && !taken_since_look_;
        taken_since_look_ = false;
        idle_since_ = stuck ? idle_since_.value_or(now) : std::optional<Time>();
        if (!stuck || now - *idle_since_ < k_patience || workers_.size() >= k_most) {
            return;
        }
        idle_since_.reset();
    }
    try {
        workers_.emplace_back([this](const std::stop_token& stop) { work(stop, Worker::hired); });
    } catch (const std::system_error&) {
        // No thread to be had now: the next look tries again.
    }
}

std::deque<CommandPool::Waiting>::iterator CommandPool::next_runnable() {
    return std::find_if(waiting_.begin(), waiting_.end(),
                        [this](const Waiting& waiting) { return !running_.contains(waiting.vm); });
}

// Once the regular workers are free again the hired ones rest.
bool CommandPool::may_take(Worker worker) {
    const bool needed = worker == Worker::regular || regular_at_work_ == k_regular;
    return needed && next_runnable() != waiting_.end();
}

void CommandPool::work(const std::stop_token& stop, Worker worker) {
    std::unique_lock lock(mutex_);
    while (wake_.wait(lock, stop, [this, worker] { return may_take(worker); })) {
        if (stop.stop_requested()) {
            return;
        }
        const auto chosen = next_runnable();
        const Waiting taken = std::move(*chosen);
        waiting_.erase(chosen);
        running_.insert(taken.vm);
        taken_since_look_ = true;
        if (worker == Worker::regular && ++regular_at_work_ == k_regular) {
            wake_.notify_all();  // now the hired ones may
        }
        lock.unlock();
        taken.command(worker);
        lock.lock();
        running_.erase(taken.vm);
        regular_at_work_ -= worker == Worker::regular ? 1 : 0;
        wake_.notify_all();  // more of this domain may wait
    }
}

}  // namespace acma::host
