// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/render.h"

#include <algorithm>
#include <vector>

#include "host-controller/acmactl/table.h"
#include "host-controller/meter/period.h"

namespace acma::ctl {

namespace {
using proto::VmSummary;

std::string or_dash(bool known, const std::string& text) {
    return known ? text : "-";
}

std::string mark_words(const VmSummary& vm) {
    std::string words;
    for (const proto::Mark& mark : vm.marks) {
        words += (words.empty() ? "" : ",") + mark.what;
    }
    return printable(words);
}

std::string psi_of(const VmSummary& vm) {
    return or_dash(vm.psi.has_value(), vm.psi ? human(*vm.psi) : "");
}

bool is_measured(const VmSummary& vm) {
    return vm.host > Bytes(0);
}

std::string vm_table(const std::vector<VmSummary>& vms) {
    std::vector<Row> rows{{"NAME", "MIN", "MAX", "TARGET", "ACTUAL", "HOST", "PSI", "PSI-TARGET",
                           "STATE", "AGENT", "MARKS"}};
    for (const VmSummary& vm : vms) {
        const VmCells cells = vm_cells(vm);
        rows.push_back({cells.name, cells.min, cells.max, cells.target, cells.actual, cells.host,
                        cells.psi, cells.psi_target, cells.state, cells.agent, cells.marks});
    }
    constexpr size_t k_figures = 7;
    return table(rows, k_figures);
}

void add(std::string& text, const std::string& name, const std::string& value) {
    constexpr size_t k_width = 18;
    text += name + std::string(k_width - std::min(k_width - 1, name.size()), ' ') + value + "\n";
}

void add_agent(std::string& text, const proto::VmAgent& agent) {
    add(text, "agent",
        agent.connected ? "connected, version " + printable(agent.version)
                        : std::string("not connected"));
    if (!agent.status) {
        return;
    }
    const AgentStatus& status = *agent.status;
    add(text, "  as of", agent.age ? human(*agent.age) + " ago" : "-");
    add(text, "  state", std::string(to_string(status.state)) + ": " + printable(status.reason));
    add(text, "  policy in force",
        describe(status.policy) + " (from " + std::string(to_string(status.policy_source)) + ")");
    add(text, "  memory",
        human(status.mem_total) + ", free " + human(status.mem_free) + ", available " +
            human(status.mem_available));
    add(text, "  working set",
        status.working_set == Bytes(0) ? "not known yet" : human(status.working_set));
    add(text, "  psi", human(status.psi));
    add(text, "  page-out",
        human(status.quota_per_s) + " a second at most, " + human(status.reclaimed_total) +
            " since start");
    add(text, "  swap",
        human(status.swap_total - status.swap_free) + " of " + human(status.swap_total));
    add(text, "  OOM kills", std::to_string(status.oom_kills_total));
    for (const Problem& problem : status.problems) {
        add(text, "  problem", printable(problem.what) + ": " + printable(problem.message));
    }
}

void add_statistics(std::string& text, const std::optional<proto::VmStatistics>& statistics) {
    if (!statistics) {
        return;
    }
    add(text, "balloon driver",
        printable(statistics->decision) + ": " + printable(statistics->reason));
    add(text, "  as of", human(statistics->age) + " ago");
    add(text, "  memory",
        "free " +
            or_dash(statistics->unused.has_value(), human(statistics->unused.value_or(Bytes(0)))) +
            ", usable " +
            or_dash(statistics->usable.has_value(), human(statistics->usable.value_or(Bytes(0)))));
}

// " (from 4 GiB, to 2 GiB, psi_bp 3)".
std::string in_brackets(const std::map<std::string, uint64_t>& numbers) {
    constexpr std::string_view k_bytes = "_bytes";
    std::string text;
    for (const auto& [name, number] : numbers) {
        const bool size = name.ends_with(k_bytes);
        text += (text.empty() ? " (" : ", ") +
                printable(size ? name.substr(0, name.size() - k_bytes.size()) : name) + " " +
                (size ? human(Bytes(number)) : std::to_string(number));
    }
    return text + (text.empty() ? "" : ")");
}

// "1.234", rounded to the nearest.
std::string gib_hours(uint64_t mib_seconds) {
    constexpr uint64_t k_mib_seconds = uint64_t{1024} * 3600;  // in one
    const uint64_t twice = acma::detail::mul_div_saturating(mib_seconds, 2000, k_mib_seconds);
    const uint64_t thousandths = twice / 2 + twice % 2;
    const std::string decimals = std::to_string(1000 + thousandths % 1000).substr(1);
    return std::to_string(thousandths / 1000) + "." + decimals;
}

int64_t whole_seconds(Micros duration) {
    return std::chrono::round<Seconds>(duration).count();
}

// "125:03:59": hours, since that is what is charged.
std::string clock_of(Micros duration) {
    const int64_t seconds = whole_seconds(duration);
    const auto two = [](int64_t number) { return std::to_string(100 + number).substr(1); };
    return std::to_string(seconds / 3600) + ":" + two(seconds / 60 % 60) + ":" + two(seconds % 60);
}

Row usage_row(const proto::UsageEntry& vm) {
    return {
        printable(vm.name),    gib_hours(vm.used_mib_seconds), gib_hours(vm.above_min_mib_seconds),
        clock_of(vm.measured), clock_of(vm.missing),           printable(vm.uuid)};
}

std::string in_quotes(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : printable(text)) {
        quoted += c == '"' ? "\"\"" : std::string(1, c);
    }
    return quoted + "\"";
}
}  // namespace

