# SPDX-License-Identifier: Apache-2.0
"""The bench `reclaim`: how fast an idle guest gets small, what that costs it, how fast it gets memory back."""

import dataclasses
import json
import random
import time

from tests.rig.errors import RigError

from . import series, stop, trace
from .report import Metric, Value
from .subject import KERNEL_TUNER, KERNEL_TUNER_TEMPORAL, PSI_TARGET, UNLIMITED, Setup, Subject

RAMP = Metric(
    "ramp_s",
    "s",
    "lower",
    5,
    only="zram: in guests that count instructions, since its speed is the CPU's, which other work on the machine changes",
)
RAMP_BY_CLOCK = Metric("ramp_by_clock_s", "s", "lower", 5, only="zram: the same by the clock, against the luckiest second")
RAMP_PSI = Metric("ramp_psi_over_target", "x", "lower", 5)
IDLE_OVER = Metric("idle_over_needed_pct", "%", "lower", 25)
IDLE_SETTLE = Metric("idle_settle_s", "s", "lower", 60)
SPIKE = Metric("spike_extra_ms", "ms", "lower", 1000, 0)
STOP = Metric("stop_ms", "ms", "lower", 100)
LOSS = Metric(
    "workload_loss_pct",
    "%",
    "lower",
    3,
    2,
    only="zram: busy time is counted in instructions, and the clock of a guest that does so jumps while it waits for a disk",
)
METRICS = [RAMP, RAMP_BY_CLOCK, RAMP_PSI, IDLE_OVER, IDLE_SETTLE, SPIKE, STOP, LOSS]
PARTS = ["ramp", "spike", "stop", "loss"]
CLOCK_PARTS = ["ramp", "spike", "stop"]
COUNTED_PARTS = ["ramp", "loss"]
ICOUNT = False  # but some do, and say so in their case

# The rate to be reached: nine tenths of this, or of what an unlimited quota reaches where that is less.
FULL_RATE = 200e6
REACHED = 0.9
# Host bytes may be this far above what is needed when settled.
SETTLED = 1.25

# A virtio disk in a guest without the agent's udev rules (docs/operations.md, "Swap"): only where --case asks for it.
ON_REQUEST = "rotating"

# Everyone is watched for as long, from 60 s on, the goal, until it is sure that what is settled stays so.
OBSERVED_S = 90
IDLE_WINDOW_S = (60, 70)
UNLIMITED_MOST_S = 45
# Guests that count instructions are only watched until the rate is reached, or for so long; they are this much slower.
COUNTED_MOST_S = 30
COUNTED_SLOWNESS = 10

# With and without ACMA in turns: guests are paused in between, so that both see the same machine.
SPIKES = 3
TURN_REST_S = 4  # what the last spike freed is reported to the host after 2 s
SPIKE_MIB = 512

# Busy time is counted in instructions: by the clock it differs by a tenth from one turn to the next.
LOSS_REST_S = 60  # guest seconds between "settled" and the first round that counts
LOSS_S = 60


def setups(kernels):
    # Only swap that needs no device can be counted: the clock of such a guest jumps while it waits for one.
    kinds = [{"swap": "disk"}, {"swap": "zram"}, {"swap": "zram", "icount": True}, {"swap": ON_REQUEST}]
    return [Setup(kernel, **kind) for kernel in kernels for kind in kinds]


