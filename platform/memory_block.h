// SPDX-License-Identifier: Apache-2.0
// Memory blocks as the kernel takes them offline and online: /sys/devices/system/memory.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::platform {

constexpr const char* k_memory_dir = "/sys/devices/system/memory";

// Takes a memory block offline and brings it online again. A process of its own does it, which no
// signal but SIGKILL ends: a guest must not lose memory because somebody ended this one in between.
// busy: it did not go offline within `patience`, and is as it was. Any other error: it may be
// offline still; bring_online() is the cure.
[[nodiscard]] Status recycle_memory_block(const std::string& dir, uint64_t number, Millis patience);

// Takes a memory block offline, likewise. busy: it did not go within `patience`, and is as it was.
[[nodiscard]] Status take_offline(const std::string& dir, uint64_t number, Millis patience);

// How large a memory block is on this machine.
[[nodiscard]] Result<Bytes> memory_block_size(const std::string& dir);

// Also where it is online already.
[[nodiscard]] Status bring_online(const std::string& dir, uint64_t number);

}  // namespace acma::platform
