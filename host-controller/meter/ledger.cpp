// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/ledger.h"

#include <utility>

#include "engine/base/count.h"
#include "host-controller/meter/period.h"

namespace acma::host {

namespace {
std::string from_to(Micros from, Micros to) {
    return "from " + format_utc(from) + " to " + format_utc(to);
}
}  // namespace

Ledger::~Ledger() {
    if (unwritten_) {
        say_(true, "metering: the usage " +
                       from_to(unwritten_->since.wall, unwritten_->until.wall) +
                       " could not be written and is lost");
    }
}

bool Ledger::add(UsageBatch batch) {
    if (unwritten_) {
        unwritten_->append(batch);
    } else {
        unwritten_ = std::move(batch);
    }
    const Result<std::optional<UsageGap>> written = store_.commit(*unwritten_);
    if (!written) {
        keep(written.error().message);
        return false;
    }
    if (!std::exchange(problem_, {}).empty()) {
        say_(false, "metering: usage is written again, what was kept since " +
                        format_utc(unwritten_->since.wall) + " as well");
    }
    unwritten_.reset();
    if (*written) {
        tell_gap(**written);
    }
    return true;
}

void Ledger::tell_gap(const UsageGap& gap) {
    const std::string of = gap.vms == 0 ? "" : " of " + counted(gap.vms, "VM");
    if (gap.from == gap.to) {
        return say_(true, "metering: usage" + of + " is missing up to " + format_utc(gap.to) +
                              "; for how long is not known, since the host's clock was set back");
    }
    say_(true, "metering: usage" + of + " is missing " + from_to(gap.from, gap.to) + " (" +
                   human(gap.to - gap.from) + ")");
}

void Ledger::keep(const std::string& why) {
    if (std::exchange(problem_, why).empty()) {
        say_(true, "metering: usage cannot be written: " + why + "; what is measured since " +
                       format_utc(unwritten_->since.wall) +
                       " is kept in memory and tried again, and lost if the controller ends "
                       "before");
    }
    if (unwritten_->entries() > k_most_unwritten) {
        say_(true, "metering: the usage " +
                       from_to(unwritten_->since.wall, unwritten_->until.wall) +
                       " is lost: there is no more room to keep it in memory");
        unwritten_.reset();
    }
}

UsageAnswer Ledger::read(const UsagePeriod& period) {
    Result<UsageTotals> stored = store_.read(period);
    UsageAnswer answer;
    answer.problem = problem_;
    if (stored) {
        answer.totals = std::move(*stored);
    } else if (problem_.empty()) {
        answer.problem = stored.error().message;
    }
    if (!answer.problem.empty()) {
        answer.problem = (stored ? "what is kept cannot be written: "
                                 : "only what was not written yet is shown: ") +
                         answer.problem;
    }
    if (!unwritten_) {
        return answer;
    }
    for (const auto& [uuid, vm] : unwritten_->vms) {
        for (auto hour = vm.hours.lower_bound(period.since);
             hour != vm.hours.end() && hour->first < period.until; ++hour) {
            UsageTotal& total = answer.totals[uuid];
            total.name = vm.name;
            total.usage += hour->second;
        }
    }
    return answer;
}

}  // namespace acma::host
