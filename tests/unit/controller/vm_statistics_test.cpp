// SPDX-License-Identifier: Apache-2.0
// A VM without an agent, sized by what its balloon's driver tells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/vm/vm.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

constexpr Policy k_policy{512_MiB, 4_GiB, 100_bp, 1000, Mode::automatic};

DomainFacts domain() {
    DomainFacts facts;
    facts.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    facts.name = "web";
    facts.id = 1;
    facts.ram = 4_GiB;
    facts.ram_blocks = {4_GiB};
    facts.current = 4_GiB;
    facts.has_balloon = true;
    facts.balloon_deflates = true;
    facts.policy = std::optional(k_policy);
    return facts;
}

class VmStatistics : public testing::Test {
  protected:
    void start(const DomainFacts& facts = domain()) {
        size_ = facts.current;
        vm_.emplace(VmSettings{&rules_}, facts, now());
        carry_out(vm_->start(now()));
    }
    void run(int seconds) {
        for (int i = 0; i < seconds; ++i) {
            clock_ += Seconds(1);
            carry_out(vm_->tick(now()));
        }
    }
    [[nodiscard]] Now now() const { return {Time(clock_), Micros(1'800'000'000'000'000) + clock_}; }
    [[nodiscard]] std::string mark(std::string_view what) const {
        for (const proto::Mark& mark : vm_->summary().marks) {
            if (mark.what == what) {
                return mark.message;
            }
        }
        return "";
    }
    [[nodiscard]] DomainFacts with(Mode mode) const {
        DomainFacts facts = vm_->facts();
        Policy policy = k_policy;
        policy.mode = mode;
        facts.policy = std::optional(policy);
        return facts;
    }

    std::optional<Vm> vm_;
    Bytes size_;
    Bytes work_ = 600_MiB;
    bool tells_ = true;
    int asked_ = 0;
    int periods_set_ = 0;

  private:
    // The guest follows at once, and tells its statistics whenever it is asked.
    void carry_out(const Actions& actions) {
        for (const Action& action : actions) {
            if (const auto* write = std::get_if<WriteBalloon>(&action)) {
                size_ = write->target;
                carry_out(vm_->on_balloon_written({}, size_, now()));
                carry_out(vm_->on_balloon(size_, now()));
            } else if (const auto* read = std::get_if<ReadStatistics>(&action)) {
                ++asked_;
                periods_set_ += read->set_period ? 1 : 0;
                carry_out(vm_->on_statistics(told(), now()));
            }
        }
    }
    [[nodiscard]] MemoryStatistics told() const {
        MemoryStatistics statistics;
        if (tells_) {
            statistics.told.unused = size_ - work_;
            statistics.told.usable = size_ - work_;
            statistics.updated_s = static_cast<uint64_t>(clock_ / Seconds(1));
        }
        return statistics;
    }
    std::vector<PolicyRule> rules_;
    Micros clock_{Seconds(1000)};
};

TEST_F(VmStatistics, ShrinksAnIdleGuestAndGrowsABusyOneAndExplainsBoth) {
    start();
    run(600);
    EXPECT_LT(size_, 1_GiB);
    EXPECT_GE(size_, work_ + 128_MiB);
    EXPECT_THAT(vm_->summary().last_reason, HasSubstr("can spare what is beyond a headroom"));
    work_ = 2_GiB;
    run(5);
    EXPECT_GE(size_, work_);
    EXPECT_THAT(vm_->summary().last_reason, HasSubstr("is short of memory"));
    const auto shown = vm_->detail(now()).statistics;
    ASSERT_TRUE(shown);
    EXPECT_LE(shown->age, Seconds(3));
    EXPECT_EQ(shown->decision, "keeps");
}

TEST_F(VmStatistics, AsksEveryTwoSecondsAndSetsThePeriodOnceAMinuteWhileItIsNotSet) {
    start();
    run(60);
    EXPECT_EQ(asked_, 30);
    EXPECT_EQ(periods_set_, 1);
    DomainFacts facts = vm_->facts();
    facts.statistics_period = Seconds(2);
    (void)vm_->on_domain(facts, false, now());
    run(120);
    EXPECT_EQ(periods_set_, 1);
}

TEST_F(VmStatistics, WritesNothingInObserveAndTellsOneStep) {
    DomainFacts facts = domain();
    Policy policy = k_policy;
    policy.mode = Mode::observe;
    facts.policy = std::optional(policy);
    start(facts);
    run(300);
    EXPECT_EQ(size_, 4_GiB);
    EXPECT_EQ(periods_set_, 0);
    EXPECT_GT(asked_, 0);
    EXPECT_THAT(vm_->summary().last_reason, HasSubstr("to 3.7 GiB (observe)"));
}

TEST_F(VmStatistics, LeavesAGuestAtItsGrantThatTellsNothingAndSaysSo) {
    tells_ = false;
    start();
    run(19);
    EXPECT_EQ(mark("no-statistics"), "");
    run(600);
    EXPECT_EQ(size_, 4_GiB);
    EXPECT_THAT(mark("no-statistics"), HasSubstr("tells no statistics"));
    EXPECT_FALSE(vm_->claim(now()).needs);
    EXPECT_EQ(vm_->summary().state, proto::VmState::managed);
}

TEST_F(VmStatistics, GivesBackWhenTheGuestFallsSilent) {
    start();
    run(600);
    ASSERT_LT(size_, 1_GiB);
    tells_ = false;
    run(60);
    EXPECT_EQ(size_, 4_GiB);
    EXPECT_THAT(mark("no-statistics"), HasSubstr("gets back what it gave"));
}

TEST_F(VmStatistics, TellsTheArbiterWhatTheGuestNeeds) {
    start();
    run(4);
    const auto needs = vm_->claim(now()).needs;
    ASSERT_TRUE(needs);
    EXPECT_EQ(needs->used, work_ + 150_MiB);
    EXPECT_FALSE(needs->pressed);
}

TEST_F(VmStatistics, DoesNotShrinkAGuestWhoseBalloonDoesNotYieldAndSaysSo) {
    DomainFacts facts = domain();
    facts.balloon_deflates = false;
    start(facts);
    run(600);
    EXPECT_EQ(size_, 4_GiB);
    EXPECT_THAT(mark("no-autodeflate"), HasSubstr("autodeflate='on'"));
    EXPECT_TRUE(vm_->claim(now()).needs);
}

TEST_F(VmStatistics, WaitsForAnAgentThatIsConfiguredAndLeavesTheGuestToIt) {
    DomainFacts facts = domain();
    facts.channel = "/run/web.sock";
    start(facts);
    run(59);
    EXPECT_EQ(asked_, 0);
    run(600);
    EXPECT_LT(size_, 1_GiB) << "none has come";
    (void)vm_->on_agent(AgentUp{proto::own_info("1.0")}, now());
    run(1);
    EXPECT_EQ(size_, 4_GiB) << "its own agent takes what it can spare";
    (void)vm_->on_agent(AgentDown{AgentDown::Why::silent, "x"}, now());
    run(600);
    EXPECT_EQ(size_, 4_GiB) << "an agent that has died shrinks nobody";
    EXPECT_TRUE(vm_->claim(now()).needs) << "but the arbiter is told what its guest needs";
    EXPECT_EQ(mark("no-autodeflate"), "");
    (void)vm_->on_agent(AgentUp{proto::own_info("1.0")}, now());
    run(1);
    EXPECT_FALSE(vm_->detail(now()).statistics);
}

TEST_F(VmStatistics, WaitsForAnAgentThatIsGoneBeforeItCountsByStatistics) {
    DomainFacts facts = domain();
    facts.channel = "/run/web.sock";
    start(facts);
    (void)vm_->on_agent(AgentUp{proto::own_info("1.0")}, now());
    run(100);
    (void)vm_->on_agent(AgentDown{AgentDown::Why::unreachable, "x"}, now());
    run(59);
    EXPECT_EQ(asked_, 0);
    EXPECT_FALSE(vm_->claim(now()).needs);
    (void)vm_->on_agent(AgentDown{AgentDown::Why::unreachable, "x"}, now());
    run(5);
    EXPECT_TRUE(vm_->claim(now()).needs);
}

TEST_F(VmStatistics, IsGrantedNoMoreThanStatisticsLetItHave) {
    start();
    run(600);
    EXPECT_EQ(vm_->claim(now()).max, size_);
}

TEST(GuestAgentPace, AsksEveryTenSecondsAndAfterAFailureNotForMinutes) {
    GuestStatistics statistics;
    Time now{Seconds(1000)};
    int asked = 0;
    const auto run = [&](int seconds, const Result<GuestAgentReading>& answer) {
        asked = 0;
        for (int i = 0; i < seconds; ++i) {
            now += Seconds(1);
            if (statistics.ask_guest_agent(now)) {
                ++asked;
                statistics.on_guest_agent(answer, now);
            }
        }
    };
    run(100, GuestAgentReading{Micros(0), 1_GiB, 1_GiB});
    EXPECT_EQ(asked, 10);
    EXPECT_EQ(statistics.guest_agent_error(), "");
    run(300, Error{ErrorCode::timeout, "frozen"});
    EXPECT_EQ(asked, 2);
    EXPECT_EQ(statistics.guest_agent_error(), "frozen");
    run(36'000, Error{ErrorCode::timeout, "frozen"});
    EXPECT_LE(asked, 24);
    ASSERT_FALSE(statistics.ask_guest_agent(now));
    run(1800, GuestAgentReading{Micros(0), 1_GiB, 1_GiB});
    EXPECT_EQ(statistics.guest_agent_error(), "");
}

TEST(GuestAgentPace, DoesNotAskAnotherTimeBeforeTheAnswer) {
    GuestStatistics statistics;
    EXPECT_TRUE(statistics.ask_guest_agent(Time(Seconds(1))));
    EXPECT_FALSE(statistics.ask_guest_agent(Time(Seconds(10'000))));
}

TEST(GuestAgentPace, TellsThePressureBetweenTwoReadings) {
    GuestStatistics statistics;
    Time now{Seconds(1000)};
    const sizing::Limits limits{.min = 512_MiB, .max = 4_GiB, .psi = 100_bp, .yields_on_oom = true};
    MemoryStatistics told;
    told.told.usable = told.told.unused = 3_GiB;
    const auto decide = [&] {
        now += Seconds(2);
        ++told.updated_s;
        statistics.on_answer(told, now);
        return statistics.step(limits, {.size = 4_GiB}, now);
    };
    statistics.on_guest_agent(GuestAgentReading{Seconds(1), 3_GiB, 3_GiB}, now);
    (void)decide();
    EXPECT_FALSE(decide().pressed);
    now += Seconds(6);
    statistics.on_guest_agent(GuestAgentReading{Micros(1'200'000), 3_GiB, 3_GiB}, now);
    EXPECT_TRUE(decide().pressed) << "2 % of ten seconds";
    now += Seconds(30);
    EXPECT_FALSE(decide().pressed) << "that was long ago";
}

TEST_F(VmStatistics, StopsWhenThePolicySaysOff) {
    start();
    run(100);
    const Bytes before = size_;
    ASSERT_LT(before, 4_GiB);
    const int asked = asked_;
    (void)vm_->on_domain(with(Mode::off), true, now());
    run(100);
    EXPECT_EQ(size_, before);
    EXPECT_EQ(asked_, asked);
}

}  // namespace
}  // namespace acma::host
