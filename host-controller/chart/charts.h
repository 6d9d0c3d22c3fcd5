// SPDX-License-Identifier: Apache-2.0
// The charts of the host and of each VM. Kept in memory only: a restart of the controller begins
// them anew. One thread; no clock.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "host-controller/chart/series.h"
#include "host-controller/fleet/fleet.h"
#include "proto/history_api.h"

namespace acma::host {

class Charts {
  public:
    // Once a second. The chart of a VM that is gone goes with it.
    void observe(const std::map<VmId, Vm>& vms, const proto::HostSummary& host, Time now);

    [[nodiscard]] std::vector<proto::HostPoint> host(ChartRange range, Now now) const;
    // Empty: the VM has not been charted yet.
    [[nodiscard]] std::vector<proto::VmPoint> vm(const VmId& vm, ChartRange range, Now now) const;

  private:
    Series host_;
    std::map<VmId, Series> vms_;
};

}  // namespace acma::host
