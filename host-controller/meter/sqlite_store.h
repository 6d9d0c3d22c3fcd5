// SPDX-License-Identifier: Apache-2.0
// Usage in a SQLite file, in WAL mode with a sync at each commit: what was committed survives a
// crash and a power cut, and what was not is not there. The file is opened anew after each failure,
// so it may be missing, read-only or full for a while, or be replaced.
//
// Tables: vm (uuid, name, ended_us: NULL while it runs), usage (hour: seconds since 1970, vm,
// used_byte_seconds, above_min_byte_seconds, measured_us, missing_us), gap (from_us, to_us, vm),
// state (the moment that the last commit covers).
#pragma once

#include <optional>
#include <string>

#include "host-controller/meter/sqlite.h"
#include "host-controller/meter/store.h"

namespace acma::host {

class SqliteStore final : public UsageStore {
  public:
    struct Options {
        std::string path;
        Micros retention{0};  // what is older is removed
        std::string
            boot;  // tells one boot of the host, whose monotonic time goes on, from the next
    };
    explicit SqliteStore(Options options) : options_(std::move(options)) {}

    [[nodiscard]] Result<std::optional<UsageGap>> commit(const UsageBatch& batch) override;
    [[nodiscard]] Result<UsageTotals> read(const UsagePeriod& period) override;

  private:
    struct Last {
        std::string boot;
        Moment at;
    };
    [[nodiscard]] Status open();
    [[nodiscard]] Status create();
    [[nodiscard]] Result<std::optional<UsageGap>> write(const UsageBatch& batch);
    [[nodiscard]] Result<std::optional<Last>> last_commit();
    [[nodiscard]] Result<std::optional<UsageGap>> write_gap(const Last& last, const Moment& until);
    [[nodiscard]] Status write_vms(const UsageBatch& batch, bool names_only);
    [[nodiscard]] Status write_state(const Moment& until);
    [[nodiscard]] Status remove_old(Micros wall);
    [[nodiscard]] Result<UsageTotals> sum(const UsagePeriod& period);
    [[nodiscard]] Status add_gaps(const UsagePeriod& period, UsageTotals& totals);
    [[nodiscard]] Error failed(const Error& error);

    const Options options_;
    std::optional<sqlite::Database> database_;
    std::optional<Time> removed_at_;
};

}  // namespace acma::host
