// SPDX-License-Identifier: Apache-2.0
#include "host-controller/decisions/decision_log.h"

#include "proto/decision_json.h"

namespace acma::host {

DecisionLog::DecisionLog(const std::string& path, Bytes most, Post post, Say say)
    : path_(path),
      post_(std::move(post)),
      say_(std::move(say)),
      file_(path, most),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

DecisionLog::~DecisionLog() {
    thread_.request_stop();
    thread_.join();
    say_all();  // the reactor does not run any more
}

void DecisionLog::add(arbiter::Record record) {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= k_most_waiting) {
        ++overflown_;
        return;
    }
    queue_.push_back(std::move(record));
    wake_.notify_one();
}

void DecisionLog::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    // False when it is to stop and nothing waits.
    while (wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
        arbiter::Record record = std::move(queue_.front());
        queue_.pop_front();
        dropped_ += std::exchange(overflown_, 0);
        lock.unlock();
        write(std::move(record));
        lock.lock();
    }
}

void DecisionLog::write(arbiter::Record record) {
    record.dropped = dropped_;
    const Status written = file_.append(proto::to_json(record, proto::Layout::line));
    if (!written) {
        ++dropped_;
        if (!std::exchange(fails_, true)) {
            tell(true, "decision log: " + written.error().message +
                           "; decisions are dropped until it can be written");
        }
        return;
    }
    if (dropped_ > 0) {
        tell(true, "decision log: " + std::to_string(dropped_) + " decisions were dropped, " +
                       path_ + " is written again");
    }
    dropped_ = 0;
    fails_ = false;
}

void DecisionLog::tell(bool warning, std::string text) {
    const std::lock_guard lock(mutex_);
    said_.emplace_back(warning, std::move(text));
    post_([this] { say_all(); });
}

void DecisionLog::say_all() {
    std::vector<std::pair<bool, std::string>> said;
    {
        const std::lock_guard lock(mutex_);
        said.swap(said_);
    }
    for (const auto& [warning, text] : said) {
        say_(warning, text);
    }
}

}  // namespace acma::host
