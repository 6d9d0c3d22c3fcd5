// SPDX-License-Identifier: Apache-2.0
#include "platform/clock.h"

#include <ctime>

namespace acma::platform {

Time now() {
    timespec ts{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &ts);
    return Time(Micros(ts.tv_sec * 1'000'000 + ts.tv_nsec / 1'000));
}

void sleep_for(Micros duration) {
    const timespec rest{.tv_sec = duration.count() / 1'000'000,
                        .tv_nsec = duration.count() % 1'000'000 * 1'000};
    (void)::clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, nullptr);
}

}  // namespace acma::platform
