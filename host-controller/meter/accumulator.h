// SPDX-License-Identifier: Apache-2.0
// Integrates the memory of VMs over time. Pure: what was measured and the time go in, hours of
// usage come out. A measurement counts until the next one; one that is too old counts no longer,
// and then the VM's time is missing: a gap, not a guess.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host-controller/meter/usage.h"

namespace acma::host {

// A VM that runs.
struct Reading {
    struct Measured {
        Bytes used;  // host bytes
        Time at;
    };
    std::string uuid;
    std::string name;
    std::optional<Measured> host;  // nothing: it cannot be measured
    Bytes min_mem;                 // of its policy; 0 without one
};

class Accumulator {
  public:
    // How long a measurement counts. VMs whose memory stands still are measured every 30 s; on a
    // host with a TiB in small pages a round of measurements takes minutes (hostmem/pace.h), and a
    // measurement that fails is told at once.
    static constexpr Micros k_counts_for{600'000'000};

    // All VMs that run, about once a second. What has passed since the last call is filed, for
    // those that ran then as well, at the size that they had then.
    void observe(const std::vector<Reading>& vms, const Moment& now);

    // Nothing before the first observe(); then all since the last take(), and it begins anew.
    [[nodiscard]] std::optional<UsageBatch> take();
    // A VM was found since the last take().
    [[nodiscard]] bool has_newcomers() const { return newcomers_; }

    // Of the VMs that run, since they were found.
    struct Total {
        ByteSeconds used = 0;
        ByteSeconds above_min = 0;
    };
    [[nodiscard]] std::optional<Total> total(const std::string& uuid) const;

  private:
    struct Running {
        Reading last;
        std::map<Hour, Usage> hours;  // since the last take()
        Total total;
        uint64_t used_rest = 0;  // byte-microseconds that make no byte-second yet
        uint64_t above_min_rest = 0;
        uint64_t seen_in = 0;  // round
    };
    static void file(Running& vm, Micros from_wall, Micros length, bool measured);

    std::map<std::string, Running> running_;
    std::map<std::string, VmUsage> ended_;  // since the last take()
    std::optional<Moment> taken_until_;
    Moment last_;
    uint64_t round_ = 0;
    bool newcomers_ = false;
};

}  // namespace acma::host
