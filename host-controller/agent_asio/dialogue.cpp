// SPDX-License-Identifier: Apache-2.0
#include "host-controller/agent_asio/dialogue.h"

#include <algorithm>
#include <utility>

namespace acma::host {

namespace {
constexpr size_t k_shown = 200;  // of an agent's own words, in our log
}

AgentDialogue::AgentDialogue(int64_t first_id, const TalkToAgent& order, Time now)
    : session_(first_id, now),
      policy_(order.policy),
      swap_out_per_s_(order.swap_out_per_s),
      policy_due_(policy_.has_value()),
      limits_due_(swap_out_per_s_.has_value()),
      next_poll_(now) {}

void AgentDialogue::order(const TalkToAgent& order, Time now) {
    // What was not sent yet is due still.
    policy_due_ = order.policy && (policy_due_ || order.policy != policy_);
    policy_ = order.policy;
    limits_due_ = order.swap_out_per_s && (limits_due_ || order.swap_out_per_s != swap_out_per_s_);
    swap_out_per_s_ = order.swap_out_per_s;
    say_next(now);
}

AgentDialogue::Events AgentDialogue::on_bytes(std::string_view bytes, Time now) {
    Events events;
    handle(session_.on_bytes(bytes, now), now, events);
    return events;
}

AgentDialogue::Events AgentDialogue::on_time(Time now) {
    Events events;
    handle(session_.on_time(now), now, events);
    return events;
}

std::optional<Time> AgentDialogue::next_wake() const {
    if (hostile_) {
        return std::nullopt;
    }
    return session_.ready() ? std::optional(next_poll_) : session_.next_deadline();
}

bool AgentDialogue::unanswered() const {
    return session_.counters().timeouts > timeouts_forgiven_;
}

void AgentDialogue::handle(std::vector<proto::ClientEvent> happened, Time now, Events& events) {
    for (proto::ClientEvent& event : happened) {
        if (auto* ready = std::get_if<proto::Ready>(&event)) {
            takes_policy_ = proto::supports(ready->info, proto::k_capability_policy);
            tells_status_ = proto::supports(ready->info, proto::k_capability_status);
            takes_limits_ = proto::supports(ready->info, proto::k_capability_limits);
            events_due_ = tells_status_ && proto::supports(ready->info, proto::k_capability_events);
            // The agent may be a new one, which knows nothing.
            policy_due_ = policy_.has_value();
            limits_due_ = swap_out_per_s_.has_value();
            timeouts_forgiven_ = session_.counters().timeouts;
            next_poll_ = std::max(next_poll_, now);
            events.emplace_back(AgentUp{std::move(ready->info)});
        } else if (std::holds_alternative<proto::Called>(event)) {
            next_poll_ = std::min(next_poll_, now);
        } else if (auto* answer = std::get_if<proto::Answered>(&event)) {
            timeouts_forgiven_ = session_.counters().timeouts;
            answered(std::move(*answer), events);
        } else if (const auto* hostile = std::get_if<proto::Hostile>(&event)) {
            hostile_ = true;
            events.emplace_back(AgentDown{AgentDown::Why::flooding, hostile->reason});
        } else if (const auto& lost = std::get<proto::Unanswered>(event);
                   lost.error.code == ErrorCode::timeout) {
            events.emplace_back(
                AgentDown{AgentDown::Why::silent,
                          "the agent does not answer within " + human(proto::k_reply_timeout)});
        }
    }
    say_next(now);
}

void AgentDialogue::answered(proto::Answered answer, Events& events) {
    const bool was_policy = std::holds_alternative<proto::SetPolicy>(answer.command);
    if (const auto* failure = std::get_if<proto::Failure>(&answer.outcome)) {
        if (was_policy) {
            events.emplace_back(AgentRefusedPolicy{failure->desc.substr(0, k_shown)});
        }
        return;
    }
    auto& result = std::get<proto::Return>(answer.outcome);
    if (const auto* in_force = std::get_if<proto::PolicyInForce>(&result)) {
        events.emplace_back(AgentTookPolicy{*in_force});
    } else if (auto* status = std::get_if<AgentStatus>(&result)) {
        events.emplace_back(AgentSaid{std::move(*status), asked_due_});
    }
}

void AgentDialogue::say_next(Time now) {
    if (hostile_ || !session_.ready()) {
        return;
    }
    if (policy_due_ && takes_policy_) {
        policy_due_ = false;
        // Cannot fail: the session is ready.
        (void)session_.send(proto::SetPolicy{policy_->policy, policy_->grant, policy_->generation},
                            now);
        return;
    }
    if (limits_due_ && takes_limits_) {
        limits_due_ = false;
        (void)session_.send(proto::SetLimits{*swap_out_per_s_}, now);
        return;
    }
    if (std::exchange(events_due_, false)) {
        (void)session_.send(proto::EnableEvents{}, now);
        return;
    }
    if (now < next_poll_) {
        return;
    }
    // From the previous time on, so that the rate holds; but what was missed is not made up for.
    const Micros period = tells_status_ ? k_status_every : k_ping_every;
    asked_due_ = next_poll_;
    next_poll_ = std::max(next_poll_ + period, now + period / 2);
    if (tells_status_) {
        (void)session_.send(proto::GetStatus{}, now);
    } else {
        (void)session_.send(proto::Ping{}, now);
    }
}

}  // namespace acma::host
