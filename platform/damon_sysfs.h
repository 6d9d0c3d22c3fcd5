// SPDX-License-Identifier: Apache-2.0
// /sys/kernel/mm/damon/admin: reads the tree, applies plans, sends state commands. The kernel takes
// its lock with trylock, so every access may fail with EBUSY for a moment: each is tried again
// until its patience is over. What the tree means is engine/damon.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/damon/features.h"
#include "engine/damon/model.h"
#include "engine/damon/tree.h"
#include "platform/clock.h"
#include "platform/file.h"

namespace acma::platform {

// A pending command holds the lock for at most an apply step, or, on 6.12, shortly every 100 ms.
constexpr Micros k_damon_patience = Seconds(2);

// How its files are read and written, and how the time between two tries passes. Tests put a kernel
// and a clock of their own here: no plain file is busy.
struct SysfsIo {
    std::function<Result<std::string>(const std::string& path)> read = read_file;
    std::function<Status(const std::string& path, std::string_view value)> write = write_file;
    std::function<Time()> now = platform::now;
    std::function<void(Micros)> sleep = platform::sleep_for;
};

class DamonSysfs {
  public:
    explicit DamonSysfs(std::string admin_dir, SysfsIo io = {})
        : dir_(std::move(admin_dir)), io_(std::move(io)) {}

    [[nodiscard]] bool present() const;

    // Every file below the directory; state and pid are left out while they are busy.
    [[nodiscard]] Result<damon::Tree> read_tree() const;

    // In order, stops at the first that fails; the error names the file and the value.
    [[nodiscard]] Status apply(const damon::Plan& plan, Micros patience = k_damon_patience) const;

    // Blocks until the kernel has handled it: up to an aggregation interval for commit on 6.12.
    [[nodiscard]] Status command(size_t kdamond, damon::StateCommand command,
                                 Micros patience = k_damon_patience) const;

    [[nodiscard]] Result<damon::State> state(size_t kdamond) const;

    // The pid of the kernel thread; -1 while it is off.
    [[nodiscard]] Result<int> pid(size_t kdamond) const;

    // What a scheme did since its kdamond was switched on, as of the last update_schemes_stats.
    struct Done {
        Bytes tried;                // sz_tried
        Bytes applied;              // sz_applied
        uint64_t full_windows = 0;  // qt_exceeds
    };
    [[nodiscard]] Result<Done> scheme_done(size_t kdamond, size_t scheme) const;

    // The regions that a scheme tried in one pass, as of the last update_schemes_tried_regions, by
    // address: start, end, nr_accesses and age.
    [[nodiscard]] Result<damon::TriedRegions> tried_regions(size_t kdamond, size_t scheme) const;

    // Stages a dummy tree to see what this kernel has, and clears it again. The tree must be free.
    [[nodiscard]] Result<damon::Features> detect_features() const;

    [[nodiscard]] std::string path(std::string_view relative) const;

  private:
    // Tries until it is not busy any more or the patience is over.
    template <typename Try>
    auto patiently(Micros patience, Try attempt) const;
    [[nodiscard]] Status write(const damon::Write& write, Micros patience) const;
    [[nodiscard]] Result<uint64_t> read_number(const std::string& file) const;

    std::string dir_;
    SysfsIo io_;
};

}  // namespace acma::platform
