// SPDX-License-Identifier: Apache-2.0
// The Reclaimer against what each captured kernel answers.
#include "guest-agent/reclaimer.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>

#include "platform/clock.h"
#include "tests/unit/agent/simulated_damon.h"
#include "tests/unit/damon/captured.h"

namespace acma::agent {
namespace {

using autoscale::Decision;
using damon::Write;

const Write k_on{"kdamonds/0/state", "on"};
const Write k_afresh{"kdamonds/nr_kdamonds", "0"};

// A guest of 32 MiB.
struct Guest {
    explicit Guest(const std::string& series) : damon(damon::test::captured(series)) {
        damon.dir().write("iomem",
                          "00001000-0009fbff : System RAM\n00100000-020fffff : System RAM\n");
        damon.dir().write("module/damon_stat/parameters/enabled", "N\n");
        open();
    }
    void open() {
        ReclaimerPaths paths;
        paths.damon_admin = damon.admin();
        paths.modules = damon.dir().path("module");
        paths.iomem = damon.dir().path("iomem");
        paths.kpageflags = damon.dir().path("kpageflags");  // not there: all RAM is monitored
        paths.zoneinfo = damon.dir().write(
            "zoneinfo", "  pages free 4000\n        low      20\n        managed  8000\n");
        paths.owner = damon.dir().path("run/agent.damon");
        paths.page_lists = {.fraction = damon.dir().path("fraction"),
                            .refresh = damon.dir().path("refresh"),
                            .note = damon.dir().path("run/agent.page-lists")};
        auto opened = Reclaimer::open(paths, damon.io());
        ASSERT_TRUE(opened.ok()) << opened.error().message;
        reclaimer = std::move(*opened);
    }

    // Waits for what another thread does.
    template <typename Condition>
    [[nodiscard]] bool eventually(Condition condition) const {
        const Time deadline = platform::now() + Seconds(10);
        while (!condition()) {
            if (platform::now() > deadline) {
                return false;
            }
            (void)::poll(nullptr, 0, 2);
        }
        return true;
    }
    [[nodiscard]] bool gets_running() const {
        return eventually([this] { return reclaimer->report().running && damon.is_on(); });
    }
    [[nodiscard]] bool gets_an_error() const {
        return eventually([this] { return reclaimer->report().error.has_value(); });
    }
    [[nodiscard]] bool noted() const {
        return std::filesystem::exists(damon.dir().path("run/agent.damon"));
    }

    SimulatedDamon damon;
    std::unique_ptr<Reclaimer> reclaimer;
};

Decision page_out(Bytes rate) {
    return Decision{.state = AgentState::ramping,
                    .page_out = true,
                    .rate_per_s = rate,
                    .min_age = Seconds(2),
                    .map = 1};
}

class ReclaimerTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ReclaimerTest, SwitchesOffAfterAFailedCommitAndStartsAfreshAtTheNextOrder) {
    Guest guest(GetParam());
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    const std::string first = guest.damon.pid();

    guest.damon.refuse_commit();
    ASSERT_TRUE(guest.reclaimer->order(page_out(50_MiB)).ok());
    ASSERT_TRUE(guest.gets_an_error());
    EXPECT_FALSE(guest.reclaimer->report().running);
    EXPECT_FALSE(guest.damon.is_on()) << "half of the new settings may be in force";

