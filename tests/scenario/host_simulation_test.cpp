// SPDX-License-Identifier: Apache-2.0
// Hosts with many guests: the real arbiter and the guests' real loop on a manual clock.
#include "engine/simulation/host_simulation.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace acma::simulation {
namespace {

constexpr uint64_t k_seed = 1;

Scenario scenario(std::string_view name, uint64_t seed = k_seed) {
    return make_scenario(name, seed).value();
}

Results run(const Scenario& scenario, std::unique_ptr<HostPolicy> policy) {
    return HostSimulation(scenario, *policy).run();
}
// Ours, each scenario once: a day takes seconds.
const Results& run(const std::string& name) {
    static std::map<std::string, Results> known;
    const auto at = known.find(name);
    return at != known.end()
               ? at->second
               : known.emplace(name, run(scenario(name), acma_policy())).first->second;
}

double demand_met_pct(const Results& results) {
    return 100.0 * static_cast<double>(results.demand_met.count()) /
           static_cast<double>(results.demand_fits.count());
}

TEST(HostSimulation, GrantedMemoryExistsAfterEveryStepOfEveryScenario) {
    for (const auto& [name, what] : scenario_names()) {
        const Results& results = run(std::string(name));
        EXPECT_EQ(results.unbacked_max, Bytes(0)) << name;
        EXPECT_EQ(results.host_swap_max, Bytes(0)) << name;
    }
}

TEST(HostSimulation, SqueezedReservationsAreMetWhereTheyCanBe) {
    for (const char* name : {"squeezed-a", "squeezed-b", "squeezed-e"}) {
        EXPECT_LE(run(name).reservation.value_or(Seconds(3600)), Seconds(30)) << name;
    }
    for (const char* name : {"squeezed-c", "squeezed-d"}) {
        EXPECT_FALSE(run(name).reservation) << name;
    }
}

// Squeezed's scenario h: what one guest cannot take goes to the other.
TEST(HostSimulation, SlackGoesToTheGuestThatCanTakeIt) {
    const auto policy = acma_policy();
    HostSimulation host(scenario("squeezed-h"), *policy);
    (void)host.run();
    EXPECT_GE(host.vms()[1].target(), 1850_MiB);
}

TEST(HostSimulation, AGuestThatDoublesItsNeedHasItWithinTwoSeconds) {
    for (const char* name : {"doubles", "doubles-tight"}) {
        EXPECT_LT(run(name).double_need.value_or(Seconds(3600)), Seconds(2)) << name;
    }
}

TEST(HostSimulation, ADayOfStaggeredLoadIsMet) {
    EXPECT_GE(demand_met_pct(run("day")), 99.9);
}

TEST(HostSimulation, GrantsThatStandCarryGuestsWhileTheControllerIsAway) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        EXPECT_GE(demand_met_pct(run(scenario("restarts", seed), acma_policy())), 99.9) << seed;
    }
}

TEST(HostSimulation, GuestsWhoseAgentsAreGoneAreServedByStatistics) {
    EXPECT_GE(demand_met_pct(run("agents-gone")), 99.9);
    EXPECT_GE(demand_met_pct(run("no-agents")), 99.9);
}

TEST(HostSimulation, ThreePeaksFitWhereMaxMemForEachMakesTheHostSwap) {
    EXPECT_EQ(run("three-peaks").host_swap_max, Bytes(0));
    EXPECT_GT(run(scenario("three-peaks"), static_policy()).host_swap_max, Bytes(0));
}

TEST(HostSimulation, AFloodOfNeedsNeverMakesTheHostSwap) {
    EXPECT_EQ(run("flood").host_swap_max, Bytes(0));
    EXPECT_GT(run(scenario("flood"), mom_policy()).host_swap_max, Bytes(0));
}

TEST(HostSimulation, TheSameSeedGivesTheSameResults) {
    EXPECT_EQ(run(scenario("restarts", 7), acma_policy()),
              run(scenario("restarts", 7), acma_policy()));
    EXPECT_NE(scenario("restarts", 7), scenario("restarts", 8));
}

