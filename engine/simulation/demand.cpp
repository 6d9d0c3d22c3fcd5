// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/demand.h"

#include <algorithm>

namespace acma::simulation {

Load Demand::at(Micros when) const {
    const auto after =
        std::upper_bound(points.begin(), points.end(), when,
                         [](Micros time, const Point& point) { return time < point.at; });
    return after == points.begin() ? Load{} : std::prev(after)->load;
}

}  // namespace acma::simulation
