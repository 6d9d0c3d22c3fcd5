// SPDX-License-Identifier: Apache-2.0
// A VM that stays above its grant, held by memory.high.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/vm/vm.h"

namespace acma::host {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Bytes k_limit = 2_GiB + 100_MiB + 128_MiB;

// Its balloon stands at the grant of 2 GiB, and the host holds more of its RAM all the same.
class VmHold : public testing::Test {
  protected:
    void SetUp() override {
        facts_.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
        facts_.name = "web";
        facts_.id = 1;
        facts_.ram = 4_GiB;
        facts_.current = 2_GiB;
        facts_.ram_blocks = {4_GiB};
        facts_.has_balloon = true;
        facts_.policy = std::optional(Policy{512_MiB, 2_GiB});
        facts_.note.target = 2_GiB;
    }
    Vm make(VmSettings settings = {}) {
        settings.rules = &rules_;
        settings.hold = true;
        return make_with(settings);
    }
    Vm make_with(VmSettings settings) {
        settings.rules = &rules_;
        Vm vm(settings, facts_, now());
        collect(vm.start(now()));
        return vm;
    }
    [[nodiscard]] Now now() const { return {Time(clock_), Micros(1'800'000'000'000'000) + clock_}; }
    void collect(const Actions& actions) {
        for (const Action& action : actions) {
            if (const auto* change = std::get_if<LimitChange>(&action)) {
                changes_.push_back(*change);
            }
        }
    }
    // Once a second, each with a measurement; whatever is asked for is done.
    void run(Vm& vm, int seconds) {
        for (int i = 0; i < seconds; ++i) {
            clock_ += Seconds(1);
            (void)vm.on_host_bytes(HostBytes{.resident = holds_, .qemu_own = 100_MiB}, now());
            collect(vm.tick(now()));
            answer(vm);
        }
    }
    void answer(Vm& vm) {
        for (; answered_ < changes_.size(); ++answered_) {
            const LimitChange change = changes_[answered_];
            if (is_ours(change, in_force_)) {
                in_force_ = change.limit;
            }
            note_ = change.note;
            collect(vm.on_limit_written(in_force_, change, now()));
        }
    }
    static std::string mark(const Vm& vm, std::string_view what) {
        for (const proto::Mark& mark : vm.summary().marks) {
            if (mark.what == what) {
                return mark.message;
            }
        }
        return "";
    }
    std::vector<std::optional<Bytes>> limits() const {
        std::vector<std::optional<Bytes>> all;
        for (const LimitChange& change : changes_) {
            all.push_back(change.limit);
        }
        return all;
    }

    std::vector<PolicyRule> rules_;
    DomainFacts facts_;
    Micros clock_{Seconds(1000)};
    Bytes holds_ = 2150_MiB;
    std::optional<Bytes> in_force_;  // of its cgroup
    StateNote note_;                 // as the domain has it
    std::vector<LimitChange> changes_;
    size_t answered_ = 0;
};

TEST_F(VmHold, IsHeldAndSaysSo) {
    Vm vm = make();
    run(vm, 11);
    EXPECT_THAT(limits(), ElementsAre(k_limit));
    EXPECT_EQ(vm.summary().held, k_limit);
    EXPECT_THAT(mark(vm, "held"),
                HasSubstr("the host holds 102 MiB more of it than its grant of 2 GiB"));
    EXPECT_EQ(vm.history().entries().back().decision, "mark");
    EXPECT_EQ(vm.summary().last_change, "hold");
    EXPECT_THAT(note_.limits, ElementsAre(k_limit)) << "noted before it was set";
    EXPECT_EQ(note_.target, 2_GiB) << "the rest of the note stays";
    run(vm, 100);
    EXPECT_EQ(changes_.size(), 1U);
}

TEST_F(VmHold, IsNotUnlessTheOperatorAllowsIt) {
    Vm vm = make_with({});
    run(vm, 100);
    Vm dry = make({.dry_run = true});
    run(dry, 100);
    EXPECT_THAT(changes_, IsEmpty());
}

TEST_F(VmHold, IsNotWhereTheLimitWouldNotCountItsMemory) {
    facts_.huge_pages = true;
    Vm vm = make();
    run(vm, 100);
    facts_.huge_pages = false;
    facts_.policy = std::optional(Policy{512_MiB, 2_GiB, 10_bp, 1000, Mode::observe});
    Vm observed = make();
    run(observed, 100);
    EXPECT_THAT(changes_, IsEmpty());
}

TEST_F(VmHold, IsLetGoOnceItIsBack) {
    Vm vm = make();
    run(vm, 11);
    holds_ = 2_GiB;
    run(vm, 61);
    EXPECT_THAT(limits(), ElementsAre(k_limit, std::nullopt));
    EXPECT_EQ(vm.summary().held, std::nullopt);
    EXPECT_EQ(mark(vm, "held"), "");
    EXPECT_EQ(vm.summary().last_change_reason, "it is held no more: it is within its grant again");
}

TEST_F(VmHold, RisesWithTheGrantInTheSameMoment) {
    Vm vm = make({.arbitrated = true});
    run(vm, 11);
    facts_.policy = std::optional(Policy{512_MiB, 4_GiB});
    (void)vm.on_domain(facts_, true, now());
    collect(vm.on_grant({.size = 3_GiB, .fair = 3_GiB}, now()));
    EXPECT_THAT(limits(), ElementsAre(k_limit, k_limit + 1_GiB));
    EXPECT_THAT(changes_.back().ours, ElementsAre(k_limit));
    EXPECT_THAT(changes_.back().note.limits, ElementsAre(k_limit, k_limit + 1_GiB));
}

TEST_F(VmHold, IsLetGoWhenItIsReleasedOrHasNoPolicyOrTheControllerEnds) {
    for (const char* why : {"release", "no policy", "observe", "end", "unmeasured"}) {
        changes_.clear();
        answered_ = 0;
        in_force_.reset();
        Vm vm = make();
        run(vm, 11);
        ASSERT_EQ(in_force_, k_limit) << why;
        DomainFacts facts = facts_;
        if (why == std::string_view("release")) {
            collect(vm.release(now()));
        } else if (why == std::string_view("no policy")) {
            facts.policy = std::optional<Policy>();
            collect(vm.on_domain(facts, true, now()));
        } else if (why == std::string_view("observe")) {
            facts.policy = std::optional(Policy{512_MiB, 2_GiB, 10_bp, 1000, Mode::observe});
            collect(vm.on_domain(facts, true, now()));
        } else if (why == std::string_view("end")) {
            collect(vm.let_go(now()));
        } else {
            (void)vm.on_host_bytes(Error{ErrorCode::permission, "no"}, now());
        }
        collect(vm.tick(now()));
        answer(vm);
        EXPECT_EQ(in_force_, std::nullopt) << why;
        EXPECT_FALSE(vm.held()) << why;
    }
}

TEST_F(VmHold, StaysAsItIsWhileItsMemoryIsCopiedOrWeArePaused) {
    Vm vm = make();
    run(vm, 11);
    holds_ = 1_GiB;
    (void)vm.on_migration(true, now());
    run(vm, 100);
    (void)vm.on_migration(false, now());
    (void)vm.pause(true, now());
    run(vm, 100);
    EXPECT_EQ(in_force_, k_limit);
    (void)vm.pause(false, now());
    run(vm, 61);
    EXPECT_EQ(in_force_, std::nullopt);
}

TEST_F(VmHold, IsFoundAgainByItsNote) {
    facts_.soft_limit = in_force_ = k_limit;
    facts_.note.limits = {k_limit, k_limit + 1_GiB};
    Vm vm = make();
    EXPECT_EQ(vm.summary().held, k_limit);
    run(vm, 30);
    EXPECT_THAT(changes_, IsEmpty());
    holds_ = 1_GiB;
    run(vm, 61);
    EXPECT_EQ(in_force_, std::nullopt);
}

TEST_F(VmHold, IsLetGoByARunThatMayNotHold) {
    facts_.soft_limit = in_force_ = k_limit;
    facts_.note.limits = {k_limit};
    facts_.policy = std::optional<Policy>();
    Vm vm = make_with({});
    run(vm, 1);
    EXPECT_EQ(in_force_, std::nullopt);
}

TEST_F(VmHold, LeavesAForeignLimitAlone) {
    facts_.soft_limit = in_force_ = 3_GiB;
    facts_.note.limits = {k_limit};
    Vm vm = make();
    EXPECT_EQ(vm.summary().held, std::nullopt);
    run(vm, 600);
    EXPECT_EQ(in_force_, 3_GiB);
    EXPECT_EQ(changes_.size(), 1U) << "and asks rarely";
    EXPECT_THAT(mark(vm, "foreign-limit"), HasSubstr("was set to 3 GiB by somebody else"));
    run(vm, 30);
    EXPECT_EQ(changes_.size(), 2U);
    in_force_.reset();
    run(vm, 700);
    EXPECT_EQ(in_force_, k_limit);
    EXPECT_EQ(mark(vm, "foreign-limit"), "");
}

TEST_F(VmHold, YieldsToWhoeverReplacesOrLiftsItsLimit) {
    for (const std::optional<Bytes> theirs : {std::optional(3_GiB), std::optional<Bytes>()}) {
        changes_.clear();
        answered_ = 0;
        in_force_.reset();
        holds_ = 2150_MiB;
        Vm vm = make();
        run(vm, 11);
        in_force_ = theirs;
        holds_ = 1_GiB;
        run(vm, 61);
        EXPECT_EQ(in_force_, theirs);
        EXPECT_EQ(vm.summary().held, std::nullopt);
        EXPECT_EQ(changes_.size(), 2U);
    }
}

TEST_F(VmHold, TriesAgainWithPausesWhereItIsRefused) {
    Vm vm = make();
    run(vm, 10);
    size_t tried = 0;
    for (int i = 0; i < 100; ++i) {
        clock_ += Seconds(1);
        (void)vm.on_host_bytes(HostBytes{.resident = holds_, .qemu_own = 100_MiB}, now());
        collect(vm.tick(now()));
        for (; answered_ < changes_.size(); ++answered_, ++tried) {
            collect(vm.on_limit_written(Error{ErrorCode::unsupported, "cgroup v1"},
                                        changes_[answered_], now()));
        }
    }
    EXPECT_EQ(tried, 5U) << "after 0, 5, 15, 35 and 75 s";
    EXPECT_THAT(mark(vm, "hold-refused"), HasSubstr("cgroup v1"));
    EXPECT_EQ(vm.summary().held, std::nullopt);
    holds_ = 1_GiB;
    run(vm, 100);
    EXPECT_EQ(mark(vm, "hold-refused"), "");
}

TEST_F(VmHold, TakesALiftThatMayHaveBeenDoneForItsOwn) {
    Vm vm = make();
    run(vm, 11);
    collect(vm.let_go(now()));
    ASSERT_EQ(changes_.size(), 2U);
    collect(vm.on_limit_written(Error{ErrorCode::io, "the connection broke"}, changes_[1], now()));
    answered_ = 2;
    in_force_.reset();
    collect(vm.let_go(now()));
    answer(vm);
    EXPECT_FALSE(vm.held());
    EXPECT_EQ(mark(vm, "foreign-limit"), "");
}

}  // namespace
}  // namespace acma::host
