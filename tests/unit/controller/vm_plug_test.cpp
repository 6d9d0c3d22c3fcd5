// SPDX-License-Identifier: Apache-2.0
// A VM's virtio-mem devices under its policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/vm/vm.h"

namespace acma::host {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// 1 GiB of boot memory, and a device of 2 GiB that has all plugged.
class VmPlug : public testing::Test {
  protected:
    void SetUp() override {
        facts_.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
        facts_.name = "web";
        facts_.id = 1;
        facts_.ram = facts_.current = 1_GiB;
        facts_.ram_blocks = {1_GiB, 2_GiB};
        facts_.memory_devices = {{"virtiomem0", 2_GiB, 2_MiB, 2_GiB, 2_GiB, 0}};
        facts_.has_balloon = true;
        set_max(3_GiB);
    }
    void set_max(Bytes max, Mode mode = Mode::automatic) {
        facts_.policy = std::optional(Policy{512_MiB, max, 10_bp, 1000, mode});
    }
    Vm make(VmSettings settings = {}) {
        settings.rules = &rules_;
        Vm vm(settings, facts_, now());
        collect(vm.start(now()));
        return vm;
    }
    [[nodiscard]] Now now() const { return {Time(clock_), Micros(1'800'000'000'000'000) + clock_}; }
    void collect(const Actions& actions) {
        for (const Action& action : actions) {
            if (const auto* change = std::get_if<PlugChange>(&action)) {
                changes_.push_back(*change);
            } else if (const auto* balloon = std::get_if<WriteBalloon>(&action)) {
                balloon_.push_back(balloon->target);
            }
        }
    }
    // The last request is accepted.
    void accept(Vm& vm) {
        const PlugChange change = changes_.back();
        collect(vm.on_plug_written(change.order.requested, change, now()));
        facts_.memory_devices[0].requested = change.order.requested;
    }
    // The guest follows, and libvirt says so.
    void follow(Vm& vm) {
        facts_.memory_devices[0].current = facts_.memory_devices[0].requested;
        clock_ += Seconds(1);
        collect(vm.on_domain(facts_, false, now()));
    }
    static bool marked(const Vm& vm, std::string_view what) {
        const auto marks = vm.summary().marks;
        return std::any_of(marks.begin(), marks.end(),
                           [what](const proto::Mark& mark) { return mark.what == what; });
    }
    std::vector<Bytes> requests() const {
        std::vector<Bytes> sizes;
        for (const PlugChange& change : changes_) {
            sizes.push_back(change.order.requested);
        }
        return sizes;
    }

    std::vector<PolicyRule> rules_;
    DomainFacts facts_;
    Micros clock_{Seconds(1000)};
    std::vector<PlugChange> changes_;
    std::vector<Bytes> balloon_;
};

TEST_F(VmPlug, HasNothingToDoWhereMaxMemIsWhatItHas) {
    Vm vm = make();
    EXPECT_THAT(changes_, IsEmpty());
    const arbiter::Guest claim = vm.claim(now());
    EXPECT_EQ(claim.grant, 3_GiB);
    EXPECT_EQ(claim.holds, 3_GiB);
    EXPECT_EQ(claim.max, 3_GiB);
    EXPECT_EQ(claim.min, 2_GiB + 256_MiB) << "the balloon leaves some boot memory";
    EXPECT_EQ(vm.figures().grant, 3_GiB);
    EXPECT_EQ(vm.summary().virtio_mem, 2_GiB);
}

TEST_F(VmPlug, UnplugsStepByStepDownToMaxMemAndCountsWhatIsNotGone) {
    set_max(2_GiB + 512_MiB);
    Vm vm = make({.arbitrated = true});
    EXPECT_THAT(requests(), ElementsAre(1792_MiB));
    EXPECT_THAT(changes_[0].reason, HasSubstr("max-mem is 2.5 GiB, its boot memory 1 GiB: the "
                                              "requested size of virtiomem0 goes from 2 GiB to"));
    EXPECT_EQ(changes_[0].note.devices,
              (std::vector<plugging::Noted>{{"virtiomem0", 2_GiB, {2_GiB, 1792_MiB}}}));
    accept(vm);
    EXPECT_EQ(vm.summary().last_change, "unplug");
    const arbiter::Guest claim = vm.claim(now());
    EXPECT_EQ(claim.grant, 2816_MiB);
    EXPECT_EQ(claim.holds, 3_GiB);
    collect(vm.on_grant({.size = 2560_MiB, .fair = 2560_MiB}, now()));
    EXPECT_EQ(changes_.size(), 1U) << "the guest has not followed";
    follow(vm);
    accept(vm);
    follow(vm);
    EXPECT_THAT(requests(), ElementsAre(1792_MiB, 1536_MiB));
    EXPECT_EQ(vm.claim(now()).holds, 2560_MiB);
    EXPECT_THAT(balloon_, IsEmpty()) << "the balloon has no part in it";
}

TEST_F(VmPlug, LeavesTheRestToTheBalloonBelowBootMemory) {
    set_max(768_MiB);
    facts_.memory_devices[0].requested = facts_.memory_devices[0].current = 256_MiB;
    Vm vm = make();
    EXPECT_THAT(requests(), ElementsAre(Bytes(0)));
    EXPECT_THAT(balloon_, ElementsAre(768_MiB));
}

TEST_F(VmPlug, PlugsWhatTheHostGrants) {
    set_max(1_GiB);
    facts_.memory_devices[0].requested = facts_.memory_devices[0].current = Bytes(0);
    Vm vm = make({.arbitrated = true});
    set_max(3_GiB);
    collect(vm.on_domain(facts_, true, now()));
    EXPECT_THAT(changes_, IsEmpty()) << "not before the host has it";
    EXPECT_EQ(vm.claim(now()).max, 3_GiB);
    collect(vm.on_grant({.size = 2_GiB + 1_MiB, .fair = 3_GiB}, now()));
    EXPECT_THAT(requests(), ElementsAre(1_GiB));
    accept(vm);
    EXPECT_EQ(vm.claim(now()).grant, 2_GiB);
    collect(vm.on_grant({.size = 1_GiB + 512_MiB, .fair = 1_GiB}, now()));
    EXPECT_EQ(changes_.size(), 1U) << "what is plugged stays";
    EXPECT_THAT(balloon_, ElementsAre(512_MiB)) << "below it goes the balloon";
    collect(vm.on_grant({.size = 3_GiB, .fair = 3_GiB}, now()));
    EXPECT_THAT(requests(), ElementsAre(1_GiB, 2_GiB));
}

TEST_F(VmPlug, ChangesNothingInObserveOrADryRun) {
    set_max(2_GiB, Mode::observe);
    Vm vm = make();
    EXPECT_EQ(vm.summary().last_change, "would-unplug");
    set_max(2_GiB);
    Vm dry = make({.dry_run = true});
    EXPECT_EQ(dry.summary().last_change, "would-unplug");
    set_max(2_GiB, Mode::off);
    Vm off = make();
    EXPECT_THAT(changes_, IsEmpty());
}

TEST_F(VmPlug, RespectsAForeignRequestAndYieldsToRepeatedOnes) {
    Vm vm = make();
    facts_.memory_devices[0].requested = 512_MiB;
    follow(vm);
    EXPECT_TRUE(marked(vm, "foreign-virtio-mem"));
    EXPECT_EQ(vm.claim(now()).max, 1_GiB + 512_MiB);
    EXPECT_THAT(changes_, IsEmpty());
    for (const Bytes theirs : {256_MiB, 128_MiB}) {
        facts_.memory_devices[0].requested = theirs;
        follow(vm);
    }
    EXPECT_EQ(vm.summary().state, proto::VmState::observed);
    facts_.policy = std::optional(Policy{512_MiB, 1_GiB});
    collect(vm.on_domain(facts_, true, now()));
    EXPECT_THAT(requests(), ElementsAre(Bytes(0))) << "lower it may go";
}

TEST_F(VmPlug, GivesBackOnReleaseWhatWasThereBefore) {
    set_max(2_GiB + 768_MiB);
    Vm vm = make();
    accept(vm);
    follow(vm);
    set_max(3_GiB, Mode::off);
    collect(vm.on_domain(facts_, true, now()));
    collect(vm.release(now()));
    EXPECT_THAT(requests(), ElementsAre(1792_MiB, 2_GiB));
}

TEST_F(VmPlug, SaysWhereItsGuestDoesNotFollow) {
    set_max(2_GiB);
    Vm vm = make();
    accept(vm);
    clock_ += Seconds(59);
    collect(vm.tick(now()));
    EXPECT_FALSE(marked(vm, "virtio-mem-stuck"));
    clock_ += Seconds(1);
    collect(vm.tick(now()));
    EXPECT_TRUE(marked(vm, "virtio-mem-stuck"));
    EXPECT_EQ(changes_.size(), 1U) << "and asks for no more";
    EXPECT_EQ(vm.claim(now()).holds, 3_GiB);
    follow(vm);
    collect(vm.tick(now()));
    EXPECT_FALSE(marked(vm, "virtio-mem-stuck"));
}

TEST_F(VmPlug, TriesAgainWithPausesWhereItIsRefused) {
    set_max(2_GiB);
    Vm vm = make();
    size_t refused = 0;
    for (int i = 0; i < 40; ++i) {
        for (; refused < changes_.size(); ++refused) {
            collect(vm.on_plug_written(Error{ErrorCode::io, "no"}, changes_[refused], now()));
        }
        clock_ += Seconds(1);
        collect(vm.tick(now()));
    }
    EXPECT_EQ(changes_.size(), 4U) << "after 0, 5, 15 and 35 s";
    EXPECT_TRUE(marked(vm, "virtio-mem-refused"));
}

}  // namespace
}  // namespace acma::host
