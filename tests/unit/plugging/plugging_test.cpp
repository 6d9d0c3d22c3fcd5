// SPDX-License-Identifier: Apache-2.0
#include "engine/plugging/plugging.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace acma::plugging {
namespace {

std::vector<Bytes> sizes_of(const std::vector<Device>& devices) {
    std::vector<Bytes> sizes;
    for (const Device& device : devices) {
        sizes.push_back(device.size);
    }
    return sizes;
}

std::vector<Bytes> toward(Bytes total, const std::vector<Device>& devices) {
    return toward(total, devices, sizes_of(devices));
}

TEST(Plugging, GoesFromTheLowestNodeUpAndFromTheHighestDown) {
    std::vector<Device> devices{{"b", 1_GiB, 2_MiB, {}, {}, 1}, {"a", 1_GiB, 2_MiB, {}, {}, 0}};
    EXPECT_EQ(toward(1536_MiB, devices), (std::vector{512_MiB, 1_GiB}));
    devices[0].requested = devices[1].requested = 1_GiB;
    EXPECT_EQ(toward(1536_MiB, devices), (std::vector{512_MiB, 1_GiB}));
    EXPECT_EQ(toward(512_MiB, devices), (std::vector{Bytes(0), 512_MiB}));
}

TEST(Plugging, LeavesAnotherOrderAsItIs) {
    const std::vector<Device> devices{{"a", 1_GiB, 2_MiB, 256_MiB, {}, 0},
                                      {"b", 1_GiB, 2_MiB, 1_GiB, {}, 1}};
    EXPECT_EQ(toward(1280_MiB, devices), (std::vector{256_MiB, 1_GiB}));
    EXPECT_EQ(toward(1_GiB, devices), (std::vector{256_MiB, 768_MiB}));
    EXPECT_EQ(toward(1536_MiB, devices), (std::vector{512_MiB, 1_GiB}));
}

TEST(Plugging, RoundsDownToBlocks) {
    const std::vector<Device> devices{{"a", 1_GiB, 128_MiB, {}, {}, 0}};
    EXPECT_EQ(toward(300_MiB, devices), std::vector{256_MiB});
    EXPECT_EQ(toward(100_MiB, devices), std::vector{Bytes(0)});
    EXPECT_EQ(toward(Bytes::max(), devices), std::vector{1_GiB});
}

TEST(Plugging, TheGoalIsWhatMaxMemLeavesBesideTheBootMemory) {
    const std::vector<Device> devices{{"a", 1_GiB, 2_MiB, {}, {}, 0}};
    EXPECT_EQ(goal_of(1_GiB, 2_GiB, devices), Bytes(0));
    EXPECT_EQ(goal_of(2560_MiB, 2_GiB, devices), 512_MiB);
    EXPECT_EQ(goal_of(Bytes::max(), 2_GiB, devices), 1_GiB);
    EXPECT_EQ(goal_of(4_GiB, 2_GiB, {}), Bytes(0));
}

RC_GTEST_PROP(Plugging, KeepsEveryBound, ()) {
    const Bytes block = 2_MiB * *rc::gen::element(1U, 4U, 64U);
    std::vector<Device> devices(*rc::gen::inRange<size_t>(1, 5));
    std::vector<Bytes> most;
    for (Device& device : devices) {
        device.block = block;
        device.size = block * *rc::gen::inRange(0U, 64U);
        device.requested =
            block * *rc::gen::inRange<uint64_t>(0, device.size.count() / block.count() + 1);
        device.node = *rc::gen::inRange(0U, 3U);
        most.push_back(block * *rc::gen::inRange(0U, 80U));
    }
    const Bytes total = Bytes(*rc::gen::inRange<uint64_t>(0, (32_GiB).count()));
    const std::vector<Bytes> wanted = toward(total, devices, most);
    const Bytes requested = sums_of(devices).requested;
    Bytes sum;
    for (size_t i = 0; i < devices.size(); ++i) {
        sum += wanted[i];
        RC_ASSERT(wanted[i] <= devices[i].size);
        RC_ASSERT(wanted[i].count() % block.count() == 0U);
        RC_ASSERT(wanted[i] <= std::max(most[i], devices[i].requested));
        if (requested < total) {
            RC_ASSERT(wanted[i] >= devices[i].requested);
        } else {
            RC_ASSERT(wanted[i] <= devices[i].requested);
        }
    }
    RC_ASSERT(sum <= total);
    if (requested > total) {
        RC_ASSERT(sum + block > total);
    }
}

}  // namespace
}  // namespace acma::plugging
