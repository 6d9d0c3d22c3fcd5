// SPDX-License-Identifier: Apache-2.0
// Empties the kernel's per-CPU lists of free pages for a moment, so that their pages merge with
// their neighbours into blocks that free page reporting hands to the host (it reports 2 MiB and
// more). Page-out frees pages one by one, and each CPU keeps up to zone low watermark / CPUs of
// them (mm/page_alloc.c, zone_highsize): 11,000 pages in a guest of 1 GiB, measured on 6.12, of
// which nearly every one kept another 2 MiB from the host.
//
// There is no call for that; a large vm.percpu_pagelist_high_fraction makes the lists short, and
// vmstat's worker, which runs every second, drains what is too much (decay_pcp_high). Then the
// value that was there is put back.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "engine/base/units.h"

namespace acma::agent {

struct PageListPaths {
    std::string fraction = "/proc/sys/vm/percpu_pagelist_high_fraction";
    std::string note = "/run/acma/agent.page-lists";  // what to put back, should this process die
};

class PageLists {
  public:
    // Puts back what an earlier run left changed.
    explicit PageLists(PageListPaths paths);
    // The value is what it was.
    ~PageLists();
    PageLists(const PageLists&) = delete;
    PageLists& operator=(const PageLists&) = delete;

    // Begins a drain, unless one is under way; quietly nothing where the kernel has no such value.
    void begin_drain(Time now);
    // Ends it when it has lasted long enough; to be called now and then. Any thread.
    void end_drain(Time now);
    void end_drain_now();

  private:
    void restore();  // mutex_ is held

    const PageListPaths paths_;
    std::mutex mutex_;
    std::optional<std::string> before_;  // while a drain is under way
    Time began_{};
};

}  // namespace acma::agent
