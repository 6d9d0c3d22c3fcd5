// SPDX-License-Identifier: Apache-2.0
// How long something took, as Prometheus counts it: four buckets for each doubling, from 64 us to
// 4 s.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "engine/base/units.h"

namespace acma::host {

class DurationHistogram {
  public:
    static constexpr size_t k_buckets = 64;

    void add(Micros took) {
        const auto us = static_cast<uint64_t>(took.count() > 0 ? took.count() : 0);
        ++counts_[bucket_of(us)];
        ++count_;
        sum_us_ += us;
    }
    // The bucket's bound, up to and including which it counts.
    [[nodiscard]] static constexpr Micros bound(size_t bucket) {
        return Micros(static_cast<int64_t>((4 + bucket % 4) << (bucket / 4 + 4)));
    }
    // Of the bucket itself. The one past the last counts what is longer than every bound.
    [[nodiscard]] uint64_t in_bucket(size_t bucket) const { return counts_[bucket]; }
    [[nodiscard]] uint64_t count() const { return count_; }
    [[nodiscard]] Micros sum() const { return Micros(static_cast<int64_t>(sum_us_)); }

  private:
    static constexpr uint64_t k_first = 64;
    static constexpr size_t bucket_of(uint64_t us) {
        if (us <= k_first) {
            return 0;
        }
        // The bounds of a doubling are 4, 5, 6 and 7 eighths of it.
        const auto doubling = static_cast<size_t>(std::bit_width(us - 1)) - 7;
        const size_t part = ((us - 1) >> (doubling + 4)) - 4;
        const size_t bucket = doubling * 4 + part + 1;
        return bucket < k_buckets ? bucket : k_buckets;
    }

    std::array<uint64_t, k_buckets + 1> counts_{};
    uint64_t count_ = 0;
    uint64_t sum_us_ = 0;
};

// What the controller measures of itself.
struct Timings {
    // Of one VM: from when its agent is due to be asked until its answer is decided upon.
    DurationHistogram cycle;
    // Over all VMs, once a second: what has changed by itself, and the arbiter.
    DurationHistogram pass;
};

}  // namespace acma::host
