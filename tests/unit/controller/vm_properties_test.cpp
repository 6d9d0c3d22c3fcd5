// SPDX-License-Identifier: Apache-2.0
// A VM is never below min nor above max, whatever its guest, other managers, libvirt and the
// operator do: a world that does all of that at random, the same for a seed each time.
#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "host-controller/vm/vm.h"

namespace acma::host {
namespace {

// Beyond one for each change by the operator or of the domain: a few that libvirt refuses, and a
// few for a balloon that rises again and again (both with growing pauses of 5 s and more).
constexpr size_t k_writes_per_minute = 6;
constexpr Micros k_minute{60'000'000};

struct Seen {  // by all worlds together: that there was something to check
    size_t writes = 0;
    size_t grants = 0;
    size_t yields = 0;
    size_t lies = 0;
};

class World {
  public:
    World(unsigned seed, bool dry_run, Seen& seen)
        : seed_(seed), random_(seed), dry_run_(dry_run), seen_(seen) {
        domain_.vm.uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
        domain_.name = "web";
        domain_.id = 1;
        domain_.has_balloon = true;
        domain_.channel = "/run/web.sock";
        set_ram(4_GiB);
        target_ = domain_.current = domain_.ram;
        domain_.policy = some_policy();
        restart();
    }

    void step() {
        constexpr std::array<int, 8> k_pauses_ms{0, 10, 300, 1000, 1000, 1000, 3000, 20000};
        clock_ += Millis(pick(k_pauses_ms));
        switch (number(0, 24)) {
            case 0:
                return foreign_target();
            case 1:
                return seen_at(hostile());  // QEMU passes on what the guest's driver says
            case 2:
                return rarely() ? guest_rises_again_and_again() : guest_rises();
            case 3:
                return lively() ? operator_acts() : read_again();
            case 4:
                return lively() ? domain_changes() : read_again();
            case 5:
                return lively() && rarely() ? restart() : read_again();
            case 6:
                return agent_comes_or_goes();
            case 7:
            case 8:
            case 9:
                return agent_claims();
            case 10:
                return host_is_measured();
            case 11:
            case 12:
            case 13:
            case 14:
                return write_ends(rarely());
            case 15:
            case 16:
            case 17:
            case 18:
                return guest_follows();
            default:
                return carry_out(vm_->tick(now()));
        }
    }

  private:
    // --- chance ---
    uint64_t number(uint64_t least, uint64_t most) {
        return std::uniform_int_distribution<uint64_t>(least, most)(random_);
    }
    template <typename Values>
    typename Values::value_type pick(const Values& values) {
        return values[number(0, values.size() - 1)];
    }
    // In every second world hardly anything is excused for long.
    bool lively() { return seed_ % 2 == 0 || number(0, 49) == 0; }
    bool rarely() { return number(0, 9) == 0; }

