// SPDX-License-Identifier: Apache-2.0
// Is the host itself short of memory? Pure: samples come in, a level goes out with its reason.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/base/units.h"

namespace acma::arbiter {

enum class Strain {
    none,
    strained,   // little is available: nobody keeps more than he needs
    emergency,  // the host stalls, or swaps: what is not accessed comes back too
};
[[nodiscard]] std::string_view to_string(Strain strain);

struct HostSample {
    Bytes available;           // MemAvailable
    Bytes reserve;             // what the host keeps for itself
    Micros psi_some_total{0};  // /proc/pressure/memory, "some"
    Bytes swap_out_total;      // since boot
};

// Half of the reserve is gone; it ends where three quarters are there.
constexpr uint64_t k_strained_part = 2;
// The host's own programs, QEMU among them, stall: this share of two seconds.
constexpr BasisPoints k_emergency_psi(500);
// Or QEMU's memory goes to disk while little is available. A page now and then is none.
constexpr Bytes k_emergency_swap_per_s = 8_MiB;
constexpr Micros k_strain_window = Seconds(2);
// It ends when nothing of it was seen for so long.
constexpr Micros k_emergency_calm = Seconds(10);

class StrainWatch {
  public:
    // Called about once a second.
    Strain observe(const HostSample& sample, Time now);
    [[nodiscard]] Strain strain() const { return strain_; }
    // Why it is as it is, with the numbers that made it.
    [[nodiscard]] const std::string& reason() const { return reason_; }
    // What should come back before it can end.
    [[nodiscard]] Bytes short_of() const { return short_of_; }

  private:
    struct Seen {
        Time at{};
        Micros psi_some_total{0};
        Bytes swap_out_total;
    };
    Strain strain_ = Strain::none;
    std::string reason_;
    Bytes short_of_;
    std::optional<Seen> window_;
    BasisPoints psi_;
    Bytes swap_per_s_;
    std::optional<Time> alarmed_at_;  // last
};

}  // namespace acma::arbiter
