// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/simulation/random.h"
#include "engine/simulation/scenario.h"

namespace acma::simulation {

namespace {

constexpr Micros k_minute = Seconds(60);
constexpr Micros k_hour = Seconds(3600);

VmConfig vm_of(std::string name, Bytes min, Bytes max, Bytes start) {
    VmConfig vm{.name = std::move(name), .start = start};
    vm.policy.min_mem = min;
    vm.policy.max_mem = max;
    return vm;
}

std::string numbered(const std::string& name, size_t number) {
    return name + std::to_string(number);
}

Demand steady(Bytes hot, Bytes cold = Bytes(0)) {
    return {{{Micros(0), {hot, cold}}}};
}

// A sixteenth of the host is not for VMs, as the controller does it by default.
Scenario on_host(Bytes memory, Micros counted_from, Micros end) {
    return {.memory = memory, .reserve = memory / 16, .counted_from = counted_from, .end = end};
}

// --- squeezed -------------------------------------------------------------------------------

// The scenarios of Xen's squeezed, a KiB there being a MiB here: every guest has only a balloon,
// nothing is free, and after ten seconds so much has to be freed. f and g are its own faults,
// switched on; tests/scenario has them as faults of ours.
VmConfig squeezed_vm(size_t number, Bytes min, Bytes max, Bytes start) {
    VmConfig vm = vm_of(numbered("domain", number), min, max, start);
    vm.without_agent = true;
    vm.demand = steady(min / 2);
    vm.balloon.rate_per_s = 100_MiB;
    return vm;
}

Scenario squeezed(std::vector<VmConfig> vms, Bytes free, Bytes required, bool possible) {
    Scenario scenario{.reserve = 1_GiB, .vms = std::move(vms), .end = Seconds(120)};
    scenario.memory = scenario.reserve + free;
    for (const VmConfig& vm : scenario.vms) {
        scenario.memory += vm.start + vm.own;
    }
    if (required > Bytes(0)) {
        scenario.reservation = {Seconds(10), required, possible};
    }
    return scenario;
}

Scenario squeezed_a(uint64_t) {
    VmConfig limited = squeezed_vm(0, 1000_MiB, 2000_MiB, 1500_MiB);
    limited.balloon.kind = BalloonDriver::Kind::lower_limit;
    limited.balloon.limit = 1250_MiB;
    limited.balloon.inaccuracy = 1_MiB;
    VmConfig sticky = squeezed_vm(1, 2500_MiB, 4500_MiB, 3500_MiB);
    sticky.balloon = {.kind = BalloonDriver::Kind::intermittent,
                      .rate_per_s = 500_MiB,
                      .interval = Millis(250),
                      .inaccuracy = 1_MiB};
    return squeezed({limited, sticky}, Bytes(0), 1000_MiB, true);
}

Scenario squeezed_b(uint64_t) {
    VmConfig slow = squeezed_vm(1, 500_MiB, 4500_MiB, 3500_MiB);
    slow.balloon.kind = BalloonDriver::Kind::intermittent;
    slow.balloon.interval = Seconds(3);
    slow.balloon.inaccuracy = 1_MiB;
    VmConfig quick = squeezed_vm(0, 500_MiB, 2500_MiB, 1500_MiB);
    quick.balloon = slow.balloon;
    quick.balloon.interval = Millis(1500);
    return squeezed({slow, quick}, Bytes(0), 1000_MiB, true);
}

Scenario squeezed_c(uint64_t) {
    return squeezed({squeezed_vm(0, 1000_MiB, 2000_MiB, 1500_MiB),
                     squeezed_vm(1, 2000_MiB, 3000_MiB, 2500_MiB)},
                    Bytes(0), 1500_MiB, false);
}

Scenario squeezed_d(uint64_t) {
    VmConfig limited = squeezed_vm(1, 2000_MiB, 3000_MiB, 2500_MiB);
    limited.balloon.kind = BalloonDriver::Kind::lower_limit;
    limited.balloon.limit = 2250_MiB;
    return squeezed({squeezed_vm(0, 1000_MiB, 2000_MiB, 1500_MiB), limited}, Bytes(0), 1000_MiB,
                    false);
}

Scenario squeezed_e(uint64_t) {
    VmConfig stuck = squeezed_vm(0, 5000_MiB, 7000_MiB, 7000_MiB);
    stuck.balloon.kind = BalloonDriver::Kind::stuck;
    return squeezed({stuck, squeezed_vm(1, 5000_MiB, 11000_MiB, 6000_MiB)}, Bytes(0), 1000_MiB,
                    true);
}

Scenario squeezed_h(uint64_t) {
    VmConfig limited = squeezed_vm(0, 1000_MiB, 2000_MiB, 1500_MiB);
    limited.balloon.kind = BalloonDriver::Kind::upper_limit;
    limited.balloon.limit = 1500_MiB;
    limited.balloon.inaccuracy = 1_MiB;
    VmConfig other = squeezed_vm(1, 1000_MiB, 2000_MiB, 1500_MiB);
    other.balloon.inaccuracy = 1_MiB;
    return squeezed({limited, other}, 1000_MiB, Bytes(0), true);
}

// --- many, and long -------------------------------------------------------------------------

Demand wandering(Random& random, Bytes least, Bytes most, Bytes cold, Micros end) {
    Demand demand;
    for (Micros at{0}; at < end; at += random.between(Seconds(20), k_minute)) {
        demand.points.push_back({at, {random.between(least, most), cold}});
    }
    return demand;
}

Scenario thousand(uint64_t seed) {
    Random random(seed);
    Scenario scenario = on_host(1536_GiB, Seconds(120), Seconds(600));
    for (size_t i = 0; i < 1000; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 512_MiB, 4_GiB, 1408_MiB);
        vm.demand =
            wandering(random, 300_MiB, 1500_MiB, random.between(200_MiB, 600_MiB), scenario.end);
        scenario.vms.push_back(std::move(vm));
    }
    return scenario;
}

// One day: a base, one peak of about eight hours, every hour or so two minutes of something else.
// Of what is no longer hot a half stays allocated, and becomes hot again the next time.
Demand day_of(Random& random, Micros peak_at) {
    const Bytes base = random.between(1200_MiB, 1800_MiB);
    const Bytes peak = random.between(4800_MiB, 5600_MiB);
    Demand demand;
    Micros other_at = random.between(k_minute, k_hour);
    for (Micros at{0}; at < k_hour * 24; at += k_minute) {
        const double turn = static_cast<double>((at - peak_at).count()) /
                            static_cast<double>((k_hour * 24).count());
        const double wave = std::max(0.0, std::cos(2 * std::numbers::pi * turn));
        const Bytes trend =
            base +
            Bytes(static_cast<uint64_t>(static_cast<double>((peak - base).count()) * wave * wave));
        const Bytes cold = std::min(1500_MiB, (peak - trend) / 2);
        const bool other = at >= other_at && at < other_at + k_minute * 2;
        if (at >= other_at + k_minute * 2) {
            other_at = at + random.between(k_minute * 30, k_minute * 90);
        }
        const Bytes noise = random.between(Bytes(0), trend / 20);
        demand.points.push_back({at, {trend + noise + (other ? 1_GiB : Bytes(0)), cold}});
    }
    return demand;
}

Scenario day(uint64_t seed) {
    Random random(seed);
    Scenario scenario = on_host(48_GiB, k_minute * 10, k_hour * 24);
    for (size_t i = 0; i < 12; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 1_GiB, 8_GiB, 3584_MiB);
        vm.demand = day_of(random, k_hour * 2 * static_cast<int64_t>(i));
        scenario.vms.push_back(std::move(vm));
    }
    return scenario;
}

