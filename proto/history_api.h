// SPDX-License-Identifier: Apache-2.0
// What the controller's API tells of the last five minutes, hour or day: the points of charts.
// What was not known then is left out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/base/units.h"

namespace acma::proto {

// A step of time: sizes are its mean, pressure its highest.
struct VmPoint {
    Micros time{0};  // the step's end, since 1970-01-01 UTC
    std::optional<Bytes> min_mem;
    std::optional<Bytes> max_mem;
    std::optional<Bytes> grant;
    std::optional<Bytes> size;
    std::optional<Bytes> host;  // host bytes
    std::optional<BasisPoints> psi;
    std::optional<BasisPoints> psi_target;
    bool operator==(const VmPoint&) const = default;
};

struct HostPoint {
    Micros time{0};
    std::optional<Bytes> budget;
    std::optional<Bytes> granted;
    std::optional<Bytes> reserved;
    std::optional<Bytes> used;  // host bytes of all VMs, and QEMU's own memory
    std::optional<Bytes> mem_available;
    std::optional<BasisPoints> psi;
    bool operator==(const HostPoint&) const = default;
};

struct VmHistory {
    std::string name;
    std::string uuid;
    std::vector<VmPoint> points;  // oldest first
    bool operator==(const VmHistory&) const = default;
};

struct HistoryReport {
    Micros step{0};
    std::vector<HostPoint> host;
    std::vector<VmHistory> vms;
    std::optional<std::string> next;  // there are more after this UUID
    bool operator==(const HistoryReport&) const = default;
};

}  // namespace acma::proto
