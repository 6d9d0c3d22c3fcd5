// SPDX-License-Identifier: Apache-2.0
#include "proto/client_session.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "proto/wire_limits.h"

namespace acma::proto {

ClientSession::ClientSession(int64_t first_id, Time now)
    : last_id_(first_id & std::numeric_limits<int64_t>::max()), reader_(k_max_reply_bytes) {
    start_sync(now);
}

Status ClientSession::send(const Command& command, Time now) {
    if (state_ == State::hostile) {
        return Error{ErrorCode::too_large, "the agent is over its limits"};
    }
    if (state_ != State::ready) {
        return Error{ErrorCode::busy, state_ == State::waiting ? "a request is in flight"
                                                               : "the agent has not answered yet"};
    }
    transmit(command, State::waiting, now);
    return {};
}

std::vector<ClientEvent> ClientSession::on_bytes(std::string_view bytes, Time now) {
    Events events;
    if (state_ == State::hostile) {
        return events;
    }
    counters_.bytes += bytes.size();
    input_budget_.spend(bytes.size(), now);
    if (input_budget_.overdrawn(now)) {
        declare_hostile("the agent sends more than its " +
                            human(Bytes(k_client_input_burst_bytes)) + " at once and " +
                            human(Bytes(1'000'000 / k_client_input_byte_interval.count())) +
                            " a second",
                        events);
        return events;
    }
    while (state_ != State::hostile) {
        const auto frame = reader_.next(bytes);
        if (!frame) {
            break;
        }
        on_frame(*frame, now, events);
    }
    return events;
}

std::vector<ClientEvent> ClientSession::on_time(Time now) {
    Events events;
    if (const auto deadline = next_deadline(); deadline && now >= *deadline) {
        ++counters_.timeouts;
        give_up(Error{ErrorCode::timeout, "no answer"}, now, events);
    }
    return events;
}

std::optional<Time> ClientSession::next_deadline() const {
    if (state_ == State::ready || state_ == State::hostile) {
        return std::nullopt;
    }
    return deadline_;
}

std::string ClientSession::take_output() {
    return std::exchange(output_, {});
}

// --- sending --------------------------------------------------------------------------------

// The leading 0xFF ends whatever the agent has half read; what is not sent yet is not worth
// sending.
void ClientSession::start_sync(Time now) {
    ++counters_.syncs;
    state_ = State::syncing;
    sentinel_seen_ = false;
    // No id of its own: it is matched by what it returns, as qemu-ga does it.
    in_flight_ = Request{SyncDelimited{fresh_id()}, {}};
    output_ = k_sentinel + encode(in_flight_) + "\n";
    deadline_ = now + sync_timeout_;
    sync_timeout_ = std::min(sync_timeout_ * 2, k_longest_sync_timeout);
}

void ClientSession::transmit(const Command& command, State next, Time now) {
    state_ = next;
    in_flight_ = Request{command, fresh_id()};
    output_ += encode(in_flight_) + "\n";
    deadline_ = now + k_reply_timeout;
}

int64_t ClientSession::fresh_id() {
    last_id_ = last_id_ == std::numeric_limits<int64_t>::max() ? 1 : last_id_ + 1;
    return last_id_;
}

// --- receiving ------------------------------------------------------------------------------

void ClientSession::on_frame(const Frame& frame, Time now, Events& events) {
    if (state_ == State::syncing) {
        // Left over from an earlier session, or from before the agent saw our 0xFF: no offence.
        if (frame.kind == Frame::Kind::sentinel) {
            sentinel_seen_ = true;
        } else if (frame.kind == Frame::Kind::line && std::exchange(sentinel_seen_, false)) {
            on_sync_line(frame.text, now);
        }
        return;
    }
    switch (frame.kind) {
        case Frame::Kind::line:
            on_reply_line(frame.text, now, events);
            break;
        case Frame::Kind::too_long:
            on_malformed(Error{ErrorCode::too_large,
                               "a line over " + std::to_string(k_max_reply_bytes) + " bytes"},
                         now, events);
            break;
        case Frame::Kind::sentinel:
            break;  // whatever it cut short will be missed by its deadline
    }
}

void ClientSession::on_sync_line(std::string_view line, Time now) {
    const auto outcome = decode_reply(line, in_flight_);
    const Outcome wanted = Return{Synced{std::get<SyncDelimited>(in_flight_.command).id}};
    if (outcome && *outcome && **outcome == wanted) {
        transmit(Info{}, State::greeting, now);
    }
}

void ClientSession::on_reply_line(std::string_view line, Time now, Events& events) {
    if (is_event(line, k_event_at_grant)) {
        if (!call_budget_.overdrawn(now)) {
            call_budget_.spend(1, now);
            events.emplace_back(Called{});
        }
        return;
    }
    if (state_ == State::ready) {
        ++counters_.unexpected;
        offence(now, events);
        return;
    }
    auto outcome = decode_reply(line, in_flight_);
    if (!outcome) {
        on_malformed(outcome.error(), now, events);
    } else if (*outcome) {
        on_outcome(**std::move(outcome), now, events);
    } else {
        ++counters_.unexpected;
        offence(now, events);
    }
}

void ClientSession::on_outcome(Outcome outcome, Time now, Events& events) {
    if (state_ == State::waiting) {
        state_ = State::ready;
        events.emplace_back(Answered{in_flight_.command, std::move(outcome)});
        return;
    }
    if (std::holds_alternative<Failure>(outcome)) {  // an agent that cannot even say what it is
        on_malformed(Error{ErrorCode::invalid, "guest-info was refused"}, now, events);
        return;
    }
    state_ = State::ready;
    sync_timeout_ = k_first_sync_timeout;
    events.emplace_back(Ready{std::get<AgentInfo>(std::get<Return>(std::move(outcome)))});
}

void ClientSession::on_malformed(Error error, Time now, Events& events) {
    ++counters_.malformed;
    offence(now, events);
    if (state_ != State::hostile) {
        give_up(std::move(error), now, events);
    }
}

// After a timeout or a line that makes no sense nobody knows which reply comes next: sync again.
void ClientSession::give_up(Error error, Time now, Events& events) {
    if (state_ == State::waiting) {
        events.emplace_back(Unanswered{in_flight_.command, std::move(error)});
    }
    start_sync(now);
}

void ClientSession::offence(Time now, Events& events) {
    offence_budget_.spend(1, now);
    if (offence_budget_.overdrawn(now)) {
        declare_hostile("the agent sends lines that are malformed or that nobody asked for",
                        events);
    }
}

void ClientSession::declare_hostile(std::string reason, Events& events) {
    if (state_ == State::waiting) {
        events.emplace_back(Unanswered{in_flight_.command, Error{ErrorCode::too_large, reason}});
    }
    state_ = State::hostile;
    output_.clear();
    events.emplace_back(Hostile{std::move(reason)});
}

}  // namespace acma::proto
