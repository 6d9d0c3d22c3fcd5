// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/meter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "host-controller/meter/period.h"

namespace acma::host {

namespace {
constexpr Hour k_by_default{24};
// More than that makes a document that its reader refuses.
constexpr size_t k_most_vms = 50'000;

uint64_t mib_seconds(ByteSeconds amount) {
    constexpr int k_mib_shift = 20;
    return static_cast<uint64_t>(
        std::min<ByteSeconds>(amount >> k_mib_shift, std::numeric_limits<uint64_t>::max()));
}

Result<UsagePeriod> period_of(const Meter::Question& question, Micros now) {
    const Result<Micros> since =
        question.since.empty() ? now - k_by_default : parse_moment(question.since, now);
    if (!since) {
        return since.error().in("since");
    }
    // The hour that has begun counts where the period goes up to now.
    const Result<Micros> until =
        question.until.empty() ? now + Hour(1) : parse_moment(question.until, now);
    if (!until) {
        return until.error().in("until");
    }
    const UsagePeriod period{std::chrono::floor<Hour>(*since), std::chrono::floor<Hour>(*until)};
    if (period.since >= period.until) {
        return Error{ErrorCode::invalid, "no hour begins from " + format_utc(period.since) +
                                             " until " + format_utc(period.until) +
                                             ": usage is kept by whole hours of UTC"};
    }
    return period;
}

Result<proto::UsageReport> report_of(const UsagePeriod& period, const std::string& domain,
                                     const UsageAnswer& answer) {
    proto::UsageReport report{period.since, period.until, {}, std::nullopt};
    if (!answer.problem.empty()) {
        report.problem = answer.problem;
    }
    for (const auto& [uuid, vm] : answer.totals) {
        if (domain.empty() || domain == uuid || domain == vm.name) {
            report.vms.push_back({vm.name, uuid, mib_seconds(vm.usage.used),
                                  mib_seconds(vm.usage.above_min), vm.usage.measured,
                                  vm.usage.missing});
        }
    }
    if (report.vms.size() > k_most_vms) {
        return Error{ErrorCode::too_large,
                     "more than " + std::to_string(k_most_vms) + " VMs: ask for a shorter period"};
    }
    if (report.vms.empty() && !domain.empty()) {
        return Error{ErrorCode::not_found, "no domain '" + domain.substr(0, 64) +
                                               "' was metered from " + format_utc(period.since) +
                                               " until " + format_utc(period.until)};
    }
    std::stable_sort(report.vms.begin(), report.vms.end(),
                     [](const auto& a, const auto& b) { return a.name < b.name; });
    return report;
}
}  // namespace

Meter::Meter(UsageLedger& ledger, std::function<Moment()> clock)
    : ledger_(ledger), clock_(std::move(clock)) {}

Meter::~Meter() {
    hand_over();
}

void Meter::observe(const std::vector<Reading>& vms) {
    const Moment now = clock_();
    accumulator_.observe(vms, now);
    // At once for the first time: what is missing since the last run is known then. And when a VM
    // is found: after a crash only what is written says that its seconds are missing.
    if (!handing_over_ && (!handed_over_at_ || accumulator_.has_newcomers() ||
                           now.mono - *handed_over_at_ >= k_write_every)) {
        handed_over_at_ = now.mono;
        hand_over();
    }
}

bool Meter::writes() const {
    const bool hangs =
        handing_over_ && handed_over_at_ && clock_().mono - *handed_over_at_ > k_patience;
    return written_ && !hangs;
}

// Nothing is handed over before the ledger took the last: if its disk hangs, little is kept here.
void Meter::hand_over() {
    if (std::optional<UsageBatch> batch = accumulator_.take()) {
        handing_over_ = true;
        ledger_.add(*std::move(batch), [this](bool written) {
            handing_over_ = false;
            written_ = written;
        });
    }
}

void Meter::ask(const Question& question, Answered answered) {
    const Result<UsagePeriod> period = period_of(question, clock_().wall);
    if (!period) {
        return answered(period.error());
    }
    if (questions_ >= k_most_questions) {
        return answered(Error{ErrorCode::busy, "too many questions about usage at once"});
    }
    if (!handing_over_) {
        hand_over();
    }
    ++questions_;
    ledger_.read(*period, [this, period = *period, domain = question.domain,
                           answered = std::move(answered)](const UsageAnswer& answer) {
        --questions_;
        answered(report_of(period, domain, answer));
    });
}

}  // namespace acma::host
