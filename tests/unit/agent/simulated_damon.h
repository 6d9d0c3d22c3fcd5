// SPDX-License-Identifier: Apache-2.0
// The fake kernel of tests/unit/damon as files: it answers each write, and what its tree says then
// is what the files say. Reading and listing are real.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/units.h"
#include "platform/damon_sysfs.h"
#include "tests/unit/damon/simulated_tree.h"
#include "tests/unit/temp_dir.h"

namespace acma::agent {

class SimulatedDamon {
  public:
    explicit SimulatedDamon(const damon::test::Captured& kernel);

    [[nodiscard]] platform::SysfsIo io();
    [[nodiscard]] std::string admin() const { return dir_.path("admin"); }
    [[nodiscard]] const testing::TempDir& dir() const { return dir_; }  // for the agent's files

    // Before each write, by the thread that writes.
    std::function<void(const damon::Write&)> on_write;
    // The next commit fails.
    void refuse_commit() { commit_ = Commit::refused; }
    // The next commit succeeds and ends the kdamond, as on 6.12.
    void end_at_commit() { commit_ = Commit::ends; }
    // The kdamond ends by itself.
    void end();
    // Of somebody else: not in the log.
    void write_as_other(const damon::Write& write);

    [[nodiscard]] std::vector<damon::Write> log() const;
    [[nodiscard]] bool is_on() const;
    [[nodiscard]] std::string pid() const;

  private:
    enum class Commit { usual, refused, ends };

    Status write(const std::string& file, std::string_view value);
    std::string answer(const damon::Write& write);
    void count_everything();
    void show();

    testing::TempDir dir_;
    mutable std::mutex mutex_;  // protects what follows
    damon::test::SimulatedTree tree_;
    damon::Tree shown_;
    std::vector<damon::Write> log_;
    Commit commit_ = Commit::usual;
};

}  // namespace acma::agent
