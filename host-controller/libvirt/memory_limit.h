// SPDX-License-Identifier: Apache-2.0
// The limit of a domain's cgroup that holds it without ending it: libvirt's soft_limit, which is
// memory.high on cgroup v2.
#pragma once

#include <optional>
#include <string>

#include <libvirt/libvirt.h>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::host {

// Error{unsupported}: on cgroup v1 libvirt sets memory.soft_limit_in_bytes (vircgroupv1.c), which
// holds nobody as long as the host has memory. `cgroups`: /proc/self/cgroup.
[[nodiscard]] Status memory_limit_holds(const std::string& cgroups);

// In force now; nothing: none.
[[nodiscard]] Result<std::optional<Bytes>> memory_limit(virDomainPtr domain);

// Live only. Lowered, it takes until the kernel has reclaimed so much, or given up.
[[nodiscard]] Status set_memory_limit(virDomainPtr domain, std::optional<Bytes> limit);

}  // namespace acma::host
