// SPDX-License-Identifier: Apache-2.0
// The figures of all VMs as Prometheus text. Names and labels (domain, uuid) are those that libvirt
// exporters use, so that dashboards can join them.
#pragma once

#include <map>
#include <string>

#include "proto/controller_api.h"

namespace acma::host {

struct Figures {
    proto::VmList list;
    std::map<std::string, uint64_t> decisions;  // by UUID, since the VM was found
};

[[nodiscard]] std::string metrics_text(const Figures& figures);

}  // namespace acma::host
