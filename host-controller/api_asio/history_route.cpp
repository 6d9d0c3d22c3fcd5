// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/history_route.h"

#include <charconv>
#include <optional>

#include "host-controller/api_asio/query.h"

namespace acma::host {

namespace {
// What a screen shows; an answer has 2 MB at most then.
constexpr size_t k_max_vms = 64;

struct Question {
    ChartRange range = ChartRange::hour;
    std::vector<std::string> vms;
    std::string after;
    size_t limit = k_max_vms;
};

Error wrong(const std::string& message) {
    return Error{ErrorCode::invalid, message};
}

Result<Question> read_question(std::string_view target, bool of_one) {
    const Result<Query> query = read_query(target);
    if (!query) {
        return query.error();
    }
    Question question;
    for (const auto& [name, value] : *query) {
        if (name == "range") {
            const auto range = parse_chart_range(value);
            if (!range) {
                return wrong("range is 5m, 1h or 24h");
            }
            question.range = *range;
        } else if (name == "vm" && !of_one) {
            question.vms.push_back(value);
        } else if (name == "after" && !of_one) {
            question.after = value;
        } else if (name == "limit" && !of_one) {
            const char* const end = value.data() + value.size();
            const auto [read, error] = std::from_chars(value.data(), end, question.limit);
            if (error != std::errc() || read != end || question.limit > k_max_vms) {
                return wrong("limit is from 0 to " + std::to_string(k_max_vms));
            }
        } else {
            return wrong(of_one ? "the history of a VM takes range only"
                                : "history takes range, vm, after and limit only");
        }
    }
    if (question.vms.size() > k_max_vms) {
        return wrong("at most " + std::to_string(k_max_vms) + " VMs at once");
    }
    return question;
}
}  // namespace

Result<proto::HistoryReport> history(const Fleet& fleet, const Charts& charts,
                                     std::string_view target, const std::string* only, Now now) {
    const Result<Question> question = read_question(target, only != nullptr);
    if (!question) {
        return question.error();
    }
    const ChartRange range = question->range;
    proto::HistoryReport report{step_of(range), charts.host(range, now), {}, {}};
    const auto tell = [&report, &fleet, &charts, range, now](const VmId& id) {
        report.vms.push_back({fleet.vms().at(id).facts().name, id.uuid, charts.vm(id, range, now)});
    };
    if (only != nullptr) {
        const Result<VmId> id = fleet.find(*only);
        if (!id) {
            return id.error();
        }
        tell(*id);
        return report;
    }
    if (!question->vms.empty()) {
        for (const std::string& wanted : question->vms) {
            if (const Result<VmId> id = fleet.find(wanted)) {
                tell(*id);
            }
        }
        return report;
    }
    for (auto vm = fleet.vms().upper_bound(VmId{question->after}); vm != fleet.vms().end(); ++vm) {
        if (report.vms.size() == question->limit) {
            report.next = report.vms.empty() ? question->after : report.vms.back().uuid;
            break;
        }
        tell(vm->first);
    }
    return report;
}

}  // namespace acma::host
