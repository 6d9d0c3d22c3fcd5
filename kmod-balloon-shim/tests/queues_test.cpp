// SPDX-License-Identifier: GPL-2.0-only
// What the host is told, by devices that no guest meets too: here the host and the kernel's free
// pages are a journal.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

extern "C" {
#include "kmod-balloon-shim/queues.h"
}

struct acma {
    std::vector<std::string> journal;
    std::vector<std::vector<acma_run>> reports;
    size_t breaks_after = ~size_t{0};  // entries
    int errors = 0;

    int note(const std::string& what) {
        if (journal.size() >= breaks_after) {
            ++errors;
            return -5;
        }
        journal.push_back(what);
        return 0;
    }
};

extern "C" {
int acma_send_runs(acma* acma, const acma_run* runs, unsigned nr) {
    acma->reports.emplace_back(runs, runs + nr);
    return acma->note("report");
}

int acma_send_block(acma* acma, acma_queue queue, u64 block) {
    return acma->note((queue == ACMA_INFLATE_QUEUE ? "inflate " : "deflate ") +
                      std::to_string(block));
}

// As the module does, without the lock.
void acma_tell_deflated(acma* acma, u64 window, u64 bits) {
    acma_tell_each(acma, ACMA_DEFLATE_QUEUE, window << ACMA_WINDOW_SHIFT, bits);
}

void acma_free_block(acma* acma, u64 block, bool unmanaged) {
    acma->journal.push_back("free " + std::to_string(block) + (unmanaged ? " unmanaged" : ""));
}
}

