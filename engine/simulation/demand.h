// SPDX-License-Identifier: Apache-2.0
// What the programs of a guest want of its memory, over time.
#pragma once

#include <vector>

#include "engine/base/units.h"

namespace acma::simulation {

struct Load {
    Bytes hot;   // in use: whoever does not have all of it waits
    Bytes cold;  // allocated once and left alone: anonymous memory, gone to swap or in the way
    bool operator==(const Load&) const = default;
};

// Each load holds from its time on; before the first one nothing is wanted.
struct Demand {
    struct Point {
        Micros at{0};
        Load load;
        bool operator==(const Point&) const = default;
    };
    std::vector<Point> points;  // by time

    [[nodiscard]] Load at(Micros when) const;
    bool operator==(const Demand&) const = default;
};

}  // namespace acma::simulation
