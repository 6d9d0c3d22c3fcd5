// SPDX-License-Identifier: Apache-2.0
// Follows the statistics of one guest without an agent: when to ask, what is new, and how large the
// guest should be by them (engine/sizing). Pure.
#pragma once

#include <optional>
#include <string>

#include "host-controller/vm/memory_statistics.h"

namespace acma::host {

class GuestStatistics {
  public:
    // What to ask now, if anything. Where `may_set_period` the guest is made to tell them as often
    // as we look; `period` is what the domain has (0: it tells them never).
    [[nodiscard]] std::optional<ReadStatistics> ask(bool may_set_period, Seconds period, Time now);
    void on_answer(const Result<MemoryStatistics>& answer, Time now);
    // The same for the stock guest agent: every ten seconds, after a failure in minutes.
    [[nodiscard]] bool ask_guest_agent(Time now);
    void on_guest_agent(const Result<GuestAgentReading>& answer, Time now);
    [[nodiscard]] const std::string& guest_agent_error() const { return guest_agent_.error; }
    // What is known is not used any more; an answer on its way neither.
    void forget();

    // `sample` without its statistics: what came since the last step is put in.
    const sizing::Decision& step(const sizing::Limits& limits, sizing::Sample sample, Time now);
    [[nodiscard]] const sizing::Decision& decision() const { return state_.last; }
    // As told last, however long ago.
    [[nodiscard]] const std::optional<sizing::Statistics>& told() const { return told_; }
    [[nodiscard]] Micros age(Time now) const { return now - told_at_; }
    // Asked for long enough, and there is nothing that could be used: why, for people.
    [[nodiscard]] std::optional<std::string> missing(Time now) const;

  private:
    void add_guest_agent(sizing::Statistics& statistics, Time now) const;

    std::optional<Time> first_asked_at_;
    Time asked_at_;
    bool asking_ = false;
    bool discard_ = false;  // the answer that is on its way
    std::optional<Time> period_asked_at_;
    std::optional<uint64_t> updated_s_;
    std::optional<sizing::Statistics> fresh_;
    std::optional<sizing::Statistics> told_;
    Time told_at_;
    std::string error_;
    sizing::State state_;

    struct GuestAgent {
        bool asking = false;
        std::optional<Time> ask_at;
        Micros wait{0};
        std::optional<GuestAgentReading> last;
        Time read_at;
        std::optional<BasisPoints> psi;  // between the last two
        std::string error;
    };
    GuestAgent guest_agent_;
};

// Why the size is what it is, for people.
[[nodiscard]] std::string explain(const sizing::Decision& decision);

}  // namespace acma::host
