// SPDX-License-Identifier: Apache-2.0
#include "engine/simulation/replay.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>

namespace acma::simulation {

namespace {
using arbiter::Guest;
using arbiter::Record;
using Targets = std::vector<Bytes>;  // as the record's VMs

constexpr int k_mib_shift = 20;

Bytes slack_of(Bytes size) {
    return std::max(arbiter::k_still, size / arbiter::k_still_part);
}

bool near(Bytes a, Bytes b) {
    return (a > b ? a - b : b - a) <= slack_of(b);
}

Bytes wanted(const Guest& guest) {
    const Bytes more = guest.needs->pressed ? arbiter::k_pressed_more : Bytes(0);
    return std::clamp(guest.needs->used + more, guest.min, guest.max);
}

// What it takes from the host with a balloon at `size`.
Bytes held(const Guest& guest, Bytes size) {
    return guest.needs ? std::min(guest.needs->used, size) : size;
}

bool is_known(const Guest& guest) {
    return guest.needs && !guest.fixed;
}

bool all_fits(const Record& record) {
    Bytes sum = record.host.reserved;
    for (const Record::Vm& vm : record.vms) {
        sum += vm.guest.own +
               (is_known(vm.guest) ? wanted(vm.guest) : std::max(vm.guest.grant, vm.guest.holds));
    }
    return sum <= record.host.budget;
}
}  // namespace

// One policy, and what came of it.
class Replay::Replayer {
  public:
    using Decide = std::function<Targets(const Record& record, Time now)>;
    Replayer(std::string_view name, Decide decide) : name_(name), decide_(std::move(decide)) {}

    void add(const Record& record, Micros passed, Time now) {
        const Targets granted = decide_(record, now);
        Bytes sum;
        const bool fits = all_fits(record);
        std::map<std::string, Bytes> last;
        Bytes promised;
        for (size_t i = 0; i < granted.size(); ++i) {
            const Record::Vm& vm = record.vms[i];
            promised += granted[i];
            sum += granted[i] + vm.guest.own;
            result_.vm_time += passed;
            if (fits && is_known(vm.guest)) {
                const Bytes wants = wanted(vm.guest);
                result_.demand_fits += passed;
                result_.demand_met += granted[i] + slack_of(wants) >= wants ? passed : Micros(0);
            }
            const auto before = last_.find(vm.uuid);
            result_.changes += before != last_.end() && before->second != granted[i] ? 1U : 0U;
            last.emplace(vm.uuid, granted[i]);
            if (!near(granted[i], vm.grant.size)) {
                differ(record.wall, vm, granted[i]);
            }
        }
        last_ = std::move(last);
        result_.over_budget_max = std::max(result_.over_budget_max, sum - record.host.budget);
        const auto length = static_cast<uint64_t>(passed.count());
        mib_micros_ += (promised.count() >> k_mib_shift) * length;
        micros_ += length;
    }
    [[nodiscard]] Replayed result() const {
        Replayed result = result_;
        result.policy = name_;
        result.granted_mean = Bytes((micros_ == 0 ? 0 : mib_micros_ / micros_) << k_mib_shift);
        return result;
    }

  private:
    void differ(Micros wall, const Record::Vm& vm, Bytes granted) {
        ++result_.differences;
        if (result_.first.size() < k_first_differences && told_.insert(vm.uuid).second) {
            result_.first.push_back({wall, vm.name, vm.grant.size, granted});
        }
    }

    std::string name_;
    Decide decide_;
    Replayed result_;
    std::map<std::string, Bytes> last_;  // of the VMs of the last cycle
    std::set<std::string> told_;
    uint64_t mib_micros_ = 0;
    uint64_t micros_ = 0;
};

namespace {
Targets recorded(const Record& record) {
    Targets granted;
    for (const Record::Vm& vm : record.vms) {
        granted.push_back(vm.grant.size);
    }
    return granted;
}

Targets decided_anew(const Record& record) {
    std::vector<Guest> guests;
    for (const Record::Vm& vm : record.vms) {
        guests.push_back(vm.guest);
    }
    Targets granted;
    for (const arbiter::Grant& grant : arbiter::arbitrate(record.host, guests).grants) {
        granted.push_back(grant.size);
    }
    return granted;
}

// Remembers its own targets. VMs that must be left alone are none of its business.
class Other {
  public:
    explicit Other(std::unique_ptr<HostPolicy> policy) : policy_(std::move(policy)) {}