// --- what hurts -----------------------------------------------------------------------------

Scenario bursting(Bytes burst) {
    Scenario scenario = on_host(48_GiB, Seconds(120), Seconds(600));
    for (size_t i = 0; i < 20; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 512_MiB, 4_GiB, 1536_MiB);
        const Load rest{600_MiB, 300_MiB};
        const Load busy{burst, 300_MiB};
        vm.demand = {{{Micros(0), rest},
                      {Seconds(240), busy},
                      {Seconds(300), rest},
                      {Seconds(480), busy},
                      {Seconds(540), rest}}};
        scenario.vms.push_back(std::move(vm));
    }
    return scenario;
}

Scenario burst(uint64_t) {
    return bursting(1800_MiB);
}

Scenario flood(uint64_t) {
    return bursting(3_GiB);
}

Scenario doubling(Bytes others_cold) {
    Scenario scenario = on_host(24_GiB, Seconds(120), Seconds(600));
    VmConfig first = vm_of("grows", 1_GiB, 8_GiB, 2560_MiB);
    first.demand = {{{Micros(0), {2_GiB, Bytes(0)}}, {Seconds(300), {4_GiB, Bytes(0)}}}};
    scenario.vms.push_back(std::move(first));
    for (size_t i = 1; i < 8; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 512_MiB, 4_GiB, 2560_MiB);
        vm.demand = steady(1_GiB, others_cold);
        scenario.vms.push_back(std::move(vm));
    }
    scenario.doubling = {0, Seconds(300)};
    return scenario;
}

