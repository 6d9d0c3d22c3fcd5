// SPDX-License-Identifier: Apache-2.0
// Where usage is kept for good, and how it is handed there. Real: SqliteStore behind a
// LedgerThread; scripted ones are in tests/fakes.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "engine/base/result.h"
#include "host-controller/meter/usage.h"

namespace acma::host {

// Time that nobody gathered usage in, by the wall clock: counted as missing for the VMs that ran
// when it began. From and to are equal where its length is not known.
struct UsageGap {
    Micros from{0};
    Micros to{0};
    size_t vms = 0;
    bool operator==(const UsageGap&) const = default;
};

// Hours that begin in [since, until).
struct UsagePeriod {
    Hour since{0};
    Hour until{0};
};

struct UsageTotal {
    std::string name;  // the last that it had
    Usage usage;
    bool operator==(const UsageTotal&) const = default;
};
using UsageTotals = std::map<std::string, UsageTotal>;  // by UUID

// Calls may wait for the disk.
class UsageStore {
  public:
    virtual ~UsageStore() = default;
    // All of the batch, so that it survives a crash and a power cut, or nothing of it. Gives the
    // gap between this batch and the last one.
    [[nodiscard]] virtual Result<std::optional<UsageGap>> commit(const UsageBatch& batch) = 0;
    [[nodiscard]] virtual Result<UsageTotals> read(const UsagePeriod& period) = 0;
};

struct UsageAnswer {
    UsageTotals totals;
    std::string problem;  // why the totals may not be whole; empty if they are
};

// The same for the reactor: calls return at once, and are carried out in their order.
class UsageLedger {
  public:
    virtual ~UsageLedger() = default;
    // A batch that cannot be written is kept and tried again with the next one. `taken` when it was
    // tried: whether it is written.
    virtual void add(UsageBatch batch, std::function<void(bool written)> taken) = 0;
    // Also what could not be written yet.
    virtual void read(const UsagePeriod& period, std::function<void(const UsageAnswer&)> done) = 0;
};

}  // namespace acma::host
