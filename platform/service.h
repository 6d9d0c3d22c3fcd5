// SPDX-License-Identifier: Apache-2.0
// systemd's notification protocol (sd_notify(3)), without linking libsystemd into the guest agent.
#pragma once

#include <optional>
#include <string_view>

#include "engine/base/units.h"

namespace acma::platform {

// Sends e.g. "READY=1" to $NOTIFY_SOCKET. Does nothing where systemd does not listen.
void notify_service(std::string_view message);

// How often to send "WATCHDOG=1": half of $WATCHDOG_USEC. None without a watchdog, or when
// $WATCHDOG_PID says that it watches another process.
[[nodiscard]] std::optional<Micros> watchdog_interval();

}  // namespace acma::platform
