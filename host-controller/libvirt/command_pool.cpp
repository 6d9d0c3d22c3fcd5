// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/command_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace acma::host {

CommandPool::CommandPool() {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < k_regular; ++i) {
        add_worker(false);
    }
}

CommandPool::~CommandPool() {
    for (Place& place : places_) {
        place.thread.request_stop();
    }
    for (Place& place : places_) {
        place.thread.join();  // before any place goes: they look at each other's
    }
}

bool CommandPool::post(const VmId& vm, Command command) {
    {
        const std::lock_guard lock(mutex_);
        const auto of_this =
            std::count_if(waiting_.begin(), waiting_.end(),
                          [&vm](const Waiting& waiting) { return waiting.vm == vm; });
        if (waiting_.size() >= k_max_waiting || of_this >= k_max_waiting_of_one) {
            return false;
        }
        waiting_.push_back(Waiting{vm, std::move(command)});
    }
    wake_.notify_all();  // not each worker may take it
    return true;
}

size_t CommandPool::workers() {
    const std::lock_guard lock(mutex_);
    return places_.size();
}

void CommandPool::add_worker(bool hired) {
    Place& place = places_.emplace_back();
    place.hired = hired;
    place.thread = std::jthread([this, &place](const std::stop_token& stop) { work(stop, place); });
}

void CommandPool::relieve(Time now) {
    const std::lock_guard lock(mutex_);
    let_go(now);
    if (next_runnable() == waiting_.end()) {
        stuck_since_.reset();
        return;
    }
    stuck_since_ = stuck_since_.value_or(now);
    if (now - *stuck_since_ < k_patience || places_.size() >= k_most) {
        return;
    }
    stuck_since_.reset();
    try {
        add_worker(true);
    } catch (const std::system_error&) {
        places_.pop_back();  // no thread to be had now: a later look tries again
    }
}

// One that leaves closes its connection first, which may take its time: it is waited for only when
// that is done.
void CommandPool::let_go(Time now) {
    std::erase_if(places_, [](const Place& place) { return place.left; });
    for (Place& place : places_) {
        if (place.hired && !place.at_work) {
            place.rests_since = place.rests_since.value_or(now);
            if (now - *place.rests_since >= k_rest) {
                place.thread.request_stop();
            }
        }
    }
}

std::deque<CommandPool::Waiting>::iterator CommandPool::next_runnable() {
    return std::find_if(waiting_.begin(), waiting_.end(),
                        [this](const Waiting& waiting) { return !running_.contains(waiting.vm); });
}

// While a regular worker is free the hired ones rest.
bool CommandPool::may_take(const Place& place) {
    const bool needed =
        !place.hired || std::all_of(places_.begin(), places_.end(),
                                    [](auto& other) { return other.hired || other.at_work; });
    return needed && next_runnable() != waiting_.end();
}

void CommandPool::work(const std::stop_token& stop, Place& place) {
    std::unique_lock lock(mutex_);
    Worker worker{.hired = place.hired};
    while (wake_.wait(lock, stop, [this, &place] { return may_take(place); })) {
        if (stop.stop_requested()) {
            break;
        }
        const auto chosen = next_runnable();
        const Waiting taken = std::move(*chosen);
        waiting_.erase(chosen);
        running_.insert(taken.vm);
        place.at_work = true;
        place.rests_since.reset();
        stuck_since_.reset();
        wake_.notify_all();  // the last free one may have got work: now the hired ones may
        lock.unlock();
        taken.command(worker);
        lock.lock();
        running_.erase(taken.vm);
        place.at_work = false;
        wake_.notify_all();  // more of this domain may wait
    }
    lock.unlock();
    worker.connection.reset();
    lock.lock();
    place.left = true;
}

}  // namespace acma::host
