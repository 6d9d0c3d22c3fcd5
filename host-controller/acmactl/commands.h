// SPDX-License-Identifier: Apache-2.0
// acmactl's verbs: what is asked of the controller, and what is printed.
#pragma once

#include <cstdint>
#include <string>

#include "host-controller/acmactl/top_view.h"
#include "proto/controller_api.h"

namespace acma::ctl {

// Exit codes, as documented in acmactl(1).
enum class Exit : int {
    good = 0,
    refused = 1,      // the controller says no, and why
    usage = 2,        // the command line is wrong
    not_found = 3,    // no such running domain
    unreachable = 4,  // no controller to ask, or not for us
};

struct Target {
    std::string socket = "/run/acma/controller.sock";
    bool json = false;
    bool csv = false;  // of usage
};

[[nodiscard]] Exit list(const Target& target);
[[nodiscard]] Exit show(const Target& target, const std::string& domain);
[[nodiscard]] Exit explain(const Target& target, const std::string& domain);
[[nodiscard]] Exit set(const Target& target, const std::string& domain,
                       const proto::PolicyChange& change);
// Of an empty `domain`: all that have a policy.
[[nodiscard]] Exit release(const Target& target, const std::string& domain);
[[nodiscard]] Exit pause(const Target& target, bool paused);
struct ReserveOptions {
    double wait_s = 0;  // until it is there; 0: not at all
};
[[nodiscard]] Exit reserve(const Target& target, const proto::ReservationRequest& request,
                           const ReserveOptions& options);
[[nodiscard]] Exit reservations(const Target& target);
[[nodiscard]] Exit give_up(const Target& target, uint64_t reservation);
// `since` and `until` are good for parse_moment(), or empty; `domain` may be empty: all.
struct UsageOptions {
    std::string domain;
    std::string since;
    std::string until;
};
[[nodiscard]] Exit usage(const Target& target, const UsageOptions& options);
// `count` 0: until it is stopped. Redraws on a terminal, else prints plain lines, or a line of
// JSON.
struct TopOptions {
    SortBy sort = SortBy::host;
    double interval_s = 1;
    uint64_t count = 0;
};
[[nodiscard]] Exit top(const Target& target, const TopOptions& options);

}  // namespace acma::ctl
