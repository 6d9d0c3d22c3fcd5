// SPDX-License-Identifier: Apache-2.0
// The figures of all VMs as Prometheus text. Names and labels (domain, uuid) are those that libvirt
// exporters use, so that dashboards can join them.
#pragma once

#include <map>
#include <string>

#include "host-controller/metrics/histogram.h"
#include "proto/controller_api.h"

namespace acma::host {

struct Figures {
    proto::VmList list;
    // By UUID, since the VM was found:
    std::map<std::string, uint64_t> decisions;
    struct Used {
        double byte_seconds = 0;
        double above_min_byte_seconds = 0;
    };
    std::map<std::string, Used> used;
    std::map<std::string, Micros> agent_cost;
    Timings timings;
    bool usage_written = true;  // what was measured last
};

[[nodiscard]] std::string metrics_text(const Figures& figures);

}  // namespace acma::host