VmCells vm_cells(const VmSummary& vm) {
    return {printable(vm.name),
            or_dash(vm.policy.has_value(), vm.policy ? human(vm.policy->min_mem) : ""),
            or_dash(vm.policy.has_value(), vm.policy ? human(vm.policy->max_mem) : ""),
            human(vm.balloon_target),
            human(vm.balloon_actual),
            or_dash(is_measured(vm), human(vm.host)),
            psi_of(vm),
            or_dash(vm.policy.has_value(), vm.policy ? human(vm.policy->psi) : ""),
            std::string(to_string(vm.state)),
            vm.agent_state ? std::string(to_string(*vm.agent_state))
                           : std::string(vm.agent_connected ? "connected" : "-"),
            mark_words(vm)};
}

std::string printable(const std::string& text) {
    std::string clean;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        constexpr unsigned char k_space = 0x20;
        constexpr unsigned char k_delete = 0x7f;
        clean.push_back(byte < k_space || byte == k_delete ? '?' : c);
    }
    return clean;
}

std::string utc(Micros wall) {
    return host::format_utc(wall);
}

std::string render_notices(const proto::HostSummary& host) {
    return std::string(host.libvirt_connected
                           ? ""
                           : "libvirt is not connected: what is shown was known last\n") +
           (host.dry_run ? "dry run: nothing is written, neither to domains nor to agents\n" : "") +
           (host.paused ? "paused: nothing is changed until acmactl resume\n" : "") +
           (host.strain_reason.empty() ? "" : host.strain + ": " + host.strain_reason + "\n") +
           (host.lacking > Bytes(0)
                ? "guaranteed or reserved beyond the budget of " + human(host.budget) + ": " +
                      human(host.lacking) +
                      "; lower min-mem, give VMs a policy, or move or stop some\n"
                : "");
}

std::string render_list(const proto::VmList& list) {
    return vm_table(list.vms) + render_notices(list.host);
}

std::string render_reservations(const proto::ReservationList& list) {
    std::vector<Row> rows{{"RESERVATION", "SIZE", "ENDS-IN", "FOR"}};
    for (const proto::Reservation& reservation : list.reservations) {
        rows.push_back({std::to_string(reservation.id), human(reservation.size),
                        human(reservation.ends_in),
                        or_dash(!reservation.domain.empty(), printable(reservation.domain))});
    }
    return table(rows, 2) + (list.missing > Bytes(0)
                                 ? "VMs still have to give up " + human(list.missing) + "\n"
                                 : "all of it is there\n");
}

