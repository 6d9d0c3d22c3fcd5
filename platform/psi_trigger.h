// SPDX-License-Identifier: Apache-2.0
// A PSI trigger: a file descriptor that poll() reports as POLLPRI when tasks stalled on memory for
// longer than a threshold within a window (Documentation/accounting/psi.rst).
#pragma once

#include <string>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "platform/fd.h"

namespace acma::platform {

// Arms "some <stall> <window>" on `path` (/proc/pressure/memory). The window is 500 ms to 10 s;
// without CAP_SYS_RESOURCE the kernel only takes multiples of 2 s (permission or invalid).
[[nodiscard]] Result<Fd> open_psi_trigger(const std::string& path, Micros stall, Micros window);

}  // namespace acma::platform
