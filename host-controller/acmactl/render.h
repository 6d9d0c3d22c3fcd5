// SPDX-License-Identifier: Apache-2.0
// What acmactl prints for people. Pure: documents in, text out.
#pragma once

#include <string>

#include "proto/controller_api.h"

namespace acma::ctl {

// A VM in words; "-" for what is not known.
struct VmCells {
    std::string name, min, max, target, actual, host, psi, psi_target, state, agent, marks;
};
[[nodiscard]] VmCells vm_cells(const proto::VmSummary& vm);

// What is not as usual with the host, a line each.
[[nodiscard]] std::string render_notices(const proto::HostSummary& host);
[[nodiscard]] std::string render_list(const proto::VmList& list);
[[nodiscard]] std::string render_reservations(const proto::ReservationList& list);
[[nodiscard]] std::string render_detail(const proto::VmDetail& detail);
[[nodiscard]] std::string render_explanation(const proto::Explanation& explanation);
// A line for each VM and one for all of them.
[[nodiscard]] std::string render_usage(const proto::UsageReport& report);
// As RFC 4180 has it, with a header.
[[nodiscard]] std::string render_usage_csv(const proto::UsageReport& report);
// One line for each VM, for logs and pipes: "2026-11-21T10:00:00Z web host_bytes=1073741824 ...";
// "-" stands for what is not known.
[[nodiscard]] std::string render_plain(const proto::VmList& list, Micros wall);

// "2026-11-21T10:00:00Z".
[[nodiscard]] std::string utc(Micros wall);
// Without control characters, which a guest or a name could use to fool a terminal.
[[nodiscard]] std::string printable(const std::string& text);

}  // namespace acma::ctl
