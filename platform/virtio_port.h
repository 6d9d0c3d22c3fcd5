// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/base/result.h"

namespace acma::platform {

// The device of the virtio-serial port called `name`: /dev/virtio-ports/NAME where udev made it,
// else found through /sys/class/virtio-ports. not_found when the VM has no such channel.
[[nodiscard]] Result<std::string> find_virtio_port(const std::string& name,
                                                   const std::string& dev = "/dev",
                                                   const std::string& sys = "/sys");

}  // namespace acma::platform