    Bytes some_size() {
        const Bytes any(number(k_least_min_mem.count(), (6_GiB).count()));
        return pick(std::array{any, any, Bytes(any.count() & ~0xfffffULL), domain_.ram,
                               domain_.ram + Bytes(1), k_least_min_mem, 1_GiB});
    }
    // What no honest guest says: negative when read as signed, wrapping when added to.
    Bytes hostile() {
        return pick(std::array{Bytes(0), Bytes(1), domain_.ram, domain_.ram + Bytes(1),
                               Bytes(uint64_t{1} << 63U), Bytes::max(), Bytes::max() - 4_GiB,
                               Bytes(number(0, Bytes::max().count())), some_size()});
    }
    Micros hostile_time() {
        return pick(
            std::array{Micros(0), Micros(1), clock_, Micros::max(), Micros::max() - clock_});
    }
    std::optional<Policy> some_policy() {
        if (rarely()) {
            return std::nullopt;
        }
        const auto [least, most] = std::minmax({some_size(), some_size()});
        const auto mode = pick(std::array{Mode::automatic, Mode::automatic, Mode::automatic,
                                          Mode::automatic, Mode::observe, Mode::off});
        return Policy{least, most, BasisPoints(number(1, 10'000)), 1000, mode};
    }

    // --- what happens ---
    [[nodiscard]] Now now() const { return {Time(clock_), Micros(1'800'000'000'000'000) + clock_}; }

    void seen_at(Bytes actual) {
        domain_.current = actual;
        carry_out(vm_->on_balloon(actual, now()));
    }
    void foreign_target() {
        target_ = std::min(some_size(), domain_.ram);
        seen_at(target_);
    }
    void guest_rises() { seen_at(domain_.ram); }  // it takes all back: OOM, a reboot
    void guest_rises_again_and_again() {
        const bool refused = number(0, 1) == 0;  // by libvirt, each time
        for (int i = 0; i < 20; ++i) {
            guest_rises();
            for (int second = 0; second < 3; ++second) {
                clock_ += Seconds(1);
                carry_out(vm_->tick(now()));
            }
            write_ends(refused);
            seen_at(target_);
        }
    }
    void guest_follows() {
        const bool at_once = number(0, 1) == 0;
        seen_at(at_once ? target_ : Bytes((domain_.current.count() / 2) + (target_.count() / 2)));
    }
    void write_ends(bool refused) {
        if (!writing_) {
            return;
        }
        const Bytes target = *std::exchange(writing_, std::nullopt);
        if (refused) {
            return carry_out(
                vm_->on_balloon_written(Error{ErrorCode::timeout, "job"}, target, now()));
        }
        target_ = target;
        carry_out(vm_->on_balloon_written({}, target, now()));
    }
    void operator_acts() {
        excuses_.push_back(clock_);
        domain_.policy = some_policy();
        if (rarely()) {
            domain_.policy = Error{ErrorCode::invalid, "psi '0%'"};
        }
        carry_out(vm_->on_domain(domain_, true, now()));
    }
    void set_ram(Bytes ram) {
        domain_.ram = ram;
        domain_.ram_blocks = {ram};
    }
    void domain_changes() {
        if (!rarely()) {
            return read_again();
        }
        excuses_.push_back(clock_);
        set_ram(pick(std::array{1_GiB, 4_GiB, 5_GiB}));
        domain_.channel = rarely() ? std::nullopt : std::optional<std::string>("/run/b");
        read_again();
    }
    void read_again() { carry_out(vm_->on_domain(domain_, false, now())); }
    // The controller is killed and finds the domain with what it noted in it.
    void restart() {
        excuses_.push_back(clock_);
        if (writing_ && number(0, 1) == 0) {
            target_ = *writing_;
        }
        writing_.reset();
        order_.reset();
        vm_.emplace(VmSettings{&rules_, dry_run_}, domain_, now());
        carry_out(vm_->start(now()));
    }
    void agent_comes_or_goes() {
        proto::AgentInfo info = proto::own_info("test");
        if (rarely()) {
            info.acma.reset();
        }
        const auto why = pick(std::array{AgentDown::Why::silent, AgentDown::Why::flooding,
                                         AgentDown::Why::held, AgentDown::Why::unreachable});
        carry_out(vm_->on_agent(
            number(0, 1) == 0 ? AgentEvent(AgentUp{info}) : AgentEvent(AgentDown{why, "because"}),
            now()));
    }
    void agent_claims() {
        if (rarely()) {
            const proto::PolicyInForce taken{number(0, 3), Policy{hostile(), hostile()}, hostile()};
            carry_out(vm_->on_agent(AgentTookPolicy{taken}, now()));
            return carry_out(vm_->on_agent(AgentRefusedPolicy{"no"}, now()));
        }
        AgentStatus claim;
        claim.sequence = pick(std::array{uint64_t{0}, uint64_t{7}, hostile().count()});
        for (Micros* time : {&claim.uptime, &claim.psi_some_total}) {
            *time = hostile_time();
        }
        for (Bytes* size :
             {&claim.mem_total, &claim.mem_free, &claim.mem_available, &claim.swap_total,
              &claim.swap_free, &claim.working_set, &claim.owned}) {
            *size = hostile();
        }
        if (number(0, 1) == 0) {  // plausible, so that it gets as far as the host's figures
            claim = AgentStatus{.sequence = static_cast<uint64_t>(clock_.count()),
                                .uptime = clock_,
                                .mem_total = 1_GiB,
                                .mem_free = Bytes(number(0, (1_GiB).count()))};
        }
        carry_out(vm_->on_agent(AgentSaid{claim}, now()));
        const auto marks = vm_->summary().marks;
        if (std::any_of(marks.begin(), marks.end(),
                        [](const proto::Mark& mark) { return mark.what == "lying"; })) {
            ++seen_.lies;
        }
    }
    void host_is_measured() {
        const Result<HostBytes> failed = Error{ErrorCode::not_found, "no QEMU process"};
        carry_out(vm_->on_host_bytes(
            rarely() ? failed : HostBytes{hostile(), Bytes(0), Bytes(0), 1_MiB}, now()));
    }

    // --- what must hold ---
    void carry_out(const Actions& actions) {
        const bool wrote_before = writing_.has_value();
        size_t writes = 0;
        for (const Action& action : actions) {
            if (const auto* write = std::get_if<WriteBalloon>(&action)) {
                ++writes;
                check_write(write->target);
            } else if (const auto* order = std::get_if<TalkToAgent>(&action)) {
                check_order(*order);
                order_ = *order;
            } else if (const auto* note = std::get_if<WriteNote>(&action)) {
                EXPECT_FALSE(dry_run_);
                domain_.note = note->note;
            } else if (std::holds_alternative<LeaveAgent>(action)) {
                order_.reset();
            }
        }
        EXPECT_LE(writes + (wrote_before ? 1 : 0), writing_ ? 1U : 0U) << "one at a time";
        if (writes > 0 && order_ && order_->policy) {
            EXPECT_EQ(order_->policy->policy.mode, Mode::automatic) << "it has yielded";
        }
    }

    void check_write(Bytes target) {
        ++seen_.writes;
        EXPECT_FALSE(dry_run_);
        ASSERT_TRUE(vm_->policy());
        const Policy& policy = *vm_->policy();
        EXPECT_EQ(policy.mode, Mode::automatic);
        const proto::VmState state = vm_->summary().state;
        EXPECT_TRUE(state == proto::VmState::managed || state == proto::VmState::marked)
            << to_string(state);
        EXPECT_GE(target, std::min(policy.min_mem, domain_.ram));
        EXPECT_LE(target, std::min(policy.max_mem, domain_.ram));
        writing_ = target;
        writes_.push_back(clock_);
        for (std::deque<Micros>* times : {&writes_, &excuses_}) {
            while (!times->empty() && clock_ - times->front() > k_minute) {
                times->pop_front();
            }
        }
        EXPECT_LE(writes_.size(), k_writes_per_minute + excuses_.size());
    }

    void check_order(const TalkToAgent& order) {
        EXPECT_TRUE(!dry_run_ || !order.policy);
        if (!order.policy) {
            return;
        }
        ++seen_.grants;
        const Policy& sent = order.policy->policy;
        EXPECT_TRUE(validate(sent)) << describe(sent);
        EXPECT_GE(order.policy->grant, sent.min_mem);
        EXPECT_LE(order.policy->grant, sent.max_mem);
        EXPECT_TRUE(!order_ || !order_->policy ||
                    order.policy->generation > order_->policy->generation);
        if (!vm_->policy()) {
            EXPECT_EQ(sent.mode, Mode::off) << "nothing but a withdrawal";
            return;
        }
        Policy expected = *vm_->policy();
        if (expected.mode == Mode::automatic && sent.mode == Mode::observe) {
            expected.mode = Mode::observe;
            ++seen_.yields;
        }
        EXPECT_EQ(sent, expected);
    }

    const unsigned seed_;
    std::mt19937 random_;
    const bool dry_run_;
    Seen& seen_;
    const std::vector<PolicyRule> rules_;
    Micros clock_{Seconds(1000)};
    DomainFacts domain_;  // as libvirt has it
    Bytes target_;        // as QEMU has it
    std::optional<Bytes> writing_;
    std::optional<TalkToAgent> order_;
    std::deque<Micros> writes_;
    std::deque<Micros> excuses_;
    std::optional<Vm> vm_;
};

TEST(VmProperties, IsNeverBelowMinNorAboveMaxWhateverHappens) {
    Seen seen;
    for (unsigned seed = 1; seed <= 60 && !testing::Test::HasFailure(); ++seed) {
        World world(seed, seed % 10 == 0, seen);
        for (int i = 0; i < 3000 && !testing::Test::HasFailure(); ++i) {
            SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(i));
            world.step();
        }
    }
    EXPECT_GT(seen.writes, 1000U);
    EXPECT_GT(seen.grants, 1000U);
    EXPECT_GT(seen.yields, 100U);
    EXPECT_GT(seen.lies, 1000U);
}

}  // namespace
}  // namespace acma::host
