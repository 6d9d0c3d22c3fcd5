// SPDX-License-Identifier: Apache-2.0
// A domain's memory statistics through libvirt.
#pragma once

#include <libvirt/libvirt.h>

#include "engine/base/result.h"
#include "host-controller/vm/memory_statistics.h"

namespace acma::host {

// Asks QEMU's monitor, so it takes as long as that may hang.
[[nodiscard]] Result<MemoryStatistics> domain_statistics(virDomainPtr domain, ReadStatistics order);

}  // namespace acma::host
