// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/simulation/host_policy.h"

namespace acma::simulation {

namespace {

constexpr Micros k_interval = Seconds(10);
constexpr double k_host_target = 0.80;
constexpr int64_t k_most_change = 100 * 1024 * 1024;
constexpr int64_t k_least_goal = 10 * 1024 * 1024;
constexpr double k_enough_free = 0.25;  // of its minimum

int64_t signed_count(Bytes bytes) {
    return static_cast<int64_t>(bytes.count());
}

struct Balloon {
    int64_t least = 0;
    int64_t most = 0;
    int64_t shares = 0;
    int64_t before = 0;
    int64_t now = 0;
};

// Splits `goal` (more than 0: to be given) by shares among those of `chosen` who are not where they
// should be yet, again and again until nothing moves. What is left of it.
class Split {
  public:
    explicit Split(std::vector<Balloon>& vms) : vms_(vms), arrived_(vms.size(), false) {}

    int64_t run(const std::vector<size_t>& chosen, int64_t goal) {
        int64_t rest = goal;
        for (bool again = true; again && rest != 0;) {
            const int64_t moved = round(chosen, goal, rest, again);
            rest -= moved;
        }
        return rest;
    }

  private:
    int64_t round(const std::vector<size_t>& chosen, int64_t goal, int64_t rest, bool& again) {
        again = false;
        int64_t shares = 0;
        int64_t above_least = rest;
        for (const size_t i : chosen) {
            if (!arrived_[i]) {
                above_least += vms_[i].now - vms_[i].least;
                shares += vms_[i].shares;
            }
        }
        int64_t moved = 0;
        for (const size_t i : chosen) {
            if (arrived_[i]) {
                continue;
            }
            Balloon& vm = vms_[i];
            const double part = static_cast<double>(above_least) / static_cast<double>(shares) *
                                static_cast<double>(vm.shares);
            const int64_t desired =
                std::clamp(vm.least + static_cast<int64_t>(part), vm.least, vm.most);
            int64_t next = vm.now;
            if (goal > 0 && desired > vm.before) {
                next = std::min(desired, vm.before + k_most_change);
            } else if (desired < vm.before) {
                next = std::max(desired, vm.before - k_most_change);
            } else {
                arrived_[i] = true;
                continue;
            }
            moved += next - vm.now;
            again = again || next != vm.now;
            vm.now = next;
        }
        return moved;
    }

    std::vector<Balloon>& vms_;
    std::vector<bool> arrived_;
};

class ProxmoxPolicy : public HostPolicy {
  public:
    [[nodiscard]] bool with_agents() const override { return false; }

    [[nodiscard]] std::vector<Bytes> targets(const HostView& host, const std::vector<VmView>& vms,
                                             Time now) override {
        std::vector<Bytes> targets;
        targets.reserve(vms.size());
        for (const VmView& vm : vms) {
            targets.push_back(vm.target);
        }
        if (now < decide_at_) {
            return targets;
        }
        decide_at_ = now + k_interval;

        std::vector<Balloon> balloons;
        std::vector<size_t> all(vms.size());
        std::iota(all.begin(), all.end(), size_t{0});
        std::vector<size_t> roomy;
        std::vector<size_t> tight;
        for (const size_t i : all) {
            const VmView& vm = vms[i];
            balloons.push_back({.least = signed_count(vm.policy.min_mem),
                                .most = signed_count(vm.policy.max_mem),
                                .shares = vm.policy.shares,
                                .before = signed_count(vm.actual),
                                .now = signed_count(vm.actual)});
            const bool has_room =
                static_cast<double>(vm.unused.count()) >
                    static_cast<double>(vm.policy.min_mem.count()) * k_enough_free &&
                vm.actual >= vm.policy.min_mem;
            (has_room ? roomy : tight).push_back(i);
        }
        const int64_t goal =
            static_cast<int64_t>(static_cast<double>(host.memory.count()) * k_host_target) -
            signed_count(host.memory - host.free);
        if (std::abs(goal) > k_least_goal) {
            const std::vector<size_t>& first = goal > 0 ? tight : roomy;
            const int64_t rest = Split(balloons).run(first, goal);
            if (goal > 0 ? rest >= goal : rest <= goal) {  // no progress
                (void)Split(balloons).run(all, rest);
            }
        }
        for (const size_t i : all) {
            if (balloons[i].now != balloons[i].before) {
                targets[i] = Bytes(static_cast<uint64_t>(balloons[i].now));
            }
        }
        return targets;
    }

    void restart() override { decide_at_ = {}; }

  private:
    Time decide_at_{};
};

}  // namespace

std::unique_ptr<HostPolicy> proxmox_policy() {
    return std::make_unique<ProxmoxPolicy>();
}

}  // namespace acma::simulation
