// SPDX-License-Identifier: Apache-2.0
// The last decisions about a VM, oldest first, for `acmactl explain`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "proto/controller_api.h"

namespace acma::host {

// A VM that is changed once a minute is explained for an hour; 1,000 VMs need about 20 MB at most.
constexpr size_t k_history = 64;
// Of these, what a guest can cause as often as it likes (its agent comes, goes, lies): so a
// restless guest cannot push the decisions out.
constexpr size_t k_guest_history = 16;

class History {
  public:
    enum class Cause { decision, guest };

    // The same entry twice in a row is kept once.
    void add(proto::ExplainEntry entry, Cause cause) {
        if (!entries_.empty() && entries_.back().decision == entry.decision &&
            entries_.back().reason == entry.reason) {
            return;
        }
        if (cause == Cause::guest && ++by_guest_ > k_guest_history) {
            drop_oldest(Cause::guest);
        }
        entries_.push_back(std::move(entry));
        causes_.push_back(cause);
        if (entries_.size() > k_history) {
            drop_oldest(causes_.front());
        }
        decisions_ += cause == Cause::decision ? 1 : 0;
    }
    [[nodiscard]] const std::deque<proto::ExplainEntry>& entries() const { return entries_; }
    // Nothing: none yet.
    [[nodiscard]] const proto::ExplainEntry* last_decision() const {
        const auto last = std::find(causes_.rbegin(), causes_.rend(), Cause::decision);
        return last == causes_.rend() ? nullptr : &*(entries_.rbegin() + (last - causes_.rbegin()));
    }
    [[nodiscard]] uint64_t decisions_total() const { return decisions_; }

  private:
    void drop_oldest(Cause cause) {
        const auto oldest = std::find(causes_.begin(), causes_.end(), cause);
        entries_.erase(entries_.begin() + (oldest - causes_.begin()));
        causes_.erase(oldest);
        by_guest_ -= cause == Cause::guest ? 1 : 0;
    }

    std::deque<proto::ExplainEntry> entries_;
    std::deque<Cause> causes_;  // of each entry
    size_t by_guest_ = 0;
    uint64_t decisions_ = 0;
};

}  // namespace acma::host
