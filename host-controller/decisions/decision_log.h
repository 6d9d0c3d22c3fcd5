// SPDX-License-Identifier: Apache-2.0
// Keeps what the arbiter was told and what it said, for `acmactl replay`: a line of JSON a cycle
// (proto/decision_json.h). On a thread of its own, since a disk may take seconds. What cannot be
// written is dropped, which is said once, and counted in the next line that can.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/arbiter/record.h"
#include "host-controller/decisions/rotating_file.h"

namespace acma::host {

class DecisionLog {
  public:
    // Cycles that wait for the disk at most.
    static constexpr size_t k_most_waiting = 16;

    using Say = std::function<void(bool warning, const std::string& text)>;
    // Brings work to the reactor, from any thread.
    using Post = std::function<void(std::function<void()>)>;
    DecisionLog(const std::string& path, Bytes most, Post post, Say say);
    // Writes what waits.
    ~DecisionLog();
    DecisionLog(const DecisionLog&) = delete;
    DecisionLog& operator=(const DecisionLog&) = delete;

    void add(arbiter::Record record);

  private:
    void run(const std::stop_token& stop);
    void write(arbiter::Record record);
    void tell(bool warning, std::string text);
    void say_all();

    const std::string path_;
    const Post post_;
    const Say say_;

    // The thread's.
    RotatingFile file_;
    uint64_t dropped_ = 0;  // since the last line
    bool fails_ = false;

    std::mutex mutex_;  // protects what follows
    std::condition_variable_any wake_;
    std::deque<arbiter::Record> queue_;
    uint64_t overflown_ = 0;  // were not even queued
    std::vector<std::pair<bool, std::string>> said_;
    std::jthread thread_;  // last: it uses all of the above
};

}  // namespace acma::host
