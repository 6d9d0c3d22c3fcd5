// SPDX-License-Identifier: Apache-2.0
// The last decisions about a VM, oldest first, for `acmactl explain`. Kept packed: as structs 64
// entries took 60 KiB, more than all the rest that is known of a VM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/controller_api.h"

namespace acma::host {

// A VM that is changed once a minute is explained for an hour.
constexpr size_t k_history = 64;
// Of these, what a guest can cause as often as it likes (its agent comes, goes, lies): so a
// restless guest cannot push the decisions out.
constexpr size_t k_guest_history = 16;
// All of them together: half of what a VM may cost the controller. An entry takes about 200 bytes;
// with the longest of sentences they are fewer.
constexpr size_t k_history_bytes = 16 * 1024;

class History {
  public:
    enum class Cause { decision, guest };

    // The same entry twice in a row is kept once.
    void add(const proto::ExplainEntry& entry, Cause cause);
    [[nodiscard]] std::vector<proto::ExplainEntry> entries() const;
    [[nodiscard]] std::string last_reason() const;  // empty: there are no entries
    // Nothing: none yet.
    [[nodiscard]] std::optional<proto::ExplainEntry> last_decision() const;
    [[nodiscard]] uint64_t decisions_total() const { return decisions_; }

  private:
    struct Packed {
        Cause cause = Cause::decision;
        std::string bytes;
        [[nodiscard]] size_t size() const { return sizeof(Packed) + bytes.size(); }
    };
    void drop(std::vector<Packed>::iterator entry);
    [[nodiscard]] std::string pack(const proto::ExplainEntry& entry);
    [[nodiscard]] proto::ExplainEntry unpack(const std::string& bytes) const;
    [[nodiscard]] size_t word(const std::string& text);

    std::vector<Packed> entries_;
    // The names of decisions and numbers, which come again and again: entries have their places.
    std::vector<std::string> words_;
    size_t bytes_ = 0;
    size_t by_guest_ = 0;
    uint64_t decisions_ = 0;
};

}  // namespace acma::host