    const size_t before = guest.damon.log().size();
    ASSERT_TRUE(guest.reclaimer->order(page_out(50_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    EXPECT_NE(guest.damon.pid(), first);
    EXPECT_TRUE(guest.eventually([&] { return !guest.reclaimer->report().error; }));
    const std::vector<Write> log = guest.damon.log();
    EXPECT_EQ(log.at(before), k_afresh) << "an unknown tree is not built upon";
}

TEST_P(ReclaimerTest, StartsAgainWhatEndedByItself) {
    Guest guest(GetParam());
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    const std::string first = guest.damon.pid();
    guest.damon.end();
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    EXPECT_TRUE(
        guest.eventually([&] { return guest.damon.is_on() && guest.damon.pid() != first; }));
    EXPECT_TRUE(guest.gets_running());
}

// 6.12 calls a commit a success that ended the kdamond.
TEST_P(ReclaimerTest, NoticesACommitThatSilentlyEndedIt) {
    Guest guest(GetParam());
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    guest.damon.end_at_commit();
    ASSERT_TRUE(guest.reclaimer->order(page_out(50_MiB)).ok());
    EXPECT_TRUE(guest.gets_an_error());
    EXPECT_FALSE(guest.reclaimer->report().running);
    ASSERT_TRUE(guest.reclaimer->order(page_out(50_MiB)).ok());
    EXPECT_TRUE(guest.gets_running());
}

// Stops in another thread at the write number `moment` of a start.
void stop_in_a_start(const std::string& series, size_t moment) {
    Guest guest(series);
    std::atomic<size_t> number = guest.damon.log().size();
    const size_t at = number + moment;
    std::thread stopper;
    bool was_on = true;
    std::atomic<size_t> written = 0;  // when the stop was done
    guest.damon.on_write = [&](const Write& write) {
        if (number++ != at) {
            return;
        }
        stopper = std::thread([&] {
            EXPECT_TRUE(guest.reclaimer->stop_now().ok());
            was_on = guest.damon.is_on();
            written = guest.damon.log().size();
        });
        // "on" and "off" are written under the lock that a stop takes: it has to come after.
        if (write.value != "on" && write.value != "off") {
            while (written == 0) {
                (void)::poll(nullptr, 0, 1);
            }
        }
    };
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.eventually([&] { return guest.damon.log().size() > at; }));
    stopper.join();
    guest.reclaimer.reset();
    EXPECT_FALSE(was_on) << "write " << moment;
    const std::vector<Write> log = guest.damon.log();
    EXPECT_EQ(std::find(log.begin() + static_cast<std::ptrdiff_t>(written), log.end(), k_on),
              log.end())
        << "switched on after it was stopped at write " << moment;
}

TEST_P(ReclaimerTest, StaysOffWhenItIsStoppedAtAnyMomentOfAStart) {
    Guest guest(GetParam());
    const size_t before = guest.damon.log().size();
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    std::vector<Write> log = guest.damon.log();
    log.erase(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(before));
    const auto on = static_cast<size_t>(std::find(log.begin(), log.end(), k_on) - log.begin());
    ASSERT_LT(on + 2, log.size());
    for (const size_t moment : {size_t{0}, on / 2, on - 1, on, on + 1, on + 2, log.size() - 1}) {
        stop_in_a_start(GetParam(), moment);
    }
}

TEST_P(ReclaimerTest, LeavesDamonAsItWas) {
    Guest guest(GetParam());
    const testing::TempDir& dir = guest.damon.dir();
    dir.write("module/damon_stat/parameters/enabled", "Y\n");
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    EXPECT_EQ(dir.read("module/damon_stat/parameters/enabled"), "N\n");
    EXPECT_TRUE(guest.noted());
    guest.reclaimer.reset();
    EXPECT_FALSE(guest.damon.is_on());
    EXPECT_EQ(dir.read("admin/kdamonds/nr_kdamonds"), "0\n");
    EXPECT_EQ(dir.read("module/damon_stat/parameters/enabled"), "Y\n");
    EXPECT_FALSE(guest.noted());
}

TEST_P(ReclaimerTest, TouchesNothingOfAnotherProgramThatTookDamonMeanwhile) {
    Guest guest(GetParam());
    guest.damon.write_as_other({"kdamonds/nr_kdamonds", "1"});
    guest.damon.write_as_other({"kdamonds/0/contexts/nr_contexts", "1"});
    guest.damon.write_as_other(
        {"kdamonds/0/contexts/0/monitoring_attrs/intervals/sample_us", "7000"});
    const size_t before = guest.damon.log().size();
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_an_error());
    EXPECT_EQ(guest.reclaimer->report().error->code, ErrorCode::busy);
    EXPECT_FALSE(guest.reclaimer->report().running);
    guest.reclaimer.reset();
    EXPECT_EQ(guest.damon.log().size(), before);
}

// Whoever cleans up after us goes by the note, so it must not name what is not ours any more.
TEST_P(ReclaimerTest, ForgetsItsKdamondWhenAnotherProgramHasReplacedIt) {
    Guest guest(GetParam());
    ASSERT_TRUE(guest.reclaimer->order(page_out(200_MiB)).ok());
    ASSERT_TRUE(guest.gets_running());
    ASSERT_TRUE(guest.reclaimer->stop_now().ok());
    const testing::TempDir& dir = guest.damon.dir();
    EXPECT_NE(dir.read("run/agent.damon").find("kdamond 0"), std::string::npos);
    for (const Write& write :
         {Write{"kdamonds/nr_kdamonds", "0"}, Write{"kdamonds/nr_kdamonds", "1"},
          Write{"kdamonds/0/contexts/nr_contexts", "1"},
          Write{"kdamonds/0/contexts/0/monitoring_attrs/intervals/sample_us", "7000"}}) {
        guest.damon.write_as_other(write);
    }
    const size_t before = guest.damon.log().size();
    guest.reclaimer.reset();
    EXPECT_EQ(guest.damon.log().size(), before);
    EXPECT_EQ(dir.read("run/agent.damon").find("kdamond"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Kernels, ReclaimerTest, ::testing::ValuesIn(damon::test::all_series()),
                         [](const auto& kernel) {
                             std::string name = "Linux" + kernel.param;
                             std::replace(name.begin(), name.end(), '.', '_');
                             return name;
                         });

}  // namespace
}  // namespace acma::agent
