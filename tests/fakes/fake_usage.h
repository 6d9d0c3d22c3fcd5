// SPDX-License-Identifier: Apache-2.0
// The meter's store and ledger without a disk and a thread.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "host-controller/meter/ledger.h"

namespace acma::fakes {

class FakeUsageStore final : public host::UsageStore {
  public:
    std::optional<Error> error;         // what commit() fails with
    std::optional<host::UsageGap> gap;  // what it tells
    std::vector<host::UsageBatch> batches;

    Result<std::optional<host::UsageGap>> commit(const host::UsageBatch& batch) override {
        if (error) {
            return *error;
        }
        batches.push_back(batch);
        return std::exchange(gap, std::nullopt);
    }
    Result<host::UsageTotals> read(const host::UsagePeriod& period) override {
        host::UsageTotals totals;
        for (const host::UsageBatch& batch : batches) {
            for (const auto& [uuid, vm] : batch.vms) {
                for (const auto& [hour, usage] : vm.hours) {
                    if (hour >= period.since && hour < period.until) {
                        totals[uuid].name = vm.name;
                        totals[uuid].usage += usage;
                    }
                }
            }
        }
        return totals;
    }
};

// Answers at once, or when it is told to go on.
class FakeUsageLedger final : public host::UsageLedger {
  public:
    FakeUsageStore store;
    bool hangs = false;

    void add(host::UsageBatch batch, std::function<void(bool)> taken) override {
        const bool written = ledger_.add(std::move(batch));
        answer([taken = std::move(taken), written] { taken(written); });
    }
    void read(const host::UsagePeriod& period,
              std::function<void(const host::UsageAnswer&)> done) override {
        answer([this, period, done = std::move(done)] { done(ledger_.read(period)); });
    }
    void go_on() {
        hangs = false;
        for (const auto& waiting : std::exchange(waiting_, {})) {
            waiting();
        }
    }

  private:
    void answer(std::function<void()> answer) {
        if (hangs) {
            waiting_.push_back(std::move(answer));
        } else {
            answer();
        }
    }
    host::Ledger ledger_{store, [](bool, const std::string&) {}};
    std::vector<std::function<void()>> waiting_;
};

}  // namespace acma::fakes
