// SPDX-License-Identifier: Apache-2.0
// A VM whose guest has no agent: sized by the statistics of its balloon driver.
#include <algorithm>

#include "host-controller/vm/vm.h"
#include "proto/text.h"

namespace acma::host {

// Not while its own agent takes care of it, nor while that may come, or come back.
bool Vm::sized_by_statistics(Now now) const {
    const bool waits =
        facts_.channel && !agent_connected_ &&
        now.mono - std::max(found_at_, agent_gone_at_) < sizing::k_agent_comes_within;
    const bool has_agent =
        agent_connected_ && proto::supports(agent_info_, proto::k_capability_policy);
    return policy_ && facts_.has_balloon && !has_agent && !waits && !released_ && !left_alone_ &&
           !migrates_ && mode_in_force() != Mode::off;
}

void Vm::size_by_statistics(Now now, Actions& actions) {
    if (!sized_by_statistics(now)) {
        statistics_.forget();
        unmark("no-statistics", now, actions);
        unmark("no-autodeflate", now, actions);
        unmark("no-guest-agent", now, actions);
        return;
    }
    if (const auto order = statistics_.ask(acts(), facts_.statistics_period, now.mono)) {
        actions.emplace_back(*order);
    }
    if (settings_.ask_guest_agent && acts() && statistics_.ask_guest_agent(now.mono)) {
        actions.emplace_back(ReadGuestAgent{});
    }
    if (const std::string& error = statistics_.guest_agent_error(); !error.empty()) {
        mark("no-guest-agent",
             "the stock guest agent cannot be asked, and is left alone for some minutes: " +
                 proto::clean_text(error, 256),
             now, actions);
    } else {
        unmark("no-guest-agent", now, actions);
    }
    step_statistics(now, actions);
    if (const auto missing = statistics_.missing(now.mono)) {
        mark("no-statistics", "its guest has no agent, and " + *missing, now, actions);
    } else {
        unmark("no-statistics", now, actions);
    }
    if (statistics_.decision().why == sizing::Why::at_risk && !facts_.balloon_deflates) {
        mark(
            "no-autodeflate",
            "its guest has no agent, and without autodeflate='on' of its balloon it could not have "
            "memory back in time: what it can spare is only taken where others need it",
            now, actions);
    } else if (statistics_.decision().used) {
        unmark("no-autodeflate", now, actions);
    }
}

void Vm::step_statistics(Now now, Actions& actions) {
    const std::optional<Bytes> before = statistics_.decision().size;
    const plugging::Sums plugged = plug_.sums();
    const Bytes most = balloon_.ram() + plugged.requested;
    const sizing::Limits limits{.min = std::min(policy_->min_mem, most),
                                .max = std::min(policy_->max_mem, most),
                                .psi = policy_->psi,
                                .yields_on_oom = facts_.balloon_deflates && !had_agent_};
    const Bytes apart = balloon_.actual() > balloon_.target()
                            ? balloon_.actual() - balloon_.target()
                            : balloon_.target() - balloon_.actual();
    const sizing::Sample sample{.size = balloon_.actual() + plugged.current,
                                .arrived = !balloon_.asked() && apart <= k_balloon_slack,
                                .stuck = balloon_.stuck(now.mono)};
    if (statistics_.step(limits, sample, now.mono).size != before) {
        decide_balloon(now, actions);
    }
}

Actions Vm::on_statistics(const Result<MemoryStatistics>& answer, Now now) {
    Actions actions;
    statistics_.on_answer(answer, now.mono);
    if (sized_by_statistics(now)) {
        step_statistics(now, actions);
    }
    return actions;
}

void Vm::on_guest_agent(const Result<GuestAgentReading>& answer, Now now) {
    statistics_.on_guest_agent(answer, now.mono);
}

std::optional<proto::VmStatistics> Vm::statistics_view(Now now) const {
    const auto& told = statistics_.told();
    if (!told) {
        return std::nullopt;
    }
    const sizing::Decision& decision = statistics_.decision();
    return proto::VmStatistics{.age = statistics_.age(now.mono),
                               .unused = told->unused,
                               .usable = told->usable,
                               .swap_in_total = told->swap_in_total,
                               .major_faults_total = told->major_faults_total,
                               .headroom = decision.headroom,
                               .decision = std::string(to_string(decision.why)),
                               .reason = explain(decision)};
}

}  // namespace acma::host