Scenario doubles(uint64_t) {
    return doubling(512_MiB);
}

Scenario doubles_tight(uint64_t) {
    return doubling(1536_MiB);
}

// Two of them at max-mem are all that the budget has. Each works for a minute in turn; the memory
// of that is free again afterwards, but each also has much that it never looks at again.
Scenario three_peaks(uint64_t) {
    Scenario scenario = on_host(13_GiB, Seconds(180), Seconds(900));
    for (int64_t i = 0; i < 3; ++i) {
        VmConfig vm = vm_of(numbered("vm", static_cast<size_t>(i)), 1_GiB, 6_GiB, 3968_MiB);
        const Load rest{1200_MiB, 2600_MiB};
        const Load busy{3200_MiB, 2600_MiB};
        vm.demand.points.push_back({Micros(0), rest});
        for (Micros at = k_minute * (i + 1); at < scenario.end; at += k_minute * 3) {
            vm.demand.points.push_back({at, busy});
            vm.demand.points.push_back({at + k_minute, rest});
        }
        scenario.vms.push_back(std::move(vm));
    }
    return scenario;
}

Scenario restarts(uint64_t seed) {
    Random random(seed);
    Scenario scenario = on_host(16_GiB, Seconds(120), Seconds(1200));
    for (size_t i = 0; i < 6; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 512_MiB, 4_GiB, 2_GiB);
        vm.demand = wandering(random, 600_MiB, 2_GiB, 400_MiB, scenario.end);
        scenario.vms.push_back(std::move(vm));
        for (Micros at = random.between(Seconds(60), Seconds(240)); at < scenario.end;
             at += random.between(Seconds(120), Seconds(300))) {
            scenario.outages.push_back({at, at + random.between(Seconds(1), Seconds(30)), i});
        }
    }
    for (Micros at = Seconds(200); at < scenario.end; at += Seconds(300)) {
        scenario.outages.push_back({at, at + Seconds(60), std::nullopt});
    }
    return scenario;
}

// No agents: balloons follow what their drivers tell, at the pace of stock ones.
Scenario no_agents(uint64_t seed) {
    Random random(seed);
    Scenario scenario = on_host(16_GiB, Seconds(300), Seconds(1800));
    for (size_t i = 0; i < 8; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 512_MiB, 4_GiB, 1792_MiB);
        vm.without_agent = true;
        vm.balloon = {.rate_per_s = 500_MiB, .deflates_on_oom = true};
        const Bytes base = random.between(500_MiB, 900_MiB);
        for (Micros at{0}; at < scenario.end; at += random.between(Seconds(60), k_minute * 4)) {
            vm.demand.points.push_back({at, {base + random.between(Bytes(0), 700_MiB), 200_MiB}});
        }
        scenario.vms.push_back(std::move(vm));
    }
    return scenario;
}

// The agents of half of the VMs die and do not come back, and their loads grow later.
Scenario agents_gone(uint64_t seed) {
    Random random(seed);
    Scenario scenario = on_host(16_GiB, Seconds(120), Seconds(1200));
    for (size_t i = 0; i < 6; ++i) {
        VmConfig vm = vm_of(numbered("vm", i), 512_MiB, 6_GiB, 2_GiB);
        vm.demand = wandering(random, 600_MiB, 1500_MiB, 400_MiB, scenario.end);
        if (i % 2 == 0) {
            scenario.outages.push_back({Seconds(200), scenario.end, i});
            std::erase_if(vm.demand.points, [](const auto& point) {
                return point.at > Seconds(200) && point.at < Seconds(400);
            });
        }
        if (i == 0) {
            std::erase_if(vm.demand.points,
                          [](const auto& point) { return point.at >= Seconds(400); });
            for (int64_t step = 1; step <= 10; ++step) {
                vm.demand.points.push_back(
                    {Seconds(400 + step * 40),
                     {1_GiB + 300_MiB * static_cast<uint64_t>(step), 400_MiB}});
            }
        }
        scenario.vms.push_back(std::move(vm));
    }
    return scenario;
}

// --- anything -------------------------------------------------------------------------------

BalloonDriver any_driver(Random& random, Bytes min, Bytes max) {
    using Kind = BalloonDriver::Kind;
    BalloonDriver driver{.kind = static_cast<Kind>(random.between(0, 4)),
                         .rate_per_s = random.between(32_MiB, 4_GiB),
                         .limit = random.between(min, max),
                         .interval = random.between(Millis(200), Seconds(8)),
                         .inaccuracy = random.between(Bytes(0), 1_MiB)};
    if (random.between(0, 1) == 0) {
        driver.kind = Kind::ideal;
    }
    return driver;
}

