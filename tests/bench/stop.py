# SPDX-License-Identifier: Apache-2.0
"""Spikes while page-out is under way: how soon it stops. For bench `reclaim` and the e2e test of the same promise."""

import dataclasses
import json
import time

from . import series, trace
from .subject import TRIGGER

SPIKES = 3
LEAST_RATE = 5e6  # bytes a second: page-out is in full swing
LEAVE_MIB = 128  # what the spike has to take before it is felt, beside what was paged out meanwhile


@dataclasses.dataclass
class Stops:
    trials: list = dataclasses.field(default_factory=list)  # trace.stops() of each spike that counts
    lossy_spikes: int = 0  # spikes that do not count, because their trace lost events
    sampler_triggers_us: list = dataclasses.field(default_factory=list)

    def why_none(self):
        if self.lossy_spikes:
            return f"the traces of {self.lossy_spikes} spikes lost events"
        return f"no PSI trigger fired while more than {LEAST_RATE / 1e6:.0f} MB/s were paged out"


def spikes(subject):
    """Each in the ramp of an agent that has just been started, in a guest whose memory has just been filled."""
    stops = Stops()
    for number in range(SPIKES):
        if number > 0:
            _end_press(subject)
            subject.begin_again()
        _ready_to_press(subject)
        subject.start_agent()
        if not subject.wait_at_most(_page_out_runs(subject, subject.now_us()), 30):
            continue
        seen = len(subject.triggers())
        events, spike_us = _spike_in_ramp(subject)
        if events.lost:
            stops.lossy_spikes += 1
            continue
        stops.trials += trace.stops(events, spike_us)
        stops.sampler_triggers_us += subject.triggers()[seen:]
    return stops


def _ready_to_press(subject):
    subject.guest.run(
        f"acma-press --mib {subject.setup.ram_mib} --leave-mib {LEAVE_MIB} {TRIGGER} >/tmp/press.log 2>&1 &"
    )
    subject.wait(lambda: "ready" in subject.guest.run("cat /tmp/press.log"), 60, "acma-press did not take its memory")


def _end_press(subject):
    """One that was not needed still has its memory."""
    subject.guest.run("while pid=$(pidof acma-press); do kill $pid; sleep 0.1; done")


def _page_out_runs(subject, since_us):
    def runs():
        return series.highest(series.page_out_rates(subject.samples()), since_us + series.SECOND) > LEAST_RATE

    return runs


def _spike_in_ramp(subject):
    go = (
        "pid=$(pidof acma-press) || { echo acma-press has ended:; cat /tmp/press.log; dmesg | tail -n 20; exit 1; }\n"
        "kill -USR1 $pid; while [ -e /proc/$pid ]; do sleep 0.1; done"
    )
    subject.guest.run(f"{trace.ARM}\n{go}", timeout=120)
    time.sleep(trace.AFTER_US / 1e6 + 0.5)
    events = trace.parse(subject.guest.run(trace.FETCH, timeout=120))
    return events, json.loads(subject.guest.run("tail -n 1 /tmp/press.log"))["t_us"]
