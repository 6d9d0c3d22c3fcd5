// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/host_policy.h"

namespace acma::simulation {

namespace {

class StaticPolicy : public HostPolicy {
  public:
    [[nodiscard]] bool with_agents() const override { return false; }
    [[nodiscard]] std::vector<Bytes> targets(const HostView&, const std::vector<VmView>& vms,
                                             Time) override {
        std::vector<Bytes> targets;
        targets.reserve(vms.size());
        for (const VmView& vm : vms) {
            targets.push_back(vm.policy.max_mem);
        }
        return targets;
    }
    void restart() override {}
};

}  // namespace

std::unique_ptr<HostPolicy> static_policy() {
    return std::make_unique<StaticPolicy>();
}

const std::vector<NamedPolicy>& policies() {
    static const std::vector<NamedPolicy> k_all{{"acma", acma_policy},
                                                {"mom", mom_policy},
                                                {"proxmox", proxmox_policy},
                                                {"static", static_policy}};
    return k_all;
}

}  // namespace acma::simulation