class Case:
    """All measurements with one kernel and one kind of swap, by the clock or by instructions."""

    def __init__(self, setup, programs, report, say, keep, rng):
        self._setup = setup
        self._programs = programs
        self._report = report
        self._say = say
        self._keep = keep
        self._rng = rng
        self._case = setup.case()
        # For the loss: less memory than the others have, because a guest that counts instructions is slow.
        self._small = dataclasses.replace(setup, ram_mib=1024, filled_mib=400, hot_mib=100)
        self._ramp_metric = RAMP_BY_CLOCK if setup.swap == "zram" and not setup.icount else RAMP
        self._slowness = COUNTED_SLOWNESS if setup.icount else 1
        self._reference = None  # bytes a second of the unlimited quota
        self._typical = None  # its median second, for who wants to know how much of that was luck

    def run(self, parts):
        parts = [part for part in parts if part in (COUNTED_PARTS if self._setup.icount else CLOCK_PARTS)]
        metrics = [self._ramp_metric, RAMP_PSI] if "ramp" in parts else []
        if metrics and not self._setup.icount:
            metrics += [IDLE_OVER, IDLE_SETTLE]
        if "ramp" in parts:
            self._guarded([], "unlimited", self._unlimited)
            tuners = [KERNEL_TUNER] + ([KERNEL_TUNER_TEMPORAL] if self._setup.kernel != "6.12" else [])
            self._rng.shuffle(tuners)
            for tuner in tuners:
                self._guarded(metrics, tuner.name, self._tuner, tuner)
        if "spike" in parts:
            metrics = [*metrics, SPIKE]
        if metrics:
            self._guarded(metrics, "ours", self._ours, parts)
        if "stop" in parts:
            self._guarded([STOP], "ours", self._stop)
        if "loss" in parts:
            self._guarded([LOSS], "ours", self._loss)

    def _guarded(self, metrics, contestant, measure, *arguments):
        """A guest that fails leaves figures empty, with the reason, and the others running."""
        self._say(f"{self._setup.name}: {contestant} ({measure.__name__.strip('_')})")
        try:
            measure(*arguments)
        except (RigError, OSError) as error:
            self._say(f"{self._setup.name}: {contestant} failed: {error}")
            for metric in metrics:
                if not self._report.has(metric, contestant, self._case_of(metric)):
                    self._add(metric, contestant, Value(None, str(error).splitlines()[0]))

    def _add(self, metric, contestant, value):
        self._report.add(metric, contestant, self._case_of(metric), value)

    def _case_of(self, metric):
        return self._small.case() if metric is LOSS else self._case

    def _subject(self, name, **changes):
        return Subject(self._setup, self._programs, name, self._keep, **changes)

    # --- ramp and idle

    def _unlimited(self):
        with self._subject("unlimited") as subject:
            subject.start_tuner(UNLIMITED)

            def done():
                rates = series.page_out_rates(subject.samples())
                peak = series.highest(rates, subject.start_us)
                lately = series.highest(rates, subject.now_us() - 5_000_000)
                return subject.seconds_since_start() > 15 and lately < peak / 10

            subject.wait_at_most(done, UNLIMITED_MOST_S * self._slowness)
            rates = series.page_out_rates(subject.samples())
            self._reference = series.highest(rates, subject.start_us)
            self._typical = series.typical(rates, subject.start_us)
            self._case["unlimited_bytes_per_s"] = round(self._reference)
            self._case["unlimited_typical_bytes_per_s"] = round(self._typical)
            self._case["unlimited_others_cores"] = subject.noise.cores()
            self._say(f"{self._setup.name}: an unlimited quota reaches {self._reference / 1e6:.0f} MB/s, typically {self._typical / 1e6:.0f}")

    def _tuner(self, tuner):
        with self._subject(tuner.name) as subject:
            subject.start_tuner(tuner)
            self._observe(subject)
            self._ramp(tuner.name, subject)
            self._idle(tuner.name, subject)

    def _observe(self, subject):
        if self._setup.icount:
            seconds, over = COUNTED_MOST_S, self._reached_a_while_ago
        else:
            seconds, over = OBSERVED_S, lambda _: False
        subject.wait(
            lambda: subject.seconds_since_start() >= seconds or over(subject),
            seconds * 3 * self._slowness,
            "not observed long enough",
        )

    def _wanted(self):
        return REACHED * min(FULL_RATE, self._reference)

    def _reached_a_while_ago(self, subject):
        if not self._reference:
            return False
        reached = series.first_at_least(series.page_out_rates(subject.samples()), self._wanted(), subject.start_us)
        return reached is not None and subject.now_us() > reached + 2 * series.SECOND

    def _ramp(self, contestant, subject):
        if not self._reference:
            for metric in (self._ramp_metric, RAMP_PSI):
                self._add(metric, contestant, Value(None, "the rate of an unlimited quota was not measured"))
            return
        samples = subject.samples()
        rates = series.page_out_rates(samples)
        shares = series.psi_shares(samples)
        start = subject.start_us
        wanted = self._wanted()
        reached = series.first_at_least(rates, wanted, start)
        peak = series.highest(rates, start)
        typical = series.first_at_least(rates, REACHED * min(FULL_RATE, self._typical), start)
        first = next((sample for sample in samples if sample.t_us > start), samples[-1])
        detail = {
            "wanted_bytes_per_s": round(wanted),
            "peak_bytes_per_s": round(peak),
            "until_typical_rate_s": None if typical is None else round((typical - start) / 1e6, 2),
            "others_cores": subject.noise.cores(),
            "samples": {
                "columns": ["t_us", "psi_some_us", "pswpout_pages", "pswpin_pages", "refaulted_pages"],
                "rows": [
                    [
                        sample.t_us - start,
                        sample.psi_some_us - first.psi_some_us,
                        sample.swapped_out - first.swapped_out,
                        sample.swapped_in - first.swapped_in,
                        sample.refaulted - first.refaulted,
                    ]
                    for sample in samples
                    if sample.t_us >= first.t_us
                ],
            },
        }
        why = f"at most {peak / 1e6:.0f} of {wanted / 1e6:.0f} MB/s within {subject.seconds_since_start():.0f} s"
        if reached is None:
            self._add(self._ramp_metric, contestant, Value(None, why, detail))
        else:
            self._add(self._ramp_metric, contestant, Value(round((reached - start) / 1e6, 2), "", detail))
        # Who waits for what was paged out last in the ramp does so in the second after it.
        end = samples[-1].t_us if reached is None else reached + series.SECOND
        drained = series.last_at_least(rates, wanted / 10, start) or end
        psi = {
            "until_drained": round(series.highest(shares, start, drained + series.SECOND) / PSI_TARGET, 2),
            "mean_psi_pct": round(
                100 * (samples[-1].psi_some_us - first.psi_some_us) / max(1, samples[-1].t_us - first.t_us), 4
            ),
        }
        self._add(RAMP_PSI, contestant, Value(round(series.highest(shares, start, end) / PSI_TARGET, 2), "", psi))

    def _idle(self, contestant, subject):
        if self._setup.icount:
            return
        account = subject.account()
        needed = account["needed_bytes"]
        points = [(at - subject.start_host_s, size) for at, size in subject.host_bytes() if at >= subject.start_host_s]
        late = [size for at, size in points if IDLE_WINDOW_S[0] <= at < IDLE_WINDOW_S[1]]
        observed = points[-1][0] if points else 0
        detail = {
            **account,
            "host_bytes_last": points[-1][1] if points else None,
            "samples": {"columns": ["s", "host_bytes"], "rows": [[round(at, 2), size] for at, size in points]},
        }
        if late:
            over = 100 * (series.median(late) / needed - 1)
            self._add(IDLE_OVER, contestant, Value(round(over, 2), "", detail))
        else:
            self._add(IDLE_OVER, contestant, Value(None, f"observed for {observed:.0f} s only", detail))
        settled = series.settled_at(points, SETTLED * needed, 0)
        if settled is None:
            why = f"still {100 * (points[-1][1] / needed - 1):.0f} % over after {observed:.0f} s" if points else "not observed"
            self._add(IDLE_SETTLE, contestant, Value(None, why))
        else:
            self._add(IDLE_SETTLE, contestant, Value(round(settled, 1)))

    def _ours(self, parts):
        with self._subject("ours") as subject:
            subject.start_agent()
            self._observe(subject)
            if "ramp" in parts:
                self._ramp("ours", subject)
                self._idle("ours", subject)
            if "spike" in parts:
                self._spike(subject)

    # --- settled, with and without

    def _spike(self, ours):
        ours.pause()
        with self._subject("without") as without:
            without.pause()
            spikes = {"ours": [], "without": []}
            for _ in range(SPIKES):
                for name, subject in self._shuffled([("ours", ours), ("without", without)]):
                    subject.resume()
                    time.sleep(TURN_REST_S)
                    line = json.loads(subject.guest.run(f"acma-workload spike --mib {SPIKE_MIB}"))
                    spikes[name].append(line["spike_us"])
                    subject.pause()
            extra = (series.median(spikes["ours"]) - series.median(spikes["without"])) / 1000
            self._add(SPIKE, "ours", Value(round(extra, 1), "", {"spike_us": spikes}))

    def _shuffled(self, contestants):
        self._rng.shuffle(contestants)
        return contestants

    def _loss(self):
        busy = {}
        for name in self._shuffled(["ours", "without"]):
            with Subject(self._small, self._programs, f"loss-{name}", self._keep, sampled=False) as subject:
                if name == "ours":
                    subject.settle()
                subject.guest.run(f"sleep {LOSS_REST_S}", timeout=600)
                before = len(subject.workload_seconds())
                subject.guest.run(f"sleep {LOSS_S}", timeout=600)
                seconds = subject.workload_seconds()[before:]
                if not seconds:
                    raise RigError(f"{name}: the workload does not run")
                rounds = sum(line["rounds"] for line in seconds)
                busy[name] = {
                    "rounds": rounds,
                    "busy_us_per_round": sum(line["busy_us"] for line in seconds) / rounds,
                    "samples": {
                        "columns": ["t_us", "busy_us", "rounds"],
                        "rows": [[line["t_us"], line["busy_us"], line["rounds"]] for line in seconds],
                    },
                }
        loss = 100 * (1 - busy["without"]["busy_us_per_round"] / busy["ours"]["busy_us_per_round"])
        self._add(LOSS, "ours", Value(round(loss, 2), "", busy))

    # --- stop

    def _stop(self):
        with self._subject("stop") as subject:
            stops = stop.spikes(subject)
        detail = dataclasses.asdict(stops)
        if not stops.trials:
            self._add(STOP, "ours", Value(None, stops.why_none(), detail))
            return
        latest = max(trace.last_begun_us(trial) for trial in stops.trials)
        self._add(STOP, "ours", Value(round(latest / 1000, 2), "", detail))


def run(given, programs, report, say):
    rng = random.Random(given.seed)
    names = [setup.name for setup in setups(given.kernel)]

    def wanted(setup):
        if not given.case:
            return setup.swap != ON_REQUEST
        return any(part == setup.name if part in names else part in setup.name for part in given.case)

    cases = [setup for setup in setups(given.kernel) if wanted(setup)]
    rng.shuffle(cases)
    for setup in cases:
        Case(setup, programs, report, say, given.keep, rng).run(given.part or PARTS)
