// SPDX-License-Identifier: Apache-2.0
// Meters the memory of this host's VMs: gathers what they use, hands it to the ledger every ten
// seconds, and answers what was used. Runs on the reactor's thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host-controller/meter/accumulator.h"
#include "host-controller/meter/store.h"
#include "proto/controller_api.h"

namespace acma::host {

class Meter {
  public:
    // What a crash may lose; of a VM that was just found, at most until the next observe().
    static constexpr Micros k_write_every{10'000'000};
    // Questions that wait for the ledger at once.
    static constexpr size_t k_most_questions = 16;

    // `clock` and `ledger` outlive it.
    Meter(UsageLedger& ledger, std::function<Moment()> clock);
    // Hands over the rest.
    ~Meter();
    Meter(const Meter&) = delete;
    Meter& operator=(const Meter&) = delete;

    // All VMs that run; once a second. Not before it is known which ones do.
    void observe(const std::vector<Reading>& vms);

    // The last that was handed over could be written, and no disk hangs for longer than this.
    static constexpr Micros k_patience{30'000'000};
    [[nodiscard]] bool writes() const;

    // Of the VMs that run, since they were found.
    [[nodiscard]] std::optional<Accumulator::Total> total(const std::string& uuid) const {
        return accumulator_.total(uuid);
    }

    // `since` and `until` as parse_moment() takes them, empty: 24 hours ago, now. Whole hours are
    // counted, those that begin in the period. `domain` is a UUID or the last name that a VM had,
    // empty: all. not_found: no such VM was metered then.
    struct Question {
        std::string since;
        std::string until;
        std::string domain;
    };
    using Answered = std::function<void(const Result<proto::UsageReport>&)>;
    void ask(const Question& question, Answered answered);

  private:
    void hand_over();

    UsageLedger& ledger_;
    const std::function<Moment()> clock_;
    Accumulator accumulator_;
    std::optional<Time> handed_over_at_;
    bool handing_over_ = false;  // the ledger has not taken it yet
    bool written_ = true;        // or nothing was to be written yet
    size_t questions_ = 0;
};

}  // namespace acma::host
