// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/simulate.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/base/count.h"
#include "host-controller/acmactl/render.h"
#include "host-controller/acmactl/table.h"
#include "proto/simulation_json.h"

namespace acma::ctl {

namespace {
using simulation::Results;

std::string or_never(const std::optional<Micros>& duration) {
    return duration ? fixed(seconds(*duration), 1, " s") : "never";
}

Row row_of(const simulation::PolicyResults& of, uint64_t vms) {
    const Results& results = of.results;
    return {of.policy,
            share_met(results.demand_met, results.demand_fits),
            fixed(seconds(results.demand_fits - results.demand_met), 1, " s"),
            fixed(seconds(results.at_grant), 1, " s"),
            fixed(seconds(results.stalled), 1, " s"),
            human(results.host_free_min),
            human(results.host_swap_max),
            human(results.unbacked_max),
            per_minute(results.target_changes, results.counted * static_cast<int64_t>(vms))};
}

Exit misused(const std::string& message) {
    std::fprintf(stderr, "acmactl: %s\n", printable(message).c_str());
    return Exit::usage;
}

Exit print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? Exit::good : Exit::refused;
}
}  // namespace

std::string render_scenarios() {
    std::vector<Row> rows{{"SCENARIO", "WHAT"}};
    for (const auto& [name, what] : simulation::scenario_names()) {
        rows.push_back({std::string(name), std::string(what)});
    }
    return table(rows, 0);
}

std::string render_simulation(const simulation::Report& report) {
    Row header{"POLICY",        "DEMAND-MET",    "UNMET",    "AT-GRANT",   "STALL",
               "HOST-FREE-MIN", "HOST-SWAP-MAX", "UNBACKED", "CHANGES/MIN"};
    if (report.doubling) {
        header.emplace_back("DOUBLE-NEED");
    }
    if (report.reservation) {
        header.emplace_back("RESERVATION");
    }
    std::vector<Row> rows{header};
    for (const auto& each : report.policies) {
        Row row = row_of(each, report.vms);
        if (report.doubling) {
            row.push_back(or_never(each.results.double_need));
        }
        if (report.reservation) {
            row.push_back(or_never(each.results.reservation));
        }
        rows.push_back(std::move(row));
    }
    return report.scenario + ": " + report.what + "\n" + counted(report.vms, "VM") + " of " +
           human(report.max_mem) + " on a host of " + human(report.memory) + ", budget " +
           human(report.budget) + ", seed " + std::to_string(report.seed) + "\n\n" +
           table(rows, header.size());
}

Exit simulate(const SimulateOptions& options) {
    if (options.list) {
        return print(render_scenarios());
    }
    if (options.scenario.empty()) {
        return misused("simulate: give a scenario; --list names them");
    }
    const auto& policies = simulation::policies();
    if (!options.policy.empty() &&
        std::none_of(policies.begin(), policies.end(),
                     [&options](const auto& each) { return each.name == options.policy; })) {
        return misused("simulate: there is no policy '" + options.policy +
                       "', only acma, mom, proxmox and static");
    }
    const auto scenario = simulation::make_scenario(options.scenario, options.seed);
    if (!scenario) {
        return misused("simulate: " + scenario.error().message + "; --list names them");
    }
    const simulation::Report report = simulation::simulate(*scenario, options.seed, options.policy);
    return print(options.json ? proto::to_json(report, proto::Layout::indented)
                              : render_simulation(report));
}

}  // namespace acma::ctl
