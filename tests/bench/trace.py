# SPDX-License-Identifier: Apache-2.0
"""When page-out begins and when a PSI trigger wakes the agent, from the guest's own tracepoints (microseconds)."""

import dataclasses
import re

_TRACING = "/sys/kernel/tracing"
# How long after a trigger page-out is watched: less than the agent's first hold-off (3 s), after which it may begin again.
AFTER_US = 2_500_000
# Everything on CLOCK_MONOTONIC, as acma-sampler's times. Page-out begins with a region at damos_before_apply and with a
# page at __swap_writepage (the tracepoint mm_vmscan_write_folio comes when zram has written it). The kernel's own reclaim
# writes pages too, so only kdamonds' count.
ARM = f"""cd {_TRACING}; echo 0 >tracing_on; echo >trace; echo mono >trace_clock; echo 4096 >buffer_size_kb
[ -d events/kprobes/acma_swapout ] || echo 'p:acma_swapout __swap_writepage' >kprobe_events
echo 'comm == "acma-agent"' >events/sched/sched_waking/filter
echo 'comm ~ "kdamond*"' >events/kprobes/acma_swapout/filter
echo 1 >events/sched/sched_waking/enable; echo 1 >events/damon/damos_before_apply/enable
echo 1 >events/kprobes/acma_swapout/enable && echo 1 >tracing_on"""
# Only the times: a second of page-out writes tens of thousands of pages.
FETCH = f"""cd {_TRACING}; echo 0 >tracing_on
grep -E 'psimon-.*sched_waking' trace | sed 's/^.* \\([0-9.]*\\): sched_waking.*/fired \\1/'
grep damos_before_apply trace | sed 's/^.* \\([0-9.]*\\): damos_before_apply.*/begun \\1/'
grep acma_swapout trace | sed 's/^.* \\([0-9.]*\\): acma_swapout.*/written \\1/'
grep -c LOST trace | sed 's/^/lost /'"""


@dataclasses.dataclass
class Trace:
    fired: list  # the kernel woke the agent because of its PSI trigger
    begun: list  # a kdamond began with a region
    written: list  # a kdamond began to write a page to swap
    lost: bool = False


def parse(text):
    trace = Trace([], [], [])
    for word, number in re.findall(r"^(fired|begun|written|lost) ([0-9.]+)$", text, re.MULTILINE):
        if word == "lost":
            trace.lost = float(number) > 0
        else:
            getattr(trace, word).append(round(float(number) * 1e6))
    return trace


def stops(trace, before_us=500_000, after_us=AFTER_US):
    """One dict for each spike whose trigger fired while pages were being written: how long page-out still began."""
    found = []
    for fired in trace.fired:
        if not any(fired - before_us <= at <= fired for at in trace.written):
            continue
        if found and fired - found[-1]["fired_us"] < after_us:
            continue  # the same spike, still
        regions = [at - fired for at in trace.begun if fired < at <= fired + after_us]
        pages = [at - fired for at in trace.written if fired < at <= fired + after_us]
        found.append(
            {
                "fired_us": fired,
                "last_region_begun_us": max(regions, default=0),
                "last_page_begun_us": max(pages, default=0),
                "pages_after": len(pages),
            }
        )
    return found
