// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/base/units.h"

namespace acma::platform {

// CLOCK_MONOTONIC: the only clock that decisions see. It stands still while the guest is suspended,
// so a resumed guest does not look as if it had been silent.
[[nodiscard]] Time now();

// A signal ends it early.
void sleep_for(Micros duration);

}  // namespace acma::platform
