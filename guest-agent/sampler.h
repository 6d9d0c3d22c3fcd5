// SPDX-License-Identifier: Apache-2.0
// Observe: the guest's memory as numbers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/autoscale/autoscale.h"
#include "engine/autoscale/status.h"
#include "platform/file.h"
#include "platform/proc.h"

namespace acma::agent {

struct Observation {
    Micros psi_some_total{0};
    platform::VmStat vmstat;
    platform::MemInfo meminfo;
};

class Sampler {
  public:
    // Missing files become problems, not errors: the agent then does what it still can.
    Sampler(const std::string& proc, std::vector<Problem>& problems);

    [[nodiscard]] bool has_psi() const { return psi_.has_value(); }
    [[nodiscard]] Result<Observation> observe();

  private:
    std::optional<platform::PolledFile> psi_;
    std::optional<platform::PolledFile> vmstat_;
    std::optional<platform::PolledFile> meminfo_;
    Bytes page_size_;
};

}  // namespace acma::agent
