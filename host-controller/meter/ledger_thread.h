// SPDX-License-Identifier: Apache-2.0
// The ledger on a thread of its own: a disk may take seconds, and the reactor must not wait for it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host-controller/meter/ledger.h"

namespace acma::host {

class LedgerThread final : public UsageLedger {
  public:
    // `post` brings work to the reactor, from any thread.
    using Post = std::function<void(std::function<void()>)>;
    LedgerThread(std::unique_ptr<UsageStore> store, Post post, Ledger::Say say);
    // Carries out what was asked before, and says what is to be said.
    ~LedgerThread() override;
    LedgerThread(const LedgerThread&) = delete;
    LedgerThread& operator=(const LedgerThread&) = delete;

    void add(UsageBatch batch, std::function<void(bool written)> taken) override;
    void read(const UsagePeriod& period, std::function<void(const UsageAnswer&)> done) override;

  private:
    using Work = std::function<void(Ledger&)>;
    void enqueue(Work work);
    void run(const std::stop_token& stop);
    void say_all();

    const std::unique_ptr<UsageStore> store_;
    const Post post_;
    const Ledger::Say say_;

    std::mutex mutex_;  // protects what follows
    std::condition_variable_any wake_;
    std::deque<Work> queue_;
    std::vector<std::pair<bool, std::string>> said_;  // to be said on the reactor
    std::jthread thread_;                             // last: it uses all of the above
};

}  // namespace acma::host
