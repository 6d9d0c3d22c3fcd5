// SPDX-License-Identifier: Apache-2.0
// Act: makes one kdamond do what the last Decision says. DAMON's commands block (a commit on 6.12
// up to an aggregation interval), so they run on a worker thread; stopping does not wait for it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/autoscale/autoscale.h"
#include "engine/autoscale/interval_timer.h"
#include "engine/autoscale/page_out.h"
#include "engine/base/result.h"
#include "engine/damon/features.h"
#include "engine/damon/model.h"
#include "engine/damon/ownership.h"
#include "engine/damon/snapshot.h"
#include "guest-agent/page_lists.h"
#include "platform/damon_sysfs.h"
#include "platform/page_map.h"

namespace acma::agent {

struct ReclaimerPaths {
    std::string damon_admin = "/sys/kernel/mm/damon/admin";
    std::string modules = "/sys/module";
    std::string iomem = "/proc/iomem";
    std::string kpageflags = "/proc/kpageflags";
    std::string zoneinfo = "/proc/zoneinfo";
    std::string owner = "/run/acma-agent/damon";  // says that the configured kdamond is ours
    PageListPaths page_lists;
};

class Reclaimer {
  public:
    struct Report {
        Time counted_at{};    // when the totals were read
        Bytes applied_total;  // since the agent's start, over all kdamonds it ran
        Bytes tried_total;
        uint64_t full_windows_total = 0;
        uint64_t aggregations_total = 0;
        Micros aggregation{0};  // see autoscale::Sample
        Bytes accessed_total;
        Bytes idled_total;
        // What was accessed how long ago, when look() was last carried out; null: never.
        std::shared_ptr<const damon::Snapshot> seen;
        Time seen_at{};
        bool running = false;        // the kdamond is on
        std::optional<Error> error;  // why the last order could not be carried out
    };

    // Refuses when someone else uses DAMON, switches off what an earlier run left behind, finds out
    // what this kernel has. The error says what is missing and how to free it. `io`: for tests.
    [[nodiscard]] static Result<std::unique_ptr<Reclaimer>> open(ReclaimerPaths paths,
                                                                 platform::SysfsIo io = {});
    // Our kdamond is off and gone, DAMON_STAT as it was.
    ~Reclaimer();
    Reclaimer(const Reclaimer&) = delete;
    Reclaimer& operator=(const Reclaimer&) = delete;

    // The latest order counts; returns at once. page_out == false is carried out at once, here.
    // DAMON is taken hold of (again) whenever a kdamond is to be started: somebody else may have
    // come meanwhile. DAMON_STAT gives way from the first start on.
    Status order(const autoscale::Decision& decision);
    // Our kdamond is off when this succeeds: at most an apply step later. Nobody else's is touched.
    Status stop_now();

    // Asks for Report::seen, with the next order that is carried out while the kdamond is on. Costs
    // some files of sysfs for each region.
    void look();

    [[nodiscard]] Report report() const;
    [[nodiscard]] std::string state_file() const;

  private:
    Reclaimer(ReclaimerPaths paths, platform::DamonSysfs sysfs, damon::Features features,
              std::vector<platform::PhysicalRange> ram, damon::OwnershipRecord record);

    void work();
    [[nodiscard]] Status carry_out(const autoscale::Decision& decision);
    [[nodiscard]] Status start(const autoscale::Decision& decision);
    [[nodiscard]] Status change(const autoscale::Decision& decision);
    [[nodiscard]] Status write_model(const damon::Kdamond& next);
    [[nodiscard]] Status switch_on();
    [[nodiscard]] Status wait_until_cleared();
    [[nodiscard]] Status update_totals();
    [[nodiscard]] Status take_snapshot();
    [[nodiscard]] Status refresh_regions(const autoscale::Decision& decision);
    [[nodiscard]] Status take_hold();
    [[nodiscard]] bool runs_ours() const;
    [[nodiscard]] Status note(const damon::Kdamond& next);
    void disown();
    void forget_other_shapes(const damon::Kdamond& written);
    [[nodiscard]] bool wanted() const;

    const ReclaimerPaths paths_;
    const platform::DamonSysfs sysfs_;
    const damon::Features features_;
    const std::vector<platform::PhysicalRange> ram_;

    // Only the worker uses these.
    damon::OwnershipRecord record_;
    damon::Kdamonds written_;
    std::vector<damon::Region> regions_;
    Permil pause_below_free_{0};  // the kernel's low watermarks
    uint64_t regions_map_ = 0;    // see autoscale::Decision
    uint64_t drained_ = 0;        // see autoscale::Decision
    autoscale::Pace regions_pace_ = autoscale::Pace::quick;
    Time totals_at_{};
    // What its schemes had done when last looked at.
    std::array<platform::DamonSysfs::Done, autoscale::k_schemes> of_this_kdamond_{};
    Bytes monitored_since_counted_;  // less than all regions: no whole aggregation interval
    bool on_ = false;
    autoscale::IntervalTimer interval_timer_;  // of the quick pace

    mutable std::mutex mutex_;  // protects what follows
    std::condition_variable changed_;
    std::optional<autoscale::Decision> ordered_;
    bool quit_ = false;
    bool look_ = false;
    Report report_;

    std::mutex switch_mutex_;  // held over every write of "on" and "off": a stop is never overtaken
    bool may_run_ = false;     // protected by switch_mutex_
    int pid_ = -1;             // of the kdamond that we switched on; protected by switch_mutex_

    std::thread worker_;
};

}  // namespace acma::agent
