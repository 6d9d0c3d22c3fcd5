// SPDX-License-Identifier: Apache-2.0
// The host's own memory: what it has, what is available, how long tasks stall for it.
#pragma once

#include <filesystem>
#include <optional>

#include "engine/base/units.h"
#include "proto/controller_api.h"

namespace acma::host {

// Since boot.
struct HostCounters {
    Micros psi_some_total{0};
    Bytes swap_out_total;
};

class HostReader {
  public:
    explicit HostReader(std::filesystem::path proc) : proc_(std::move(proc)) {}

    // Fills mem_total, mem_available and psi (share of the last 10 s or so), and the counters; what
    // cannot be read stays as it was.
    void read(proto::HostSummary& host, HostCounters& counters, Time now);

  private:
    struct Stalled {
        Time at;
        Micros total;
    };
    std::filesystem::path proc_;
    std::optional<Stalled> window_start_;
};

}  // namespace acma::host
