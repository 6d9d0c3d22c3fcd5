// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/claims.h"

#include <algorithm>

namespace acma::host {

namespace {
using Verdict = std::optional<std::string>;

// The guest's and the host's numbers are not of the same instant, guests reserve memory that they
// never touch, and QEMU's device buffers are in RAM too.
Bytes tolerance(Bytes ram) {
    return ram / 8 + 64_MiB;
}

// What a guest that reports its free pages keeps of them all the same: in each zone the low
// watermark and 32 blocks of 2 MiB (mm/page_reporting.c: page_reporting_process_zone), which is 128
// MiB and some for two zones. Watermarks, per-CPU lists and what is too scattered to make a block
// grow with RAM.
Bytes kept_by_reporting(Bytes ram) {
    return 160_MiB + ram / 16;
}

Verdict above(std::string_view what, Bytes claimed, std::string_view bound_name, Bytes bound) {
    if (claimed <= bound) {
        return std::nullopt;
    }
    return std::string(what) + " " + human(claimed) + " is more than " + std::string(bound_name) +
           " " + human(bound);
}

Verdict first_of(std::initializer_list<Verdict> verdicts) {
    for (const Verdict& verdict : verdicts) {
        if (verdict) {
            return verdict;
        }
    }
    return std::nullopt;
}

Verdict impossible_sizes(const AgentStatus& status, Bytes ram) {
    return first_of({
        above("mem_total", status.mem_total, "the VM's RAM", ram),
        above("mem_free", status.mem_free, "mem_total", status.mem_total),
        above("mem_available", status.mem_available, "mem_total", status.mem_total),
        above("swap_free", status.swap_free, "swap_total", status.swap_total),
        above("owned", status.owned, "the VM's RAM", ram),
        above("working_set", status.working_set, "the VM's RAM", ram),
        status.psi > k_full_bp ? Verdict("psi " + human(status.psi) + " is above 100 %")
                               : std::nullopt,
        status.uptime < Micros(0) ? Verdict("uptime is negative") : std::nullopt,
        status.psi_some_total < Micros(0) ? Verdict("psi_some_total is negative") : std::nullopt,
    });
}

Verdict went_back(std::string_view what, uint64_t from, uint64_t to) {
    if (to >= from) {
        return std::nullopt;
    }
    return std::string(what) + " went back from " + std::to_string(from) + " to " +
           std::to_string(to);
}

// Counters since the guest's boot go back when it boots; then the agent starts anew as well.
Verdict impossible_changes(const AgentStatus& now, const AgentStatus& before, Micros elapsed) {
    const bool agent_restarted = now.uptime < before.uptime;
    if (agent_restarted) {
        return std::nullopt;
    }
    // The guest's clock may run faster or in bursts (a VM that was starved of CPU catches up).
    const Micros most = elapsed * 3 / 2 + Micros(2'000'000);
    const Micros stalled = now.psi_some_total - before.psi_some_total;
    return first_of({
        went_back("sequence", before.sequence, now.sequence),
        went_back("swap_in_total", before.swap_in_total.count(), now.swap_in_total.count()),
        went_back("swap_out_total", before.swap_out_total.count(), now.swap_out_total.count()),
        went_back("reclaimed_total", before.reclaimed_total.count(), now.reclaimed_total.count()),
        went_back("oom_kills_total", before.oom_kills_total, now.oom_kills_total),
        stalled < Micros(0) ? Verdict("psi_some_total went back") : std::nullopt,
        stalled > most
            ? Verdict("it says to have stalled " + human(stalled) + " within " + human(elapsed))
            : std::nullopt,
    });
}
}  // namespace

Verdict impossible(const AgentStatus& status, const ClaimContext& context) {
    if (Verdict wrong = impossible_sizes(status, context.ram)) {
        return wrong;
    }
    return context.previous ? impossible_changes(status, *context.previous, context.since_previous)
                            : std::nullopt;
}

Verdict contradicts_host(const AgentStatus& status, const HostView& host) {
    const Bytes slack = tolerance(host.ram);
    if (!host.huge_pages && host.host_total > host.ram - status.owned + slack) {
        return "it says to have given back " + human(status.owned) + " of " + human(host.ram) +
               ", but the host still holds " + human(host.host_total) + " for it";
    }
    // What a guest uses it has touched, and what it has touched the host holds. What is owned it
    // does not use, though voluntary blocks stay in its mem_total.
    const Bytes used = status.mem_total - status.mem_free - std::max(host.ballooned, status.owned);
    if (used > host.host_total + slack) {
        return "it says to use " + human(used) + ", but the host holds only " +
               human(host.host_total) + " for it";
    }
    return std::nullopt;
}

Verdict not_returned(const AgentStatus& status, const HostView& host) {
    const Bytes kept = host.ram - std::max(host.ballooned, status.owned);
    const Bytes used = kept - status.mem_free;
    if (host.host_total <= used + kept_by_reporting(host.ram)) {
        return std::nullopt;
    }
    return "the guest says that " + human(status.mem_free) + " of its " + human(kept) +
           " are free, but the host still holds " + human(host.host_total) + " for it: " +
           (host.huge_pages
                ? "its RAM is in huge pages, of which the balloon gives none back; those of 2 MiB "
                  "come back by freePageReporting='on', and only to their pool"
                : "has its balloon freePageReporting='on', or is its RAM locked or scattered?");
}

bool repeats(const AgentStatus& status, const AgentStatus& previous) {
    return status.sequence == previous.sequence && status.uptime >= previous.uptime;
}

}  // namespace acma::host
