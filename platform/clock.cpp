// SPDX-License-Identifier: Apache-2.0
#include "platform/clock.h"

#include <ctime>

namespace acma::platform {

Time now() {
    timespec ts{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &ts);
    return Time(Micros(ts.tv_sec * 1'000'000 + ts.tv_nsec / 1'000));
}

}  // namespace acma::platform
