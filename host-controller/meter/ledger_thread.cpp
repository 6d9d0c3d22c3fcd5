// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/ledger_thread.h"

#include <utility>

namespace acma::host {

LedgerThread::LedgerThread(std::unique_ptr<UsageStore> store, Post post, Ledger::Say say)
    : store_(std::move(store)),
      post_(std::move(post)),
      say_(std::move(say)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

LedgerThread::~LedgerThread() {
    thread_.request_stop();
    thread_.join();
    say_all();  // the reactor does not run any more
}

void LedgerThread::run(const std::stop_token& stop) {
    Ledger ledger(*store_, [this](bool warning, const std::string& text) {
        const std::lock_guard lock(mutex_);
        said_.emplace_back(warning, text);
        post_([this] { say_all(); });
    });
    std::unique_lock lock(mutex_);
    // False when it is to stop and nothing waits.
    while (wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
        const Work work = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        work(ledger);
        lock.lock();
    }
    lock.unlock();
}

void LedgerThread::say_all() {
    std::vector<std::pair<bool, std::string>> said;
    {
        const std::lock_guard lock(mutex_);
        said.swap(said_);
    }
    for (const auto& [warning, text] : said) {
        say_(warning, text);
    }
}

void LedgerThread::enqueue(Work work) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    wake_.notify_one();
}

void LedgerThread::add(UsageBatch batch, std::function<void(bool written)> taken) {
    // Shared, since a std::function is copied.
    auto shared = std::make_shared<UsageBatch>(std::move(batch));
    enqueue([this, shared, taken = std::move(taken)](Ledger& ledger) {
        const bool written = ledger.add(std::move(*shared));
        post_([taken, written] { taken(written); });
    });
}

void LedgerThread::read(const UsagePeriod& period, std::function<void(const UsageAnswer&)> done) {
    enqueue([this, period, done = std::move(done)](Ledger& ledger) {
        post_([answer = ledger.read(period), done] { done(answer); });
    });
}

}  // namespace acma::host