    Targets decide(const Record& record, Time now) {
        HostView host{.memory = record.memory,
                      .reserve = record.memory - record.host.budget,
                      .reserved = record.host.reserved,
                      .free = record.available};
        std::vector<VmView> views;
        std::vector<std::string> uuids;
        for (const Record::Vm& vm : record.vms) {
            if (vm.guest.fixed) {
                continue;
            }
            const auto known = targets_.find(vm.uuid);
            views.push_back(view_of(vm, known == targets_.end() ? vm.guest.grant : known->second));
            uuids.push_back(vm.uuid);
            host.free += held(vm.guest, vm.guest.holds);
        }
        for (size_t i = 0, other = 0; i < record.vms.size(); ++i) {
            if (!record.vms[i].guest.fixed) {
                host.free -= held(record.vms[i].guest, views[other++].target);
            }
        }
        if (uuids != uuids_) {  // it knows them by their places
            policy_->restart();
            uuids_ = uuids;
        }
        const Targets targets = policy_->targets(host, views, now);
        targets_.clear();
        for (size_t i = 0; i < uuids.size(); ++i) {
            targets_.emplace(uuids[i], targets[i]);
        }
        Targets granted;
        for (const Record::Vm& vm : record.vms) {
            granted.push_back(vm.guest.fixed ? vm.guest.grant : targets_.at(vm.uuid));
        }
        return granted;
    }

  private:
    static VmView view_of(const Record::Vm& vm, Bytes target) {
        VmView view;
        view.ram = std::max({vm.guest.max, vm.guest.holds, target});
        view.own = vm.guest.own;
        view.target = view.actual = target;
        view.unused = target - held(vm.guest, target);
        view.policy.min_mem = vm.guest.min;
        view.policy.max_mem = vm.guest.max;
        view.policy.shares = static_cast<uint32_t>(vm.guest.shares);
        return view;
    }

    const std::unique_ptr<HostPolicy> policy_;
    std::map<std::string, Bytes> targets_;
    std::vector<std::string> uuids_;
};
}  // namespace

Replay::Replay(std::string_view policy) {
    replayers_.emplace_back("recorded",
                            [](const Record& record, Time) { return recorded(record); });
    for (const NamedPolicy& named : policies()) {
        if (!policy.empty() && policy != named.name) {
            continue;
        }
        if (named.make == acma_policy) {
            replayers_.emplace_back(
                named.name, [](const Record& record, Time) { return decided_anew(record); });
        } else {
            replayers_.emplace_back(named.name, [other = std::make_shared<Other>(named.make())](
                                                    const Record& record, Time now) {
                return other->decide(record, now);
            });
        }
    }
}

Replay::~Replay() = default;

void Replay::add(const Record& record) {
    const Micros since = report_.cycles == 0 ? Micros(0) : record.wall - report_.until;
    const Micros passed = std::clamp<Micros>(since, Micros(0), k_longest_cycle);
    now_ += passed;
    report_.from = report_.cycles == 0 ? record.wall : report_.from;
    report_.until = record.wall;
    report_.dropped += record.dropped;
    ++report_.cycles;
    report_.grants += record.vms.size();
    for (const Record::Vm& vm : record.vms) {
        seen_.insert(vm.uuid);
    }
    for (Replayer& replayer : replayers_) {
        replayer.add(record, passed, now_);
    }
}

ReplayReport Replay::report() const {
    ReplayReport report = report_;
    report.vms = seen_.size();
    for (const Replayer& replayer : replayers_) {
        report.policies.push_back(replayer.result());
    }
    return report;
}

}  // namespace acma::simulation
