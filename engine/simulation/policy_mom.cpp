// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "engine/simulation/host_policy.h"

namespace acma::simulation {

namespace {

constexpr Micros k_sample_interval = Seconds(5);
constexpr Micros k_policy_interval = Seconds(10);
constexpr size_t k_samples = 10;
constexpr double k_pressure = 0.20;
constexpr double k_critical = 0.05;
constexpr double k_guest_free = 0.20;
constexpr double k_most_change = 0.05;
constexpr double k_least_change = 0.0025;

class Average {
  public:
    void add(Bytes value) {
        samples_.push_back(static_cast<double>(value.count()));
        if (samples_.size() > k_samples) {
            samples_.pop_front();
        }
    }
    [[nodiscard]] double value() const {
        return std::accumulate(samples_.begin(), samples_.end(), 0.0) /
               static_cast<double>(std::max<size_t>(1, samples_.size()));
    }
    [[nodiscard]] double last() const { return samples_.empty() ? 0 : samples_.back(); }

  private:
    std::deque<double> samples_;
};

// Its rules count in floating point, as here.
class MomPolicy : public HostPolicy {
  public:
    [[nodiscard]] bool with_agents() const override { return false; }

    [[nodiscard]] std::vector<Bytes> targets(const HostView& host, const std::vector<VmView>& vms,
                                             Time now) override {
        guests_.resize(vms.size());
        if (now >= sample_at_) {
            sample_at_ = now + k_sample_interval;
            host_free_.add(host.free);
            for (size_t i = 0; i < vms.size(); ++i) {
                guests_[i].current.add(vms[i].actual);
                guests_[i].unused.add(vms[i].unused);
            }
        }
        std::vector<Bytes> targets;
        const bool decides = now >= decide_at_ && decide_at_ != Time{};
        const double free = host_free_.value() / static_cast<double>(host.memory.count());
        for (size_t i = 0; i < vms.size(); ++i) {
            targets.push_back(decides ? target(vms[i], guests_[i], free) : vms[i].target);
        }
        if (decides || decide_at_ == Time{}) {
            decide_at_ = now + k_policy_interval;
        }
        return targets;
    }

    void restart() override { *this = MomPolicy(); }

  private:
    struct Guest {
        Average current;
        Average unused;
    };

    [[nodiscard]] static double should_stay_free(double host_free) {
        return host_free <= k_critical ? host_free - k_critical
                                       : k_guest_free * host_free / k_pressure;
    }

    [[nodiscard]] static Bytes target(const VmView& vm, const Guest& guest, double host_free) {
        const auto least = static_cast<double>(vm.policy.min_mem.count());
        const auto most = static_cast<double>(vm.policy.max_mem.count());
        const double current = guest.current.last();
        const double used = guest.current.value() - guest.unused.value();
        double size = current;
        if (host_free < k_pressure) {
            size = std::max({current * (1 - k_most_change), least,
                             used + should_stay_free(host_free) * current});
            if (size > current) {
                return vm.target;
            }
        } else if (current < most) {
            size = std::min(most, std::max({current * (1 + k_most_change), least,
                                            used + k_guest_free * current}));
        }
        const bool worth_it = std::abs(size - current) > k_least_change * current;
        return worth_it ? Bytes(static_cast<uint64_t>(size)) : vm.target;
    }

    Average host_free_;
    std::vector<Guest> guests_;
    Time sample_at_{};
    Time decide_at_{};
};

}  // namespace

std::unique_ptr<HostPolicy> mom_policy() {
    return std::make_unique<MomPolicy>();
}

}  // namespace acma::simulation
