# SPDX-License-Identifier: Apache-2.0
"""The bench `agent`: what the agent itself costs a settled guest. Guest time counts instructions, so figures repeat."""

import re

from tests.rig.errors import RigError

from .report import Metric, Value
from .subject import SETTLE_MOST_S, Setup, Subject

RSS = Metric("rss_bytes", "B", "lower", 8 << 20, 0)
AGENT_INSNS = Metric("guest_insns_per_s", "1/s", "lower", 1_000_000, 0)
KDAMOND_INSNS = Metric("kdamond_insns_per_s", "1/s", "lower", 1_000_000, 0)
METRICS = [RSS, AGENT_INSNS, KDAMOND_INSNS]
PARTS = []
ICOUNT = True  # every guest counts instructions

REST_S = 60  # guest seconds between "settled" and the first reading: what was begun is done
INTERVAL_S = 10
INTERVALS = 18

# One line a task: name, pid, nanoseconds on the CPU (the first number of schedstat, thread by thread).
_READ = """echo at $(cut -d ' ' -f 1 /proc/uptime)
for task in /proc/[0-9]*/task/*; do read -r name <$task/comm || continue
case $name in acma-agent|acma-deadman|kdamond*) read -r ns rest <$task/schedstat && echo task $name ${task##*/} $ns;; esac
done 2>/dev/null"""


def parse_readings(text):
    """[(uptime in seconds, {(name, tid): nanoseconds})]"""
    readings = []
    for line in text.splitlines():
        if match := re.match(r"at ([0-9.]+)$", line):
            readings.append((float(match[1]), {}))
        elif match := re.match(r"task (\S+) (\d+) (\d+)$", line):
            readings[-1][1][match[1], int(match[2])] = int(match[3])
    return readings


def rates(readings, prefix):
    """Nanoseconds (= instructions) a second that tasks of that name took in each interval; None where one came or went."""
    found = []
    for (then, before), (now, after) in zip(readings, readings[1:]):
        tasks = [task for task in after if task[0].startswith(prefix)]
        if not tasks or {task for task in before if task[0].startswith(prefix)} != set(tasks):
            found.append(None)
            continue
        found.append(sum(after[task] - before[task] for task in tasks) / (now - then))
    return found


def _rate(readings, prefix):
    found = rates(readings, prefix)
    detail = {"intervals": [None if rate is None else round(rate) for rate in found]}
    if not found or None in found:
        return Value(None, f"a {prefix} task came or went while it was measured", detail)
    return Value(round(sum(found) / len(found)), "", detail)


def _measure(setup, case, programs, report, say, keep):
    # Without a sampler and without --verbose: this is what the agent costs when nobody looks.
    with Subject(setup, programs, "agent", keep, sampled=False) as subject:
        subject.settle()
        say(f"{setup.name}: settled; measuring {INTERVALS * INTERVAL_S} guest seconds")
        script = f"sleep {REST_S}\n{_READ}\nfor i in $(seq {INTERVALS}); do sleep {INTERVAL_S}\n{_READ}\ndone"
        readings = parse_readings(subject.guest.run(script, timeout=SETTLE_MOST_S * 2))
        if (state := subject.agent_state()) != "settled":
            case["state_after"] = state
        rss = subject.account()["rss"]
        report.add(
            RSS,
            "ours",
            case,
            Value(
                rss["acma-agent"] + rss["acma-deadman"],
                "",
                {"acma_agent_bytes": rss["acma-agent"], "acma_deadman_bytes": rss["acma-deadman"]},
            ),
        )
        report.add(AGENT_INSNS, "ours", case, _rate(readings, "acma-"))
        report.add(KDAMOND_INSNS, "ours", case, _rate(readings, "kdamond"))


def setups(kernels):
    # Swap that needs no device: while the guest waits for one, its clock jumps from timer to timer. Less memory than in
    # `reclaim`, because the guest is slow; what the settled agent does depends on how many regions it watches.
    return [Setup(kernel, "zram", ram_mib=1024, filled_mib=400, hot_mib=100, icount=True) for kernel in kernels]


def run(given, programs, report, say):
    for setup in setups(given.kernel):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        case = setup.case()
        say(f"{setup.name}: ours")
        try:
            _measure(setup, case, programs, report, say, given.keep)
        except (RigError, OSError) as error:
            say(f"{setup.name}: failed: {error}")
            for metric in METRICS:
                if not report.has(metric, "ours", case):
                    report.add(metric, "ours", case, Value(None, str(error).splitlines()[0]))
