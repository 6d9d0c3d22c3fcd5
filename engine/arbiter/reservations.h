// SPDX-License-Identifier: Apache-2.0
// Memory that is kept for a VM which is about to start, or to come from another host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::arbiter {

struct Reservation {
    uint64_t id = 0;
    Bytes size;
    std::string domain;  // whose start uses it up; "": nobody's, it is given up or ends
    Time until;
    bool operator==(const Reservation&) const = default;
};

constexpr Seconds k_longest_reservation{86'400};

class Reservations {
  public:
    static constexpr size_t k_most = 256;

    // Error{invalid}: nothing, or too long; Error{busy}: too many, or the domain has one already.
    [[nodiscard]] Result<Reservation> add(Bytes size, std::string domain, Micros lasts, Time now);
    // Error{not_found}: no such reservation; it may have been used up or have ended.
    [[nodiscard]] Result<Reservation> give_up(uint64_t id);
    // A domain of this name or UUID is there: what was kept for it is its own now.
    std::optional<Reservation> use(std::string_view name, std::string_view uuid);
    // Those that have ended, which are gone then.
    std::vector<Reservation> end(Time now);

    [[nodiscard]] Bytes total() const;
    [[nodiscard]] const std::vector<Reservation>& all() const { return all_; }

  private:
    std::vector<Reservation> all_;
    uint64_t last_ = 0;
};

}  // namespace acma::arbiter