TEST(HostSimulation, NothingChangesWhileTheControllerIsAway) {
    const Scenario restarts = scenario("restarts");
    const auto policy = acma_policy();
    HostSimulation host(restarts, *policy);
    const auto targets = [&host] {
        std::vector<Bytes> sizes;
        for (const SimVm& vm : host.vms()) {
            sizes.push_back(vm.target());
        }
        return sizes;
    };
    const auto away = [&restarts](Micros since) {
        return std::any_of(
            restarts.outages.begin(), restarts.outages.end(),
            [since](const auto& o) { return !o.vm && o.from <= since && since < o.until; });
    };
    int steps_away = 0;
    for (auto before = targets(); host.step();) {
        if (away(host.now() - Time{} - k_guest_step)) {
            EXPECT_EQ(targets(), before);
            ++steps_away;
        }
        before = targets();
    }
    EXPECT_GT(steps_away, 1000);
}

TEST(HostSimulation, UnderASteadyLoadTargetsComeToRest) {
    Scenario steady = scenario("thousand");
    steady.vms.resize(20);
    steady.memory = 24_GiB;
    steady.reserve = 1_GiB;
    for (VmConfig& vm : steady.vms) {
        vm.start = 1_GiB;
        vm.demand.points.resize(1);
    }
    steady.counted_from = Seconds(300);
    EXPECT_EQ(run(steady, acma_policy()).target_changes, 0U);
}

// --- the checks can fail ----------------------------------------------------------------------

// Squeezed's scenario f, its own fault switched on: everybody gets his new size at once, before
// those who have to give have given.
class OnePhase : public HostPolicy {
  public:
    [[nodiscard]] bool with_agents() const override { return true; }
    [[nodiscard]] std::vector<Bytes> targets(const HostView&, const std::vector<VmView>& vms,
                                             Time now) override {
        std::vector<Bytes> targets;
        for (const VmView& vm : vms) {
            targets.push_back(vm.target);
        }
        if (now == Time{} + Seconds(20)) {
            std::swap(targets[0], targets[1]);
        }
        return targets;
    }
    void restart() override {}
};

TEST(HostSimulation, SeesPromisesThatDoNotExist) {
    Scenario stuck = scenario("squeezed-e");
    EXPECT_GT(run(stuck, std::make_unique<OnePhase>()).unbacked_max, Bytes(0));
    EXPECT_GT(run(scenario("squeezed-a"), static_policy()).unbacked_max, Bytes(0));
}

// --- anything ---------------------------------------------------------------------------------

RC_GTEST_PROP(HostSimulationProperties, PromisesExistWhateverHappens, ()) {
    const auto seed = *rc::gen::arbitrary<uint64_t>();
    const Scenario any = scenario("random", seed);
    const auto policy = acma_policy();
    HostSimulation host(any, *policy);
    while (host.step()) {
        RC_ASSERT(host.promised() <= any.budget());
        for (const SimVm& vm : host.vms()) {
            RC_ASSERT(vm.target() >= vm.config().policy.min_mem);
            RC_ASSERT(vm.target() <= vm.config().policy.max_mem);
            // What it uses, it has: the pieces of a guest add up to its RAM.
            RC_ASSERT(vm.resident() <= std::max(vm.actual(), vm.config().kernel));
        }
    }
    RC_ASSERT(host.results().unbacked_max == Bytes(0));
    RC_ASSERT(host.results().host_swap_max == Bytes(0));
    const Results& results = host.results();
    RC_ASSERT(results.demand_met + results.at_grant <= results.demand_fits);
}

RC_GTEST_PROP(HostSimulationProperties, OthersRulesStayInsideThePolicyToo, ()) {
    const auto seed = *rc::gen::arbitrary<uint64_t>();
    const Scenario any = scenario("random", seed);
    for (const NamedPolicy& named : policies()) {
        const auto policy = named.make();
        HostSimulation host(any, *policy);
        while (host.step()) {
            for (const SimVm& vm : host.vms()) {
                RC_ASSERT(vm.target() >= vm.config().policy.min_mem);
                RC_ASSERT(vm.target() <= vm.config().policy.max_mem);
            }
        }
    }
}

}  // namespace
}  // namespace acma::simulation
