// SPDX-License-Identifier: Apache-2.0
// One of many VMs on a simulated host. Lighter than SimGuest, which follows every block for the
// tests of page-out: here memory is four amounts (hot or cold, in RAM or on the guest's swap) and
// the balloon, so that a thousand guests run a day in seconds. What decides is real: with an agent
// in it the guest runs scaling::step(), at its own pace, between the same PSI and the same bounds.
//
// Simplified: cold memory is paged out at the speed of the swap device as soon as the agent may,
// idle ages and DAMON's errors are SimGuest's subject; there is no page cache, and swap never ends.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "engine/base/units.h"
#include "engine/policy/policy.h"
#include "engine/scaling/scaling.h"
#include "engine/simulation/demand.h"
#include "engine/sizing/sizing.h"

namespace acma::simulation {

// How the guest's balloon follows its target.
struct BalloonDriver {
    enum class Kind {
        ideal,
        lower_limit,   // never below `limit`
        upper_limit,   // never above `limit`
        stuck,         // it does not move
        intermittent,  // moves for `interval`, rests for `interval`
    };
    Kind kind = Kind::ideal;
    Bytes rate_per_s = 4_GiB;
    Bytes limit;
    Micros interval{0};
    Bytes inaccuracy;  // so near to its target it stops
    // It would give pages back before the guest kills a process. Swap never ends here, so it never
    // does; but whoever knows that may make the guest small.
    bool deflates_on_oom = false;
    bool operator==(const BalloonDriver&) const = default;
};

struct VmConfig {
    std::string name;
    Policy policy;
    Bytes start;             // its balloon target at first
    Bytes own = 48_MiB;      // QEMU's own memory
    Bytes kernel = 128_MiB;  // of the guest, never paged out
    Demand demand;
    BalloonDriver balloon;
    // Whatever the policy of the host is: no agent can be put into this guest.
    bool without_agent = false;
    bool operator==(const VmConfig&) const = default;
};

// What an agent tells the host.
struct AgentWord {
    Time at{};
    Bytes owned;
    Bytes voluntary;
    Bytes mem_free;
    Bytes working_set;
    Bytes kernel;
    BasisPoints psi;
    bool at_grant = false;  // scaling::Decision's
};

// A swap device, both ways, and what programs touch at most.
constexpr Bytes k_swap_per_s = 150_MiB;
constexpr Bytes k_touch_per_s = 4_GiB;

// What the shim does with the blocks of an agent that is gone (docs/balloon.md).
constexpr Micros k_shim_hold_off = Seconds(30);
constexpr Bytes k_shim_returns_per_s = 64_MiB;

class SimVm {
  public:
    // RAM is max-mem. `agent`: acma-agent and its shim run in it, else the stock balloon driver.
    SimVm(VmConfig config, bool agent);

    // Lets `span` pass from `now` on.
    void run(Time now, Micros span);
    // What the host swapped out of the hot memory is missed too.
    void lose_to_host(Bytes hot) { lost_to_host_ = hot; }
    void set_target(Bytes target) { target_ = target; }
    void set_agent_running(bool running);

    [[nodiscard]] const VmConfig& config() const { return config_; }
    [[nodiscard]] Bytes ram() const { return config_.policy.max_mem; }
    [[nodiscard]] Bytes target() const { return target_; }
    // RAM less what the balloon holds; of the shim's blocks only those that the host asked for.
    // What the guest may hold at most.
    [[nodiscard]] Bytes actual() const {
        return ram() - (agent_ ? std::min(owned_, asked()) : owned_);
    }
    [[nodiscard]] Bytes resident() const { return config_.kernel + hot_in_ + cold_in_; }
    [[nodiscard]] Bytes hot_resident() const { return hot_in_; }
    [[nodiscard]] Bytes cold_resident() const { return cold_in_; }
    // As its balloon's driver tells them.
    [[nodiscard]] sizing::Statistics statistics() const {
        sizing::Statistics told{.unused = free(), .usable = free()};
        told.swap_in_total = swapped_in_;
        return told;
    }
    [[nodiscard]] Bytes free() const { return ram() - owned_ - resident(); }
    // What its programs have asked for by now, and whether they have it.
    [[nodiscard]] Bytes wanted() const { return config_.kernel + wants_.hot; }
    [[nodiscard]] bool has_all() const { return missing() == Bytes(0); }
    // It lacks something and has nothing left that it may take back.
    [[nodiscard]] bool lacks_at_its_grant() const { return !has_all() && voluntary() == Bytes(0); }
    [[nodiscard]] bool grew_to(const Load& load) const { return wants_.hot >= load.hot; }
    [[nodiscard]] Micros stalled_in_last_run() const { return stalled_; }
    // None: there is no agent, or it has said nothing since it was started.
    [[nodiscard]] const std::optional<AgentWord>& agent_word() const { return word_; }

  private:
    [[nodiscard]] Bytes asked() const { return ram() - target_; }
    [[nodiscard]] Bytes voluntary() const { return owned_ - asked(); }
    [[nodiscard]] Bytes floor() const { return 32_MiB + ram() / 64; }
    [[nodiscard]] Bytes unallocated() const { return wants_.hot - hot_in_ - hot_out_; }
    [[nodiscard]] Bytes missing() const { return hot_out_ + unallocated() + lost_to_host_; }

    void slice(Time now, Micros span);
    void change_load(Time now, Micros span);
    void follow_balloon(Time now, Micros span);
    Bytes returned_by_shim(Bytes excess, Time now, Micros span);
    void satisfy(Time now, Micros span);
    Bytes reclaim(Bytes wanted);
    void step_agent(Time now);
    void count_stall(Time now, Micros stall);
    [[nodiscard]] BasisPoints psi() const;

    VmConfig config_;
    const bool agent_;
    bool agent_running_;
    Bytes target_;
    Bytes owned_;  // by the balloon
    Load wants_;   // grows no faster than programs touch memory
    Bytes hot_in_;
    Bytes hot_out_;
    Bytes cold_in_;
    Bytes cold_out_;
    Bytes lost_to_host_;
    Bytes left_by_agent_;  // that is gone: what it owned beyond what the host asked for
    std::optional<Time> agent_gone_at_;
    Bytes swapped_in_;  // since it began
    Bytes swap_left_;   // of the device, in this slice

    scaling::State scaling_;
    Time next_step_{};
    Time pressed_at_{};
    bool pressed_ = false;
    bool ever_pressed_ = false;
    bool had_all_ = false;
    std::optional<AgentWord> word_;

    Micros stalled_{0};                // in the last run
    std::array<Micros, 20> recent_{};  // stalls of the last two seconds, by 100 ms
    int64_t recent_at_ = 0;
    Time trigger_rearmed_{};
};

}  // namespace acma::simulation
