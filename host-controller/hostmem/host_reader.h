// SPDX-License-Identifier: Apache-2.0
// The host's own memory: what it has, what is available, how long tasks stall for it.
#pragma once

#include <filesystem>
#include <optional>

#include "engine/base/units.h"
#include "proto/controller_api.h"

namespace acma::host {

class HostReader {
  public:
    explicit HostReader(std::filesystem::path proc) : proc_(std::move(proc)) {}

    // Fills mem_total, mem_available and psi (share of the last 10 s or so); what cannot be read
    // stays as it was.
    void read(proto::HostSummary& host, Time now);

  private:
    struct Stalled {
        Time at;
        Micros total;
    };
    std::filesystem::path proc_;
    std::optional<Stalled> window_start_;
};

}  // namespace acma::host
