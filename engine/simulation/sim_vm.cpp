// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/sim_vm.h"

#include <algorithm>
#include <numeric>

#include "engine/autoscale/autoscale.h"

namespace acma::simulation {

namespace {

constexpr Micros k_bucket = Millis(100);
// While memory is given back the loop takes steps of its own.
constexpr Micros k_busy_slice = scaling::k_giving_step;

Bytes over(Bytes per_second, Micros span) {
    return Bytes(detail::mul_div_saturating(per_second.count(), static_cast<uint64_t>(span.count()),
                                            1'000'000));
}

Micros time_for(Bytes amount, Bytes per_second) {
    return Micros(static_cast<int64_t>(
        detail::mul_div_saturating(amount.count(), 1'000'000, per_second.count())));
}

Bytes take(Bytes& from, Bytes amount) {
    amount = std::min(from, amount);
    from -= amount;
    return amount;
}

}  // namespace

SimVm::SimVm(VmConfig config, bool agent)
    : config_(std::move(config)),
      agent_(agent && !config_.without_agent),
      agent_running_(agent_),
      target_(config_.start),
      owned_(ram() - config_.start),
      wants_(config_.demand.at(Micros(0))),
      hot_in_(std::min(wants_.hot, config_.start - config_.kernel)),
      cold_in_(std::min(wants_.cold, config_.start - config_.kernel - hot_in_)),
      cold_out_(wants_.cold - cold_in_) {}

void SimVm::set_agent_running(bool running) {
    if (agent_ && running != agent_running_) {
        agent_running_ = running;
        scaling_ = {};
        left_by_agent_ = voluntary();
        agent_gone_at_.reset();
        next_step_ = {};
        word_.reset();
    }
}

void SimVm::run(Time now, Micros span) {
    stalled_ = Micros(0);
    while (span > Micros(0)) {
        const bool busy = agent_running_ && (missing() > Bytes(0) || scaling_.burst > Bytes(0));
        const Micros part = busy ? std::min(span, k_busy_slice) : span;
        slice(now, part);
        now += part;
        span -= part;
    }
}

void SimVm::slice(Time now, Micros span) {
    swap_left_ = over(k_swap_per_s, span);
    change_load(now, span);
    follow_balloon(now, span);
    satisfy(now, span);
    step_agent(now + span);
}

// Memory becomes cold, or hot again, where it is; the rest is freed, or allocated.
void SimVm::change_load(Time now, Micros span) {
    const Load load = config_.demand.at(now - Time{});
    const Bytes touched = over(k_touch_per_s, span);
    const Bytes cooling = std::min(wants_.hot - load.hot, load.cold - wants_.cold);
    const Bytes to_warm = std::min(load.hot - wants_.hot, wants_.cold - load.cold);
    const Bytes warming = std::min(to_warm, touched);
    const Load next{std::min(load.hot, wants_.hot + touched),
                    std::min(load.cold, wants_.cold + cooling + touched) + (to_warm - warming)};
    if (next == wants_) {
        return;
    }
    // What was never had cannot become cold.
    const Bytes cooled = std::min(cooling, hot_in_ + hot_out_ - next.hot);
    const Bytes cooled_out = take(hot_out_, cooled);
    cold_out_ += cooled_out;
    cold_in_ += take(hot_in_, cooled - cooled_out);
    // Nobody knows beforehand which part will be wanted: the same share of both.
    const Bytes warmed_out(detail::mul_div_saturating(warming.count(), cold_out_.count(),
                                                      (cold_in_ + cold_out_).count()));
    hot_out_ += take(cold_out_, warmed_out);
    hot_in_ += take(cold_in_, warming - warmed_out);
    wants_ = next;
    const Bytes hot_freed = hot_in_ + hot_out_ - wants_.hot;
    (void)take(hot_in_, hot_freed - take(hot_out_, hot_freed));
    const Bytes cold_freed = cold_in_ + cold_out_ - wants_.cold;
    (void)take(cold_in_, cold_freed - take(cold_out_, cold_freed));
}

// Makes at most `wanted` free: cold memory first. What it could.
Bytes SimVm::reclaim(Bytes wanted) {
    const Bytes amount = std::min(wanted, swap_left_);
    const Bytes cold = take(cold_in_, amount);
    cold_out_ += cold;
    const Bytes hot = take(hot_in_, amount - cold);
    hot_out_ += hot;
    swap_left_ -= cold + hot;
    return cold + hot;
}

void SimVm::follow_balloon(Time now, Micros span) {
    using Kind = BalloonDriver::Kind;
    const BalloonDriver& driver = config_.balloon;
    const bool rests =
        driver.kind == Kind::intermittent && ((now - Time{}) / driver.interval % 2 == 1 ||
                                              (now + span - Time{}) / driver.interval % 2 == 1);
    if (driver.kind == Kind::stuck || rests) {
        return;
    }
    const Bytes step = over(driver.rate_per_s, span);
    if (owned_ + driver.inaccuracy < asked()) {
        Bytes most = asked() - driver.inaccuracy;
        if (driver.kind == Kind::lower_limit) {
            most = std::min(most, ram() - driver.limit);
        }
        const Bytes wanted = std::min(step, most - owned_);
        if (agent_) {  // the shim leaves a floor alone, and swaps nothing out
            owned_ += std::min(wanted, free() - floor());
            return;
        }
        (void)reclaim(wanted - free());
        owned_ += std::min(wanted, free());
        return;
    }
    const Bytes excess = owned_ - driver.inaccuracy - asked();
    if (agent_running_) {
        return;  // it keeps what is beyond, and gives it back by its own decision
    }
    Bytes back = std::min(step, excess);
    if (agent_) {
        back = std::min(back, returned_by_shim(excess, now, span));
    }
    if (driver.kind == Kind::upper_limit) {
        back = std::min(back, driver.limit - (ram() - owned_));
    }
    owned_ -= back;
}

// Without its agent the shim does what the host says at once. What the agent took beyond that comes
// back when memory gets short, and slowly after a hold-off.
Bytes SimVm::returned_by_shim(Bytes excess, Time now, Micros span) {
    agent_gone_at_ = agent_gone_at_.value_or(now);
    left_by_agent_ = std::min(left_by_agent_, excess);
    const Bytes slowly =
        now - *agent_gone_at_ < k_shim_hold_off ? Bytes(0) : over(k_shim_returns_per_s, span);
    const Bytes of_agents =
        std::min(left_by_agent_, std::max(slowly, floor() + unallocated() + hot_out_ - free()));
    const Bytes of_hosts = excess - left_by_agent_;
    left_by_agent_ -= of_agents;
    return of_hosts + of_agents;
}

// Programs get what they ask for, as far as there is memory; what is missing is a stall.
void SimVm::satisfy(Time now, Micros span) {
    Micros stall{0};
    const bool reclaims = unallocated() + hot_out_ > free();
    if (reclaims) {
        // The kernel makes room by itself, as slowly as swap is; of cold memory only, since paging
        // out what is hot to page in what is hot helps nobody.
        const Bytes short_of = std::min(unallocated() + hot_out_ - free(), cold_in_);
        const Bytes room = reclaim(short_of);
        stall += time_for(room, k_swap_per_s);
    }
    hot_in_ += std::min(unallocated(), free());
    const Bytes back = std::min({hot_out_, free(), swap_left_});
    hot_out_ -= back;
    hot_in_ += back;
    swapped_in_ += back;
    swap_left_ -= back;
    stall += time_for(back, k_swap_per_s);
    const Bytes cold = wants_.cold - cold_in_ - cold_out_;
    const Bytes fits = std::min(cold, free() - floor());
    cold_in_ += fits;
    cold_out_ += cold - fits;
    if (missing() > Bytes(0)) {
        stall = span;
    }
    if (reclaims && voluntary() > Bytes(0)) {
        next_step_ = now;  // the shim wakes the agent
    }
    count_stall(now, std::min(stall, span));
}

void SimVm::count_stall(Time now, Micros stall) {
    const int64_t at = (now - Time{}) / k_bucket;
    for (; recent_at_ < at; ++recent_at_) {
        recent_[static_cast<size_t>(recent_at_ + 1) % recent_.size()] = Micros(0);
    }
    recent_[static_cast<size_t>(at) % recent_.size()] += stall;
    stalled_ += stall;
    if (stall == Micros(0)) {
        return;
    }
    // The PSI trigger of the policy, over its window.
    const autoscale::Trigger trigger = autoscale::trigger_for(config_.policy.psi);
    Micros sum{0};
    for (int64_t i = 0; i < trigger.window / k_bucket && i <= at; ++i) {
        sum += recent_[static_cast<size_t>(at - i) % recent_.size()];
    }
    if (sum >= trigger.stall && now >= trigger_rearmed_) {
        pressed_ = true;
        trigger_rearmed_ = now + trigger.window;
    }
}

BasisPoints SimVm::psi() const {
    const Micros sum = std::accumulate(recent_.begin(), recent_.end(), Micros(0));
    const Micros window = k_bucket * static_cast<int64_t>(recent_.size());
    return std::min(k_full_bp, BasisPoints(static_cast<uint64_t>(sum * 10'000 / window)));
}

void SimVm::step_agent(Time now) {
    if (!agent_running_) {
        pressed_ = false;
        return;
    }
    if (pressed_) {
        pressed_at_ = now;
        ever_pressed_ = true;
    }
    const bool holding = ever_pressed_ && now - pressed_at_ < scaling::k_hold_first;
    if (!holding && psi() <= config_.policy.psi) {  // page-out, of what is cold
        const Bytes out = std::min(cold_in_, swap_left_);
        cold_in_ -= out;
        cold_out_ += out;
        swap_left_ -= out;
    }
    if (now < next_step_ && !pressed_) {
        return;
    }
    const scaling::Sample sample{.ram = ram(),
                                 .owned = owned_,
                                 .voluntary = voluntary(),
                                 .asked = asked(),
                                 .floor = floor(),
                                 .mem_free = free(),
                                 .mem_available = free(),
                                 .psi = psi(),
                                 .pressed = pressed_,
                                 .holding = holding,
                                 .had_all = had_all_};
    pressed_ = false;
    const scaling::Decision decision = scaling::step(config_.policy, sample, scaling_, now);
    next_step_ = now + decision.next_step;
    if (decision.action == scaling::Action::take) {
        const Bytes taken = std::min(decision.take.all, free() - floor());
        had_all_ = taken == decision.take.all;
        owned_ += taken;
    } else if (decision.action == scaling::Action::give) {
        owned_ -= std::min(decision.give, voluntary());
    }
    word_ = AgentWord{.at = now,
                      .owned = owned_,
                      .voluntary = voluntary(),
                      .mem_free = free(),
                      .working_set = hot_in_,
                      .kernel = config_.kernel,
                      .psi = psi(),
                      .at_grant = decision.at_grant};
}

}  // namespace acma::simulation
