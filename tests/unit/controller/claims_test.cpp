// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/claims.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace acma::host {
namespace {

using testing::HasSubstr;

AgentStatus honest() {
    AgentStatus status;
    status.sequence = 10;
    status.uptime = Seconds(10);
    status.mem_total = 950_MiB;
    status.mem_free = 300_MiB;
    status.mem_available = 500_MiB;
    status.swap_total = 1_GiB;
    status.swap_free = 512_MiB;
    status.swap_out_total = 600_MiB;
    status.working_set = 200_MiB;
    status.psi_some_total = Seconds(1);
    return status;
}

ClaimContext after(const AgentStatus& previous, Micros since) {
    return {1_GiB, previous, since};
}

TEST(Claims, AreFineFromAnHonestGuest) {
    EXPECT_EQ(impossible(honest(), {.ram = 1_GiB}), std::nullopt);
    AgentStatus next = honest();
    ++next.sequence;
    next.uptime += Seconds(1);
    EXPECT_EQ(impossible(next, after(honest(), Seconds(1))), std::nullopt);
}

TEST(Claims, AreImpossibleBeyondWhatThereIs) {
    const std::vector<std::pair<std::function<void(AgentStatus&)>, std::string>> lies{
        {[](AgentStatus& s) { s.mem_total = 2_GiB; }, "mem_total 2 GiB is more than the VM's RAM"},
        {[](AgentStatus& s) { s.mem_total = Bytes::max(); }, "mem_total"},
        {[](AgentStatus& s) { s.mem_free = 951_MiB; }, "mem_free"},
        {[](AgentStatus& s) { s.mem_available = 951_MiB; }, "mem_available"},
        {[](AgentStatus& s) { s.swap_free = 2_GiB; }, "swap_free"},
        {[](AgentStatus& s) { s.owned = Bytes::max(); }, "owned"},
        {[](AgentStatus& s) { s.working_set = 2_GiB; }, "working_set"},
        {[](AgentStatus& s) { s.psi = 10'001_bp; }, "psi"},
        {[](AgentStatus& s) { s.uptime = Micros(-1); }, "uptime is negative"},
        {[](AgentStatus& s) { s.psi_some_total = Micros(-1); }, "psi_some_total is negative"},
    };
    for (const auto& [tell, sentence] : lies) {
        AgentStatus status = honest();
        tell(status);
        const auto verdict = impossible(status, {.ram = 1_GiB});
        ASSERT_TRUE(verdict) << sentence;
        EXPECT_THAT(*verdict, HasSubstr(sentence));
    }
}

TEST(Claims, AreImpossibleWhenCountersGoBack) {
    const std::vector<std::pair<std::function<void(AgentStatus&)>, std::string>> lies{
        {[](AgentStatus& s) { s.sequence = 9; }, "sequence went back from 10 to 9"},
        {[](AgentStatus& s) { s.swap_out_total = Bytes(0); }, "swap_out_total went back"},
        {[](AgentStatus& s) { s.psi_some_total = Micros(0); }, "psi_some_total went back"},
    };
    for (const auto& [tell, sentence] : lies) {
        AgentStatus next = honest();
        next.uptime += Seconds(1);
        tell(next);
        const auto verdict = impossible(next, after(honest(), Seconds(1)));
        ASSERT_TRUE(verdict) << sentence;
        EXPECT_THAT(*verdict, HasSubstr(sentence));
    }
}

TEST(Claims, MayStartAnewWithAnAgentThatStartedAnew) {
    AgentStatus reborn = honest();
    reborn.sequence = 1;
    reborn.uptime = Seconds(1);
    reborn.swap_out_total = Bytes(0);
    reborn.psi_some_total = Micros(0);
    EXPECT_EQ(impossible(reborn, after(honest(), Seconds(5))), std::nullopt);
}

TEST(Claims, CannotHaveStalledLongerThanTimePassed) {
    AgentStatus next = honest();
    next.sequence = 11;
    next.uptime += Seconds(1);
    next.psi_some_total += Seconds(3);
    EXPECT_TRUE(impossible(next, after(honest(), Micros(500'000))));
    EXPECT_EQ(impossible(next, after(honest(), Seconds(3))), std::nullopt);
}

TEST(Claims, ContradictTheHostWhenMemoryWasNotGivenBack) {
    AgentStatus status = honest();
    EXPECT_EQ(contradicts_host(status, {1_GiB, Bytes(0), 1_GiB}), std::nullopt);
    status.owned = 512_MiB;
    const auto verdict = contradicts_host(status, {1_GiB, Bytes(0), 1_GiB});
    ASSERT_TRUE(verdict);
    EXPECT_THAT(*verdict, HasSubstr("given back 512 MiB of 1 GiB, but the host still holds 1 GiB"));
    EXPECT_EQ(contradicts_host(status, {1_GiB, Bytes(0), 700_MiB}), std::nullopt);
}

TEST(Claims, ContradictTheHostWhenMoreIsUsedThanTheHostHolds) {
    AgentStatus status = honest();  // uses 650 MiB
    EXPECT_EQ(contradicts_host(status, {1_GiB, Bytes(0), 500_MiB}), std::nullopt)
        << "within the tolerance";
    const auto verdict = contradicts_host(status, {1_GiB, Bytes(0), 200_MiB});
    ASSERT_TRUE(verdict);
    EXPECT_THAT(*verdict, HasSubstr("says to use 650 MiB, but the host holds only 200 MiB"));
}

TEST(Claims, DoNotContradictTheHostByCountingTheBalloonAsUsed) {
    const AgentStatus status = honest();  // uses 650 MiB, of it 500 MiB in the balloon
    EXPECT_EQ(contradicts_host(status, {1_GiB, 500_MiB, 150_MiB}), std::nullopt);
    EXPECT_TRUE(contradicts_host(status, {1_GiB, 100_MiB, 150_MiB}));
}

TEST(Claims, DoNotContradictTheHostByCountingOwnedBlocksAsUsed) {
    AgentStatus status = honest();  // uses 650 MiB, of it 500 MiB owned
    status.owned = 500_MiB;
    EXPECT_EQ(contradicts_host(status, {1_GiB, Bytes(0), 150_MiB}), std::nullopt);
}

TEST(Claims, TellWhatIsNotReturned) {
    AgentStatus status = honest();  // 300 MiB of 1 GiB are free; 224 MiB of them may stay
    EXPECT_EQ(not_returned(status, {1_GiB, Bytes(0), 948_MiB}), std::nullopt);
    const auto held = not_returned(status, {1_GiB, Bytes(0), 949_MiB});
    ASSERT_TRUE(held);
    EXPECT_THAT(*held,
                HasSubstr("300 MiB of its 1 GiB are free, but the host still holds 949 MiB"));
    EXPECT_THAT(*held, HasSubstr("freePageReporting='on'"));
    EXPECT_EQ(not_returned(status, {1_GiB, Bytes(0), 100_MiB}), std::nullopt)
        << "it has never touched the rest";
    status.mem_free = 20_MiB;
    EXPECT_EQ(not_returned(status, {1_GiB, Bytes(0), 1_GiB}), std::nullopt) << "all is page cache";
}

TEST(Claims, BlameNoGuestForHugePagesThatTheHostKeeps) {
    AgentStatus status = honest();
    status.owned = 512_MiB;
    const HostView host{1_GiB, Bytes(0), 1_GiB, true};
    EXPECT_EQ(contradicts_host(status, host), std::nullopt);
    const auto held = not_returned(status, host);
    ASSERT_TRUE(held);
    EXPECT_THAT(*held, HasSubstr("300 MiB of its 512 MiB are free"));
    EXPECT_THAT(*held, HasSubstr("its RAM is in huge pages"));
    status.mem_free = Bytes(0);
    EXPECT_TRUE(contradicts_host(status, {1_GiB, Bytes(0), 100_MiB, true}))
        << "more than there is it cannot use";
}

TEST(Claims, CountWhatTheBalloonHoldsAsReturned) {
    AgentStatus status = honest();
    EXPECT_EQ(not_returned(status, {1_GiB, 512_MiB, 436_MiB}), std::nullopt);
    EXPECT_TRUE(not_returned(status, {1_GiB, 512_MiB, 437_MiB}));
    status.mem_free = Bytes::max();
    EXPECT_EQ(not_returned(status, {1_GiB, 2_GiB, 224_MiB}), std::nullopt) << "no wrap";
}

TEST(Claims, RepeatWhenTheSequenceStandsStill) {
    AgentStatus next = honest();
    next.uptime += Seconds(1);
    EXPECT_TRUE(repeats(next, honest()));
    next.sequence = 11;
    EXPECT_FALSE(repeats(next, honest()));
}

}  // namespace
}  // namespace acma::host
