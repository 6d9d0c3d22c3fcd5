// SPDX-License-Identifier: Apache-2.0
// Empties the kernel's per-CPU lists of free pages for a moment, so that their pages merge with
// their neighbours into blocks that free page reporting hands to the host (it reports 2 MiB and
// more). Page-out frees pages one by one, and each CPU keeps up to zone low watermark / CPUs of
// them (mm/page_alloc.c, zone_highsize), of which each may keep another 2 MiB from the host.
//
// There is no call for that; a large vm.percpu_pagelist_high_fraction makes the lists short, and
// vm.stat_refresh has every CPU drain what is too much, at most an eighth at a time (mm/vmstat.c,
// vmstat_refresh; decay_pcp_high). Then the value that was there is put back.
#pragma once

#include <string>

namespace acma::agent {

struct PageListPaths {
    std::string fraction = "/proc/sys/vm/percpu_pagelist_high_fraction";
    std::string refresh = "/proc/sys/vm/stat_refresh";
    std::string note = "/run/acma-agent/page-lists";  // what to put back, should this process die
};

// Puts back what an earlier run left changed.
void restore_page_lists(const PageListPaths& paths);

// Takes milliseconds; quietly does nothing where the kernel has no such values.
void drain_page_lists(const PageListPaths& paths);

}  // namespace acma::agent