namespace {

using Journal = std::vector<std::string>;

constexpr u64 bit(unsigned feature) {
    return u64{1} << feature;
}

// <linux/virtio_ring.h> and <linux/virtio_config.h> are not for C++.
constexpr u64 k_indirect = bit(28);
constexpr u64 k_version_1 = bit(32);
constexpr u64 k_access_platform = bit(33);
constexpr u64 k_must_tell = bit(VIRTIO_BALLOON_F_MUST_TELL_HOST);
constexpr u64 k_poison = bit(VIRTIO_BALLOON_F_PAGE_POISON);
constexpr u64 k_reporting = bit(VIRTIO_BALLOON_F_REPORTING);
constexpr u64 k_balloon = k_must_tell | bit(VIRTIO_BALLOON_F_STATS_VQ) |
                          bit(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
                          bit(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | k_poison | k_reporting;

TEST(Features, AreThoseOfTheDeviceButWhatWouldAllocateOrTranslate) {
    const u64 offered = k_balloon | k_version_1;
    EXPECT_EQ(acma_wanted_features(offered | k_indirect | k_access_platform, false, true), offered);
    EXPECT_EQ(acma_wanted_features(offered, true, false), offered);
    EXPECT_EQ(acma_wanted_features(0, true, true), 0U) << "none that was not offered";
}

TEST(Features, PoisonOnlyWhereFreePagesHaveAKnownContent) {
    EXPECT_EQ(acma_wanted_features(k_balloon, false, false), k_balloon & ~k_poison);
    EXPECT_EQ(acma_wanted_features(k_reporting, false, false), k_reporting);
}

TEST(Features, NoReportsToAHostThatCannotBeToldOfAKnownContent) {
    EXPECT_EQ(acma_wanted_features(k_reporting | k_must_tell, false, true), k_must_tell);
    EXPECT_EQ(acma_wanted_features(k_reporting | k_must_tell, true, false), k_must_tell);
}

TEST(Poison, IsThePatternInEachByteUnlessFreePagesAreZeros) {
    EXPECT_EQ(acma_poison_val(k_poison, false, 0xaa), 0xaaaaaaaaU);
    EXPECT_EQ(acma_poison_val(k_poison, true, 0xaa), 0U);
    EXPECT_EQ(acma_poison_val(k_reporting, false, 0xaa), 0U) << "the host is not told";
}

TEST(Queue, IsTheReportQueueWhereTheHostHeedsReports) {
    EXPECT_EQ(acma_queue_for_blocks(true, true, 0), ACMA_REPORT_QUEUE);
    EXPECT_EQ(acma_queue_for_blocks(true, true, 0xaaaaaaaa), ACMA_INFLATE_QUEUE);
    EXPECT_EQ(acma_queue_for_blocks(true, false, 0), ACMA_INFLATE_QUEUE);
    EXPECT_EQ(acma_queue_for_blocks(false, false, 0), ACMA_NO_QUEUE);
    EXPECT_EQ(acma_queue_for_blocks(false, true, 0), ACMA_NO_QUEUE);
}

// A host that backs the guest with huge pages frees one only by all of its PFNs in one element.
TEST(Element, HasAllPfnsOfOneBlockInOrder) {
    ASSERT_EQ(ACMA_PFNS_PER_BLOCK, 512U);
    for (unsigned i = 0; i < ACMA_PFNS_PER_BLOCK; ++i) {
        EXPECT_EQ(acma_block_pfn(0, i), i);
        EXPECT_EQ(acma_block_pfn(2049, i), (u64{2049} << 21 >> 12) + i);
    }
}

TEST(Element, OneForEachBlockTheLowestFirst) {
    acma host;
    acma_tell_each(&host, ACMA_INFLATE_QUEUE, 128, u64{1} << 63 | 0x5);
    acma_tell_each(&host, ACMA_DEFLATE_QUEUE, 128, 0x2);
    EXPECT_EQ(host.journal, (Journal{"inflate 128", "inflate 130", "inflate 191", "deflate 129"}));
}

TEST(Element, NoMoreOnceTheDeviceIsBroken) {
    acma host;
    host.breaks_after = 1;
    acma_tell_each(&host, ACMA_INFLATE_QUEUE, 0, 0xff);
    EXPECT_EQ(host.journal, (Journal{"inflate 0"}));
    EXPECT_EQ(host.errors, 1);
    acma_tell_runs(&host, 0, 0x55, 1);
    EXPECT_EQ(host.reports.size(), 1U);
}

TEST(Report, HasAWholeWindowInOneDescriptor) {
    acma host;
    acma_tell_runs(&host, 640, ~u64{0}, 128);
    ASSERT_EQ(host.reports.size(), 1U);
    ASSERT_EQ(host.reports[0].size(), 1U);
    EXPECT_EQ(host.reports[0][0].first, 640U);
    EXPECT_EQ(host.reports[0][0].nr, 64U);
}

TEST(Report, IsCutWhereTheQueueIsShort) {
    for (const auto& [most, reports] : {std::pair{1U, 32U}, {5U, 7U}, {32U, 1U}, {1024U, 1U}}) {
        acma host;
        acma_tell_runs(&host, 64, 0x5555'5555'5555'5555, most);
        ASSERT_EQ(host.reports.size(), reports) << most;
        u64 next = 64;
        for (const auto& report : host.reports) {
            EXPECT_LE(report.size(), std::min(most, unsigned{ACMA_REPORT_MAX}));
            for (const acma_run& run : report) {
                EXPECT_EQ(run.first, next);
                EXPECT_EQ(run.nr, 1U);
                next += 2;
            }
        }
        EXPECT_EQ(next, 128U) << "all of them, once";
    }
}

TEST(HandBack, TellsTheHostOfAllBeforeTheFirstIsFreeWhereItMustBeTold) {
    acma host;
    acma_hand_back(&host, k_must_tell | k_reporting, 2, 0x8000'0000'0000'0003, 0x2);
    EXPECT_EQ(host.journal, (Journal{"deflate 128", "deflate 129", "deflate 191", "free 128",
                                     "free 129 unmanaged", "free 191"}));
}

TEST(HandBack, NeedsNoHostOtherwise) {
    acma host;
    acma_hand_back(&host, k_balloon & ~k_must_tell, 0, 0x6, 0);
    EXPECT_EQ(host.journal, (Journal{"free 1", "free 2"}));
}

TEST(HandBack, FreesAlsoWhenTheDeviceIsBroken) {
    acma host;
    host.breaks_after = 0;
    acma_hand_back(&host, k_must_tell, 0, 0x3, 0);
    EXPECT_EQ(host.journal, (Journal{"free 0", "free 1"}));
}

}  // namespace
