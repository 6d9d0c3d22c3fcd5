// SPDX-License-Identifier: Apache-2.0
// Brings batches of usage into the store, and keeps what the store does not take. Says once that it
// fails and once that it works again. Calls may wait for the disk: LedgerThread has it on a thread
// of its own.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "host-controller/meter/store.h"

namespace acma::host {

class Ledger {
  public:
    using Say = std::function<void(bool warning, const std::string& text)>;
    // Hours of VMs that are kept in memory at most, some 10 MB: more than two days of 1,000 VMs.
    static constexpr size_t k_most_unwritten = 65'536;

    Ledger(UsageStore& store, Say say) : store_(store), say_(std::move(say)) {}
    // Says what is lost.
    ~Ledger();
    Ledger(const Ledger&) = delete;
    Ledger& operator=(const Ledger&) = delete;

    // Whether it is written, with all that was kept.
    bool add(UsageBatch batch);
    [[nodiscard]] UsageAnswer read(const UsagePeriod& period);

  private:
    void tell_gap(const UsageGap& gap);
    void keep(const std::string& why);

    UsageStore& store_;
    const Say say_;
    std::optional<UsageBatch> unwritten_;
    std::string problem_;  // empty while the store works
};

}  // namespace acma::host
