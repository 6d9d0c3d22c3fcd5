// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/replay.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>

#include "engine/base/count.h"
#include "host-controller/acmactl/render.h"
#include "host-controller/acmactl/table.h"
#include "proto/decision_json.h"
#include "proto/simulation_json.h"

namespace acma::ctl {

namespace {
using simulation::Replayed;
using simulation::ReplayReport;

Exit complain(Exit code, const std::string& message) {
    std::fprintf(stderr, "acmactl: replay: %s\n", printable(message).c_str());
    return code;
}

Row row_of(const Replayed& of, uint64_t counted) {
    return {of.policy,
            share_met(of.demand_met, of.demand_fits),
            fixed(seconds(of.demand_fits - of.demand_met), 1, " s"),
            human(of.granted_mean),
            human(of.over_budget_max),
            per_minute(of.changes, of.vm_time),
            std::to_string(of.differences) + " of " + std::to_string(counted)};
}

std::string skipped(const ReplayReport& report) {
    std::string text;
    const auto say = [&text](uint64_t count, const char* thing, const char* what) {
        text += count == 0 ? "" : counted(count, thing) + " " + what + "\n";
    };
    say(report.broken, "line", "broken or cut off, and skipped");
    say(report.newer, "line", "of a newer version, and skipped");
    say(report.dropped, "decision", "that could not be written then, and not in the log");
    return text;
}
}  // namespace

std::string render_replay(const ReplayReport& report) {
    std::vector<Row> rows{
        {"POLICY", "DEMAND-MET", "UNMET", "GRANTED", "OVER-BUDGET", "CHANGES/MIN", "DIFFERENT"}};
    std::string differences;
    for (const Replayed& each : report.policies) {
        rows.push_back(row_of(each, report.grants));
        for (const simulation::Difference& difference : each.first) {
            differences += "\n" + each.policy + ": " + utc(difference.wall) + " " +
                           printable(difference.vm) + " gets " + human(difference.granted) +
                           " instead of " + human(difference.recorded);
        }
    }
    return counted(report.cycles, "decision") + " about " + counted(report.vms, "VM") + " from " +
           utc(report.from) + " until " + utc(report.until) + "\n" + skipped(report) + "\n" +
           table(rows, rows.front().size()) +
           (differences.empty() ? "" : "\nfirst differences, one a VM:" + differences + "\n");
}

Exit replay(const ReplayOptions& options) {
    const auto& policies = simulation::policies();
    if (!options.policy.empty() &&
        std::none_of(policies.begin(), policies.end(),
                     [&options](const auto& each) { return each.name == options.policy; })) {
        return complain(Exit::usage, "there is no policy '" + options.policy +
                                         "', only acma, mom, proxmox and static");
    }
    simulation::Replay replay(options.policy);
    uint64_t broken = 0;
    uint64_t newer = 0;
    for (const std::string& path : options.files) {
        std::ifstream file(path);
        std::string line;
        if (!file) {
            return complain(Exit::refused, error_from_errno(errno, path).message);
        }
        while (std::getline(file, line)) {
            const Result<arbiter::Record> record = proto::from_json<arbiter::Record>(line);
            if (record) {
                replay.add(*record);
            } else {
                ++(record.error().code == ErrorCode::unsupported ? newer : broken);
            }
        }
        if (file.bad()) {
            return complain(Exit::refused, path + ": cannot be read");
        }
    }
    ReplayReport report = replay.report();
    report.broken = broken;
    report.newer = newer;
    if (report.cycles == 0) {
        return complain(Exit::refused, "there is no decision in it; " +
                                           (broken + newer == 0 ? "it is empty" : skipped(report)));
    }
    const std::string text =
        options.json ? proto::to_json(report, proto::Layout::indented) : render_replay(report);
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? Exit::good : complain(Exit::refused, "cannot write");
}

}  // namespace acma::ctl
