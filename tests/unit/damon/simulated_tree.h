// SPDX-License-Identifier: Apache-2.0
// A fake of the kernel's DAMON sysfs, driven by a capture from a real one: which files a new
// directory has, what they say, which words are taken and how commands answer all come from there.
// It knows nothing of the code under test.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "engine/damon/tree.h"
#include "tests/unit/damon/captured.h"

namespace acma::damon::test {

class SimulatedTree {
  public:
    explicit SimulatedTree(const Captured& kernel);

    // "ok" or an errno's name.
    std::string write(std::string_view path, std::string_view value);
    std::string write(const Write& write) { return this->write(write.path, write.value); }
    // Until one fails; its answer.
    std::string apply(const Plan& plan);

    // As platform would read it: without state and pid while a command is pending.
    [[nodiscard]] Tree tree() const;

    // Another program's command is being handled: the DAMON sysfs lock is held.
    void set_command_pending(bool pending) { pending_ = pending; }
    // DAMON_STAT, DAMON_RECLAIM or DAMON_LRU_SORT is enabled.
    void set_exclusive_user(bool exclusive) { exclusive_ = exclusive; }
    // What the kernel fills in by itself (stats, tried regions).
    void set(std::string_view path, std::string_view value);

  private:
    std::string write_number_of(const std::string& path, std::string_view value);
    std::string write_state(const std::string& kdamond, std::string_view word);
    std::string start(const std::string& kdamond);
    std::string write_value(const std::string& path, std::string_view value);
    std::string word_answer(const std::string& path, std::string_view word) const;
    void create(const std::string& dir);
    void destroy_children(const std::string& dir);
    [[nodiscard]] bool is_running(const std::string& kdamond) const;
    [[nodiscard]] bool any_running() const;
    // What the kernel finds wrong when it builds a context: an errno's name, or empty.
    [[nodiscard]] std::string refusal(const std::string& kdamond) const;
    [[nodiscard]] std::string refusal_of_regions(const std::string& dir) const;
    [[nodiscard]] uint64_t number(const std::string& path) const;

    const Captured& kernel_;
    Tree tree_;
    std::set<std::string> started_;  // kdamonds that have been on
    int next_pid_ = 100;
    bool pending_ = false;
    bool exclusive_ = false;
};

}  // namespace acma::damon::test
