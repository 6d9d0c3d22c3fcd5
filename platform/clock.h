// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/base/units.h"

namespace acma::platform {

// CLOCK_MONOTONIC: the only clock that decisions see. It stands still while the guest is suspended,
// so a resumed guest does not look as if it had been silent.
[[nodiscard]] Time now();

}  // namespace acma::platform
