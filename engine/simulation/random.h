// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same everywhere for the same seed (SplitMix64).
#pragma once

#include <cstdint>

#include "engine/base/units.h"

namespace acma::simulation {

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}

    [[nodiscard]] uint64_t next() {
        state_ += 0x9e3779b97f4a7c15;
        uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }
    // From `least` to `most`, both included.
    [[nodiscard]] uint64_t between(uint64_t least, uint64_t most) {
        return most <= least ? least : least + next() % (most - least + 1);
    }
    [[nodiscard]] Bytes between(Bytes least, Bytes most) {
        return Bytes(between(least.count(), most.count()));
    }
    [[nodiscard]] Micros between(Micros least, Micros most) {
        return Micros(static_cast<int64_t>(
            between(static_cast<uint64_t>(least.count()), static_cast<uint64_t>(most.count()))));
    }

  private:
    uint64_t state_;
};

}  // namespace acma::simulation
