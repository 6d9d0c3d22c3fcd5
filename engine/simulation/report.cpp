// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/report.h"

namespace acma::simulation {

Report simulate(const Scenario& scenario, uint64_t seed, std::string_view policy) {
    Report report{.scenario = scenario.name,
                  .what = scenario.what,
                  .seed = seed,
                  .vms = scenario.vms.size(),
                  .memory = scenario.memory,
                  .budget = scenario.budget(),
                  .doubling = scenario.doubling.has_value()};
    if (scenario.reservation) {
        report.reservation = scenario.reservation->size;
    }
    for (const VmConfig& vm : scenario.vms) {
        report.max_mem += vm.policy.max_mem;
    }
    for (const NamedPolicy& named : policies()) {
        if (policy.empty() || policy == named.name) {
            const auto host_policy = named.make();
            report.policies.push_back(
                {std::string(named.name), HostSimulation(scenario, *host_policy).run()});
        }
    }
    return report;
}

}  // namespace acma::simulation
