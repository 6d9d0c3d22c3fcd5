// SPDX-License-Identifier: Apache-2.0
// Files of a guest through its stock guest agent. libvirt serves one command at a time to it, and
// marks the domain as tainted (custom-ga-command).
#pragma once

#include <libvirt/libvirt.h>

#include "engine/base/result.h"
#include "host-controller/vm/memory_statistics.h"

namespace acma::host {

// Takes up to half a minute where the guest is slow. No file stays open, unless the guest has
// stopped answering in between.
[[nodiscard]] Result<GuestAgentReading> read_guest_agent(virDomainPtr domain);

}  // namespace acma::host
