// SPDX-License-Identifier: Apache-2.0
// The agent's end of the channel: bytes -> requests to carry out, and the bytes to send back. It
// answers what needs no agent (sync, ping, info, errors) itself. No I/O, no clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/units.h"
#include "proto/framing.h"
#include "proto/messages.h"
#include "proto/rate_budget.h"

namespace acma::proto {

// Replies that nobody fetches: two of the longest. A host that does not read gets no more; it will
// time out and sync again.
constexpr size_t k_max_server_output_bytes = size_t{512} * 1024;

// A controller sends about 400 bytes a second. A host that floods is not refused (it owns the
// guest anyway) but read slowly, so that it cannot make the agent a load: 128 KiB at once, then
// 8 KB/s. The channel then throttles the host by itself.
constexpr uint64_t k_server_input_burst_bytes = size_t{128} * 1024;
constexpr Micros k_server_input_byte_interval{125};

// Who hears of an event asks for the status, which is news for so long.
constexpr Micros k_event_interval = Millis(100);

struct ServerCounters {
    uint64_t requests = 0;         // well-formed ones
    uint64_t refused = 0;          // malformed or unknown, answered by an error
    uint64_t too_long = 0;         // lines over the limit, answered by an error
    uint64_t dropped_replies = 0;  // no room in the output
    bool operator==(const ServerCounters&) const = default;
};

class ServerSession {
  public:
    // `info` answers guest-info: own_info(version). One session for each time the host connects.
    explicit ServerSession(AgentInfo info);

    // Takes bytes off the front of `bytes` until a request needs the agent; nothing: all taken.
    // Replies keep the order of requests if each is answered before the next is asked for:
    //   while (auto request = session.next(bytes, now)) { session.reply(*request, act(*request)); }
    // Never returns a Sync, SyncDelimited, Ping or Info.
    [[nodiscard]] std::optional<Request> next(std::string_view& bytes, Time now);

    void reply(const Request& request, Outcome outcome);

    // Tells the host of an event, if it wants to know of events: at most one each
    // k_event_interval, what comes before that is left out.
    void tell(std::string_view event, Time now);

    // What is to be written, all of it; whole lines.
    [[nodiscard]] std::string take_output();
    [[nodiscard]] bool has_output() const { return !output_.empty(); }

    // Do not read before this time (it is in the past unless the host floods).
    [[nodiscard]] Time read_again_at() const { return input_budget_.clear_at(); }

    [[nodiscard]] const ServerCounters& counters() const { return counters_; }

  private:
    [[nodiscard]] std::optional<Request> on_line(std::string_view line);
    void answer(const Reply& reply, std::string_view before = {});
    void put(std::string_view before, std::string_view line);

    AgentInfo info_;
    LineReader reader_;
    std::string output_;
    bool events_ = false;
    Time next_event_{};
    RateBudget input_budget_{k_server_input_burst_bytes, k_server_input_byte_interval};
    ServerCounters counters_;
};

}  // namespace acma::proto
