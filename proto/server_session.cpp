// SPDX-License-Identifier: Apache-2.0
#include "proto/server_session.h"

#include <utility>
#include <variant>

#include "proto/wire_limits.h"

namespace acma::proto {

ServerSession::ServerSession(AgentInfo info)
    : info_(std::move(info)), reader_(k_max_request_bytes) {}

std::optional<Request> ServerSession::next(std::string_view& bytes, Time now) {
    const size_t before = bytes.size();
    std::optional<Request> request;
    while (!request) {
        const auto frame = reader_.next(bytes);
        if (!frame) {
            break;
        }
        switch (frame->kind) {
            case Frame::Kind::line:
                request = on_line(frame->text);
                break;
            case Frame::Kind::too_long:
                ++counters_.too_long;
                answer({Failure{std::string(k_generic_error),
                                "JSON parse error, longer in bytes than " +
                                    std::to_string(k_max_request_bytes)},
                        {}});
                break;
            case Frame::Kind::sentinel:
                // The host starts afresh: it throws away what comes before its sync's answer.
                // Unlike qemu-ga we send no error line about the stray byte.
                output_.clear();
                break;
        }
    }
    input_budget_.spend(before - bytes.size(), now);
    return request;
}

std::optional<Request> ServerSession::on_line(std::string_view line) {
    auto decoded = decode_request(line);
    if (const auto* refusal = std::get_if<Reply>(&decoded)) {
        ++counters_.refused;
        answer(*refusal);
        return std::nullopt;
    }
    ++counters_.requests;
    auto& request = std::get<Request>(decoded);
    if (std::holds_alternative<Sync>(request.command) ||
        std::holds_alternative<SyncDelimited>(request.command)) {
        events_ = false;  // perhaps another host, who does not know of events
    }
    if (const auto* delimited = std::get_if<SyncDelimited>(&request.command)) {
        answer({Return{Synced{delimited->id}}, request.id}, {&k_sentinel, 1});
    } else if (const auto* sync = std::get_if<Sync>(&request.command)) {
        answer({Return{Synced{sync->id}}, request.id});
    } else if (std::holds_alternative<Ping>(request.command)) {
        answer({Return{Empty{}}, request.id});
    } else if (std::holds_alternative<Info>(request.command)) {
        answer({Return{info_}, request.id});
    } else if (std::holds_alternative<EnableEvents>(request.command)) {
        events_ = true;
        answer({Return{Empty{}}, request.id});
    } else {
        return std::move(request);
    }
    return std::nullopt;
}

void ServerSession::reply(const Request& request, Outcome outcome) {
    answer({std::move(outcome), request.id});
}

void ServerSession::answer(const Reply& reply, std::string_view before) {
    put(before, encode(reply));
}

void ServerSession::tell(std::string_view event, Time now) {
    if (events_ && now >= next_event_) {
        next_event_ = now + k_event_interval;
        put({}, encode_event(event));
    }
}

void ServerSession::put(std::string_view before, std::string_view line) {
    if (output_.size() + before.size() + line.size() + 1 > k_max_server_output_bytes) {
        ++counters_.dropped_replies;
        return;
    }
    output_ += before;
    output_ += line;
    output_ += '\n';
}

std::string ServerSession::take_output() {
    return std::exchange(output_, {});
}

}  // namespace acma::proto
