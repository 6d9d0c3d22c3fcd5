// SPDX-License-Identifier: Apache-2.0
// What the controller says to one agent on one connection: the policy whenever it changed, and
// "how are you" once a second, and when it calls. Bytes and time in, bytes and events out; no
// socket, no clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/units.h"
#include "host-controller/vm/agent_events.h"
#include "proto/client_session.h"

namespace acma::host {

constexpr Micros k_status_every{1'000'000};
// An agent without status-1 (a stock qemu-ga) is only asked whether it is there.
constexpr Micros k_ping_every{10'000'000};

class AgentDialogue {
  public:
    using Events = std::vector<AgentEvent>;

    AgentDialogue(int64_t first_id, const TalkToAgent& order, Time now);

    // What is to be in force from now on; sent as soon as the agent can take it.
    void order(const TalkToAgent& order, Time now);
    [[nodiscard]] Events on_bytes(std::string_view bytes, Time now);
    // Call at next_wake().
    [[nodiscard]] Events on_time(Time now);
    [[nodiscard]] std::optional<Time> next_wake() const;
    [[nodiscard]] std::string take_output() { return session_.take_output(); }

    // Over its budget: close the connection.
    [[nodiscard]] bool hostile() const { return hostile_; }
    // A sync was not answered and nothing has been since.
    [[nodiscard]] bool unanswered() const;

  private:
    void handle(std::vector<proto::ClientEvent> happened, Time now, Events& events);
    void answered(proto::Answered answer, Events& events);
    void say_next(Time now);

    proto::ClientSession session_;
    std::optional<PolicyOrder> policy_;
    std::optional<Bytes> swap_out_per_s_;
    bool policy_due_ = false;
    bool limits_due_ = false;
    bool takes_policy_ = false;  // capabilities, as of the last guest-info
    bool tells_status_ = false;
    bool takes_limits_ = false;
    bool events_due_ = false;
    Time next_poll_;
    Time asked_due_;                  // when what is asked now was to be asked
    uint64_t timeouts_forgiven_ = 0;  // those before the last answer
    bool hostile_ = false;
};

}  // namespace acma::host