Scenario anything(uint64_t seed) {
    Random random(seed);
    Scenario scenario{.reserve = random.between(Bytes(0), 2_GiB), .end = Seconds(240)};
    scenario.memory = scenario.reserve;
    const size_t count = random.between(1, 12);
    for (size_t i = 0; i < count; ++i) {
        const Bytes min = random.between(256_MiB, 1_GiB);
        const Bytes max = random.between(min, 8_GiB);
        VmConfig vm = vm_of(numbered("vm", i), min, max, random.between(min, max));
        vm.policy.shares = static_cast<uint32_t>(random.between(1, 4000));
        vm.without_agent = random.between(0, 3) == 0;
        vm.demand =
            wandering(random, Bytes(0), max, random.between(Bytes(0), max / 4), scenario.end);
        vm.balloon = any_driver(random, min, max);
        scenario.memory += vm.start + vm.own;
        for (uint64_t outages = random.between(0, 2); outages > 0; --outages) {
            const Micros at = random.between(Micros(0), scenario.end);
            scenario.outages.push_back({at, at + random.between(Seconds(1), Seconds(60)), i});
        }
        scenario.vms.push_back(std::move(vm));
    }
    scenario.memory += random.between(Bytes(0), 2_GiB);
    if (random.between(0, 1) == 0) {
        const Micros at = random.between(Micros(0), scenario.end);
        scenario.outages.push_back({at, at + random.between(Seconds(1), Seconds(60)), {}});
    }
    if (random.between(0, 1) == 0) {
        scenario.reservation = {random.between(Seconds(1), scenario.end),
                                random.between(64_MiB, 4_GiB), false};
    }
    return scenario;
}

struct Entry {
    ScenarioName name;
    Scenario (*make)(uint64_t seed);
};

const std::vector<Entry>& entries() {
    static const std::vector<Entry> k_entries{
        {{"squeezed-a", "free 1000 MiB: one cannot go as low as asked, one moves in jerks"},
         squeezed_a},
        {{"squeezed-b", "free 1000 MiB: two stop for 3 s and 1.5 s again and again"}, squeezed_b},
        {{"squeezed-c", "free 1500 MiB: the minimums do not allow it"}, squeezed_c},
        {{"squeezed-d", "free 1000 MiB: one stops above its minimum, so it cannot be"}, squeezed_d},
        {{"squeezed-e", "free 1000 MiB: one is stuck, the other has to shrink instead of grow"},
         squeezed_e},
        {{"squeezed-h", "1000 MiB are free: one cannot grow, the other takes it"}, squeezed_h},
        {{"thousand", "1000 VMs whose needs change every 20 to 60 s"}, thousand},
        {{"day", "12 VMs, a day, each with its peak two hours after the one before"}, day},
        {{"burst", "20 VMs need three times as much at the same moment, and it fits"}, burst},
        {{"flood", "20 VMs need five times as much at the same moment, and it does not fit"},
         flood},
        {{"doubles", "one VM needs 4 GiB instead of 2, and much is free"}, doubles},
        {{"doubles-tight", "the same, and the others have much that they never look at"},
         doubles_tight},
        {{"three-peaks", "three VMs with peaks in turn where two fit with all of their max-mem"},
         three_peaks},
        {{"restarts", "agents and the host's controller die and come back, under changing load"},
         restarts},
        {{"no-agents", "8 VMs without an agent, sized by their balloons' statistics"}, no_agents},
        {{"agents-gone", "3 of 6 agents die for good, and the loads change on"}, agents_gone},
        {{"random", "anything, by the seed: loads, broken balloons, outages, a reservation"},
         anything},
    };
    return k_entries;
}

}  // namespace

const std::vector<ScenarioName>& scenario_names() {
    static const std::vector<ScenarioName> k_names = [] {
        std::vector<ScenarioName> names;
        for (const Entry& entry : entries()) {
            names.push_back(entry.name);
        }
        return names;
    }();
    return k_names;
}

Result<Scenario> make_scenario(std::string_view name, uint64_t seed) {
    for (const Entry& entry : entries()) {
        if (entry.name.name == name) {
            Scenario scenario = entry.make(seed);
            scenario.name = entry.name.name;
            scenario.what = entry.name.what;
            return scenario;
        }
    }
    return Error{ErrorCode::not_found, "there is no scenario '" + std::string(name) + "'"};
}

}  // namespace acma::simulation
