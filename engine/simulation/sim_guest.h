// SPDX-License-Identifier: Apache-2.0
// A guest on a manual clock: memory in 2 MiB pieces that are accessed on a schedule, page-out that
// obeys a Decision, swap that costs time, PSI that adds it up. For scenario tests of the agent's
// loop; deterministic.
#pragma once

#include <deque>
#include <vector>

#include "engine/autoscale/autoscale.h"
#include "engine/base/units.h"

namespace acma::simulation {

struct SimGuestConfig {
    Bytes ram = 2048_MiB;
    Bytes kernel = 80_MiB;                  // never paged out
    Bytes page_out_per_s = 150_MiB;         // what swap takes
    Micros swap_in_cost{150};               // stall for a 4 KiB page that was read back
    BasisPoints stall_seen_by_psi{10'000};  // less: swap-ins of pages outside the working set
    Micros start_delay = Millis(1500);      // DAMON has to look before it can page out
};

class SimGuest {
  public:
    explicit SimGuest(SimGuestConfig config) : config_(config) {}

    // `size` more memory, accessed whole every `period` (0: once, now, and never again).
    // Returns an index for set_period().
    size_t allocate(Bytes size, Micros period);
    void set_period(size_t group, Micros period);

    // Lets `span` pass under `decision`, in steps of 10 ms.
    void run(Micros span, const autoscale::Decision& decision);

    [[nodiscard]] autoscale::Sample sample() const;
    // True once after stalls of `trigger` piled up; rearmed after a window, as the kernel does.
    [[nodiscard]] bool take_trigger(const autoscale::Trigger& trigger);
    [[nodiscard]] Time now() const { return now_; }
    [[nodiscard]] Bytes resident() const;  // of the allocations, without the kernel
    [[nodiscard]] Bytes free() const;
    [[nodiscard]] Micros stalled_total() const { return stalled_; }
    [[nodiscard]] Bytes swap_in_total() const { return swap_in_; }

  private:
    struct Piece {
        Time accessed{};
        bool resident = true;
    };
    struct Group {
        std::vector<Piece> pieces;
        Micros period{0};
        Time next_access{};
    };

    void access_due();
    void page_out(const autoscale::Decision& decision);
    void count(const autoscale::Decision& decision);
    void stall(Micros duration);

    SimGuestConfig config_;
    Time now_{};
    std::vector<Group> groups_;
    Micros stalled_{0};    // really
    Micros psi_total_{0};  // what PSI shows of it
    Bytes swap_in_;
    Bytes swap_out_;
    uint64_t full_windows_ = 0;
    Time running_since_{};
    Time window_since_{};
    Time counted_at_{};
    Micros aggregated_{0};
    Bytes accessed_;
    Bytes idled_;
    Bytes device_credit_;
    bool running_ = false;
    std::deque<std::pair<Time, Micros>> recent_;  // PSI stalls of the last second
    Time rearm_at_{};
};

}  // namespace acma::simulation
