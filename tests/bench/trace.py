# SPDX-License-Identifier: Apache-2.0
"""When page-out begins and when a PSI trigger wakes the agent, from the guest's own tracepoints (microseconds)."""

import dataclasses
import re

from .series import median

_TRACING = "/sys/kernel/tracing"
# How long after a trigger page-out is watched: less than the agent's first hold-off (3 s), after which it may begin again.
AFTER_US = 2_500_000
# A kdamond that pauses for longer than this between two regions has slept: its sample sleep is 3 ms.
STEP_PAUSE_US = 1_000
# The first scheme is the one that pages out; the others only count (engine/autoscale/page_out.h).
# Everything on CLOCK_MONOTONIC, as acma-sampler's times. Page-out begins with a region at damos_before_apply and with a
# page at __swap_writepage (the tracepoint mm_vmscan_write_folio comes when zram has written it). The kernel's own reclaim
# writes pages too, so only kdamonds' count. An apply step is a row of calls of damon_pa_apply_scheme.
ARM = f"""cd {_TRACING}; echo 0 >tracing_on; echo >trace; echo mono >trace_clock; echo 8192 >buffer_size_kb
[ -d events/kprobes/acma_left ] || {{ echo 'p:acma_swapout __swap_writepage'; echo 'p:acma_entered damon_pa_apply_scheme'
echo 'r:acma_left damon_pa_apply_scheme'; }} >kprobe_events
echo 'comm == "acma-agent"' >events/sched/sched_waking/filter
echo 'comm ~ "kdamond*"' >events/kprobes/acma_swapout/filter
echo 1 >events/sched/sched_waking/enable; echo 1 >events/damon/damos_before_apply/enable
echo 1 >events/kprobes/enable && echo 1 >tracing_on"""
# Only the times, in their order: a second of page-out writes tens of thousands of pages. What a full buffer overwrote is
# not marked in the trace, only counted.
FETCH = f"""cd {_TRACING}; echo 0 >tracing_on
awk '$5 == "sched_waking:" && $1 ~ /^psimon-/ {{print "fired", $4}} $5 == "damos_before_apply:" && $7 == "scheme_idx=0" {{print "begun", $4}}
$5 == "acma_swapout:" {{print "written", $4}} $5 == "acma_entered:" {{print "entered", $4}} $5 == "acma_left:" {{print "left", $4}}' trace
awk -F ': ' '/^(overrun|commit overrun|dropped events):/ {{print "lost", $2}}' per_cpu/cpu*/stats"""


@dataclasses.dataclass
class Trace:
    fired: list = dataclasses.field(default_factory=list)  # the kernel woke the agent because of its PSI trigger
    begun: list = dataclasses.field(default_factory=list)  # a kdamond began with a region
    written: list = dataclasses.field(default_factory=list)  # a kdamond began to write a page to swap
    steps: list = dataclasses.field(default_factory=list)  # (begin, end) of each apply step
    lost: bool = False


def parse(text):
    trace = Trace()
    calls = []
    for word, number in re.findall(r"^(fired|begun|written|entered|left|lost) ([0-9.]+):?$", text, re.MULTILINE):
        at = round(float(number) * 1e6)
        if word == "lost":
            trace.lost = trace.lost or at > 0
        elif word in ("entered", "left"):
            calls.append((word, at))
        else:
            getattr(trace, word).append(at)
    trace.steps = _steps(calls)
    return trace


def _steps(calls):
    """One (begin, end) for calls with no sleep in between; a call whose beginning or end was not seen has no length."""
    steps = []
    for word, at in calls:
        if word == "left" and steps:
            steps[-1][1] = at
        elif word == "entered" and not (steps and at - steps[-1][1] < STEP_PAUSE_US):
            steps.append([at, at])
    return [(begin, end) for begin, end in steps if end > begin]


def stops(trace, spike_us, before_us=500_000, after_us=AFTER_US):
    """One dict for each trigger of a spike, begun at `spike_us`, before which page-out was under way: how long it still began.
    Page-out may have paused by itself since the spike began."""
    found = []
    for fired in trace.fired:
        if not any(min(spike_us, fired) - before_us <= at <= fired for at in trace.written):
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
                **_step_lengths(trace, fired + after_us),
            }
        )
    return found


def last_begun_us(stop):
    """Of one dict of stops(): when after the trigger the last page-out began."""
    return max(stop["last_region_begun_us"], stop["last_page_begun_us"])


def _step_lengths(trace, until_us):
    """Of the apply steps from the first to the last page that was written until then."""
    written = [at for at in trace.written if at <= until_us]
    lengths = [end - begin for begin, end in trace.steps if end >= min(written) and begin <= max(written)]
    return {
        "steps": len(lengths),
        "longest_step_us": max(lengths, default=None),
        "median_step_us": median(lengths) if lengths else None,
    }