std::string render_detail(const proto::VmDetail& detail) {
    const VmSummary& vm = detail.vm;
    std::string text;
    add(text, "name", printable(vm.name));
    add(text, "uuid", printable(vm.uuid));
    add(text, "id", or_dash(vm.id.has_value(), vm.id ? std::to_string(*vm.id) : ""));
    add(text, "state", std::string(to_string(vm.state)));
    add(text, "policy", vm.policy ? describe(*vm.policy) : "none");
    add(text, "policy source", printable(vm.policy_source));
    add(text, "RAM", human(vm.ram));
    add(text, "balloon target", human(vm.balloon_target));
    add(text, "balloon actual", human(vm.balloon_actual));
    add(text, "host bytes",
        vm.host > Bytes(0) ? human(vm.host) + ", of it swapped " + human(vm.host_swap)
                           : "not measured");
    add(text, "QEMU's own", human(vm.qemu_own));
    if (vm.virtio_mem) {
        add(text, "virtio-mem",
            human(*vm.virtio_mem) + " plugged, " +
                human(vm.virtio_mem_requested.value_or(Bytes(0))) + " requested");
    }
    if (vm.held) {
        add(text, "held at", human(*vm.held));
    }
    add_agent(text, detail.agent);
    add_statistics(text, detail.statistics);
    for (const proto::Mark& mark : vm.marks) {
        add(text, "mark " + printable(mark.what), printable(mark.message));
    }
    add(text, "last reason", printable(vm.last_reason));
    return text;
}

std::string render_explanation(const proto::Explanation& explanation) {
    std::string text;
    for (const proto::ExplainEntry& entry : explanation.entries) {
        text += utc(entry.time) + "  " + printable(entry.decision) + ": " +
                printable(entry.reason) + in_brackets(entry.numbers) + "\n";
    }
    return text.empty() ? "nothing was decided yet\n" : text;
}

std::string render_usage(const proto::UsageReport& report) {
    std::vector<Row> rows{{"NAME", "GIB-HOURS", "ABOVE-MIN", "MEASURED", "MISSING", "UUID"}};
    proto::UsageEntry sum{.name = "(all)"};
    for (const proto::UsageEntry& vm : report.vms) {
        rows.push_back(usage_row(vm));
        sum.used_mib_seconds += vm.used_mib_seconds;
        sum.above_min_mib_seconds += vm.above_min_mib_seconds;
        sum.measured += vm.measured;
        sum.missing += vm.missing;
    }
    rows.push_back(usage_row(sum));
    constexpr size_t k_usage_figures = 4;
    return "usage from " + utc(report.since) + " until " + utc(report.until) + "\n" +
           table(rows, k_usage_figures);
}

std::string render_usage_csv(const proto::UsageReport& report) {
    std::string text =
        "name,uuid,since,until,used_gib_hours,above_min_gib_hours,used_mib_seconds,"
        "above_min_mib_seconds,measured_s,missing_s\r\n";
    for (const proto::UsageEntry& vm : report.vms) {
        for (const std::string& cell :
             {in_quotes(vm.name), in_quotes(vm.uuid), utc(report.since), utc(report.until),
              gib_hours(vm.used_mib_seconds), gib_hours(vm.above_min_mib_seconds),
              std::to_string(vm.used_mib_seconds), std::to_string(vm.above_min_mib_seconds),
              std::to_string(whole_seconds(vm.measured))}) {
            text += cell + ",";
        }
        text += std::to_string(whole_seconds(vm.missing)) + "\r\n";
    }
    return text;
}

std::string render_plain(const proto::VmList& list, Micros wall) {
    std::string text;
    for (const VmSummary& vm : list.vms) {
        text += utc(wall) + " " + printable(vm.name) +
                " host_bytes=" + or_dash(is_measured(vm), std::to_string(vm.host.count())) +
                " target_bytes=" + std::to_string(vm.balloon_target.count()) +
                " actual_bytes=" + std::to_string(vm.balloon_actual.count()) +
                " psi_bp=" + (vm.psi ? std::to_string(vm.psi->count()) : "-") +
                " state=" + std::string(to_string(vm.state)) +
                " marks=" + or_dash(!vm.marks.empty(), mark_words(vm)) + "\n";
    }
    return text;
}

}  // namespace acma::ctl
