// SPDX-License-Identifier: Apache-2.0
// The controller's end of the channel to one agent:
//
//   syncing --its sync answered--> greeting --guest-info answered--> ready <--> waiting
//      ^                              |                                            |
//      +----------- timeout, or a line that cannot be understood ------------------+
//
// and from anywhere to `hostile`, for good, when the guest is over its budget. A state machine over
// bytes and time; the guest is not trusted with anything. No I/O, no clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "proto/framing.h"
#include "proto/messages.h"
#include "proto/rate_budget.h"

namespace acma::proto {

// An agent answers within milliseconds; a guest that thrashes may need seconds. Longer, and its
// numbers would be too old to act on.
constexpr Micros k_reply_timeout = Seconds(5);
// A guest may boot for minutes, or never have an agent. Each sync adds under 100 bytes to what QEMU
// holds for the guest until an agent opens the port (which then answers all of them, the last one
// included, so that waiting long delays nothing).
constexpr Micros k_first_sync_timeout = Seconds(5);
constexpr Micros k_longest_sync_timeout = Seconds(60);

// A status a second takes about 1.5 KB. 512 KiB at once holds two of the longest replies, or what a
// socket kept from an earlier session; then 33 KB/s, so that 1,000 flooding guests cost the host
// less than one core.
constexpr uint64_t k_client_input_burst_bytes = size_t{512} * 1024;
constexpr Micros k_client_input_byte_interval{30};
// Lines that are malformed or that nobody asked for. None is expected from a healthy agent; a
// kernel or firmware that writes into the port now and then is forgiven.
constexpr uint64_t k_client_offence_burst = 16;
constexpr Micros k_client_offence_interval = Seconds(10);

// Events beyond this are not heard: the status is asked for once a second anyway.
constexpr uint64_t k_client_call_burst = 16;
constexpr Micros k_client_call_interval = Seconds(1);

// --- events ---------------------------------------------------------------------------------

struct Ready {  // after every sync, not only the first: the agent may have been replaced
    AgentInfo info;
    bool operator==(const Ready&) const = default;
};
struct Called {  // by an event: the status is worth asking for
    bool operator==(const Called&) const = default;
};
struct Answered {
    Command command;
    Outcome outcome;  // a Failure if the agent refused
    bool operator==(const Answered&) const = default;
};
struct Unanswered {
    Command command;
    Error error;  // timeout; or invalid, and what was wrong with the reply
    bool operator==(const Unanswered&) const = default;
};
struct Hostile {  // the last event: close the channel, mark the VM, try again much later
    std::string reason;
    bool operator==(const Hostile&) const = default;
};
using ClientEvent = std::variant<Ready, Called, Answered, Unanswered, Hostile>;

struct ClientCounters {
    uint64_t bytes = 0;
    uint64_t syncs = 0;       // sent
    uint64_t timeouts = 0;    // of syncs and requests
    uint64_t malformed = 0;   // lines
    uint64_t unexpected = 0;  // well-formed replies to nothing that was asked
    bool operator==(const ClientCounters&) const = default;
};

class ClientSession {
  public:
    // One session for each connection; output is ready at once. `first_id` should be random: it
    // must not be one that an earlier session used.
    ClientSession(int64_t first_id, Time now);

    // One request at a time: busy unless ready(); too_large once the guest is hostile.
    [[nodiscard]] Status send(const Command& command, Time now);
    [[nodiscard]] bool ready() const { return state_ == State::ready; }

    [[nodiscard]] std::vector<ClientEvent> on_bytes(std::string_view bytes, Time now);
    // Call at next_deadline() (earlier or later does no harm).
    [[nodiscard]] std::vector<ClientEvent> on_time(Time now);
    [[nodiscard]] std::optional<Time> next_deadline() const;

    // What is to be written, all of it.
    [[nodiscard]] std::string take_output();

    [[nodiscard]] const ClientCounters& counters() const { return counters_; }

  private:
    enum class State {
        syncing,   // waits for 0xFF and the answer to its sync; drops everything else
        greeting,  // waits for guest-info
        ready,     // nothing in flight
        waiting,   // waits for the caller's request
        hostile,   // the end
    };
    using Events = std::vector<ClientEvent>;

    void start_sync(Time now);
    void transmit(const Command& command, State next, Time now);
    void on_frame(const Frame& frame, Time now, Events& events);
    void on_sync_line(std::string_view line, Time now);
    void on_reply_line(std::string_view line, Time now, Events& events);
    void on_outcome(Outcome outcome, Time now, Events& events);
    void on_malformed(Error error, Time now, Events& events);
    void give_up(Error error, Time now, Events& events);
    void offence(Time now, Events& events);
    void declare_hostile(std::string reason, Events& events);
    [[nodiscard]] int64_t fresh_id();

    State state_ = State::syncing;
    bool sentinel_seen_ = false;  // while syncing
    Request in_flight_;           // unless ready or hostile
    Time deadline_{};             // of in_flight_
    Micros sync_timeout_ = k_first_sync_timeout;
    int64_t last_id_;
    LineReader reader_;
    std::string output_;
    RateBudget input_budget_{k_client_input_burst_bytes, k_client_input_byte_interval};
    RateBudget offence_budget_{k_client_offence_burst, k_client_offence_interval};
    RateBudget call_budget_{k_client_call_burst, k_client_call_interval};
    ClientCounters counters_;
};

}  // namespace acma::proto
