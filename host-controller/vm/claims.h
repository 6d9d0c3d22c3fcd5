// SPDX-License-Identifier: Apache-2.0
// Is what a guest says possible at all? Every number of an agent is a claim of an untrusted guest:
// this compares it with what the host gave and measured, and with what the guest said before. Pure.
#pragma once

#include <optional>
#include <string>

#include "engine/autoscale/status.h"
#include "engine/base/units.h"
#include "host-controller/hostmem/smaps.h"

namespace acma::host {

struct ClaimContext {
    Bytes ram;  // all that the host gave: RAM and plugged virtio-mem
    std::optional<AgentStatus> previous;
    Micros since_previous{0};  // on the host's clock
};

// Impossible by itself: a sentence with the numbers, or nothing.
[[nodiscard]] std::optional<std::string> impossible(const AgentStatus& status,
                                                    const ClaimContext& context);

// Contradicts the host bytes of the guest. One such sample proves little (both numbers are a second
// or more old and memory moves); the caller waits for several in a row. `ballooned` is what the
// balloon holds by libvirt's word: with autodeflate the guest counts it as used memory (its
// MemTotal does not shrink), without it counts it as none; either is believed. From a guest in huge
// pages the host gets back whole ones only, so what it still holds is no contradiction.
struct HostView {
    Bytes ram;
    Bytes ballooned;
    Bytes host_total;
    bool huge_pages = false;
};
[[nodiscard]] std::optional<std::string> contradicts_host(const AgentStatus& status,
                                                          const HostView& host);

// The host holds more than the guest says to use: what it freed or paged out has not come back. No
// lie (it may not be able to report free pages), and nothing to act on; see ReturnWatch.
[[nodiscard]] std::optional<std::string> not_returned(const AgentStatus& status,
                                                      const HostView& host);

// The sample counter stands still.
[[nodiscard]] bool repeats(const AgentStatus& status, const AgentStatus& previous);

}  // namespace acma::host
