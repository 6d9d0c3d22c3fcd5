# SPDX-License-Identifier: Apache-2.0
"""The bench `peaks`: three VMs need nearly all of their max-mem in turn, on a host whose budget is two of that. Do all get it?"""

import contextlib
import dataclasses
import os
import random
import threading
import time

from tests.rig import workdir
from tests.rig.controller import Controller, budget_setting, overpromises
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.libvirt import Libvirt, Policy
from tests.rig.qemu import accelerator

from .machine import Noise
from .report import Metric, Value
from .streams import Stream
from .subject import BUILD

MIB = 1 << 20
PARTS = []
ICOUNT = False
CONTESTANTS = ["ours", "fpr"]

PEAKS_MET = Metric("peaks_met", "1", "higher", 3, 0, "of 3: all touched in time, and all host bytes within the budget meanwhile")
PEAK = Metric("peak_s", "s", "lower", None, 1, "the longest, from its start until all was touched; fpr's is the time on a host that has enough")
OVER_BUDGET = Metric("over_budget_bytes", "B", "lower", 0, 0, "highest sum of host bytes, QEMU's own included, less the budget")
OOM_KILLS = Metric("oom_kills", "1", "lower", 0, 0)
STALL = Metric("stall_s", "s", "lower", None, 1, "PSI some of all guests, from the first peak's start on")
METRICS = [PEAKS_MET, PEAK, OVER_BUDGET, OOM_KILLS, STALL]

VMS = 3
SETTLE_MOST_S = 120
_WORKLOAD = "org.acma.bench.workload"
_RUN_AGENT = "acma-agent run >/tmp/agent.log 2>&1 &"
_EVERY_S = 0.5
# What an emulating QEMU adds to its own memory while its guest works: translated code.
_EMULATOR_GROWS = 48 * MIB


@dataclasses.dataclass(frozen=True)
class Setup:
    """What each VM does when its turn comes, and what it leaves behind: page cache, memory that stays allocated and is never
    looked at again, and memory that is free again. Free page reporting gives back the last alone."""

    kernel: str
    ram_mib: int = 768  # and max-mem
    min_mib: int = 192
    file_mib: int = 110
    held_mib: int = 400
    freed_mib: int = 100
    hold_s: int = 20  # so long a peak lasts once all was touched
    peak_most_s: int = 60  # until all is touched

    @property
    def name(self):
        return self.kernel

    def budget(self, qemu_bytes):
        """For all VMs: two can have all of their RAM, beside what the QEMUs of all three have of their own."""
        return 2 * self.ram_mib * MIB + qemu_bytes

    def static_fits(self, budget):
        """How many VMs of fixed size, with QEMU's own, such a budget has room for."""
        qemu_each = (budget - self.budget(0)) / VMS
        return int(budget // (self.ram_mib * MIB + qemu_each))

    def case(self):
        return {"case": self.name, **dataclasses.asdict(self), "vms": VMS}


def setups(kernels):
    return [Setup(kernel) for kernel in kernels]


@dataclasses.dataclass(frozen=True)
class Sample:
    """Of the host, at one moment."""

    at: float  # host seconds
    ram: tuple  # host bytes of each guest
    qemu: tuple  # and what its QEMU has beside

    @property
    def total(self):
        return sum(self.ram) + sum(self.qemu)


@dataclasses.dataclass(frozen=True)
class Peak:
    """One VM's turn."""

    start: float  # host seconds
    end: float
    took_s: float | None  # until all was touched; None: not in time


def most_beyond(samples, budget, start, end):
    """The highest sum of host bytes in that time, less the budget."""
    return max(sample.total - budget for sample in samples if start <= sample.at <= end)


def peaks_met(peaks, samples, budget):
    return sum(peak.took_s is not None and most_beyond(samples, budget, peak.start, peak.end) <= 0 for peak in peaks)


def _peak_script(setup):
    """Begins a peak; what its programs say goes to a port, since a shell that is asked for it takes memory."""
    fill = "acma-workload touch --period-ms 200 --zero-percent 98"
    return (
        '{ read -r now _ </proc/uptime; echo "{\\"start_s\\": $now}"\n'
        "cat /dev/vdb >/dev/null\n"
        f"{fill} --mib {setup.held_mib} & echo $! >/tmp/held\n"
        f"{fill} --mib {setup.freed_mib} & echo $! >/tmp/freed\n"
        f"wait; }} >/dev/virtio-ports/{_WORKLOAD} 2>&1 &"
    )


_END_OF_PEAK = "kill $(cat /tmp/freed); kill -STOP $(cat /tmp/held); true"  # the kernel may have killed one


def took_s(lines):
    """From the start of a peak until both of its programs had touched all of theirs; None: they have not yet."""
    start = next((line["start_s"] for line in lines if "start_s" in line), None)
    ready = [line["t_us"] for line in lines if "ready_us" in line]
    return None if start is None or len(ready) < 2 else ready[1] / 1e6 - start


class Host:
    """A host with its three guests, and who gives them their memory."""

    def __init__(self, setup, contestant, programs, budget=None):
        """`budget` in bytes; None: by what these guests' QEMUs have of their own when they have booted, and will have."""
        self.setup = setup
        self.contestant = contestant
        self.budget = budget
        self.samples = []
        self.guests = []
        self._controller = None
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        with contextlib.ExitStack() as parts:
            self._directory = workdir.make("peaks")
            parts.callback(workdir.remove, self._directory)
            self._libvirt = parts.enter_context(Libvirt())
            self._start(programs)
            parts.callback(self._watcher.join)
            parts.callback(self._done.set)
            self._parts = parts.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._parts.close()

    def _start(self, programs):
        setup = self.setup
        ours = self.contestant == "ours"
        image = os.path.join(self._directory, "data.img")
        with open(image, "wb") as file:
            file.truncate(setup.file_mib * MIB)
        options = Options(
            kernel=setup.kernel,
            memory_mib=setup.ram_mib,
            swap=f"disk:{setup.ram_mib}",
            add=programs.added(),
            channels=[_WORKLOAD],
            balloon_driver="shim" if ours else "stock",
            boot="rm -rf /lib/modules",
        )
        policy = Policy(f"{setup.min_mib}MiB", f"{setup.ram_mib}MiB", psi="0.1%") if ours else None
        for number in range(1, VMS + 1):
            self.guests.append(self._libvirt.guest(f"vm{number}", options, policy, xml=lambda xml: _with_disk(xml, image)))
            if ours:
                self.guests[-1].run(_RUN_AGENT)
        if self.budget is None:
            grows = 0 if accelerator(options.accel, options.kernel) == "kvm" else _EMULATOR_GROWS
            self.budget = setup.budget(sum(guest.host_memory().qemu_bytes + grows for guest in self.guests))
        if ours:
            self._controller = Controller(self._libvirt, BUILD, budget_setting(self.budget))
            self._wait_until_promises_fit()
        processes = [guest.pid for guest in self.guests] + ([self._controller.pid] if ours else [])
        self.noise = Noise(processes, self._libvirt.path("/proc"))
        self._watcher.start()

    def _wait_until_promises_fit(self):
        """A guest that boots counts with all of its memory, and all three are more than there is."""
        deadline = time.monotonic() + SETTLE_MOST_S
        while not self._settled():
            if time.monotonic() > deadline:
                raise RigError(f"the VMs were not given their parts within {SETTLE_MOST_S} s\n{self._controller.log()}")
            time.sleep(1)

    def _settled(self):
        try:
            seen = self._controller.overview()
        except RigError:
            return False  # not there yet
        return (
            len(seen["vms"]) == VMS
            and all(vm["state"] == "managed" for vm in seen["vms"])
            and seen["host"]["granted_bytes"] <= seen["host"]["budget_bytes"]
        )

    def _watch(self):
        while not self._done.wait(_EVERY_S):
            try:
                read = [guest.host_memory() for guest in self.guests]
            except (OSError, RigError):
                return  # the peak that is being measured says so
            now = time.monotonic()
            self.samples.append(Sample(now, tuple(one.ram_bytes for one in read), tuple(one.qemu_bytes for one in read)))

    def peak(self, number):
        """The turn of a guest, from its start to its end: a Peak."""
        guest = self.guests[number]
        stream = Stream(guest.socket(_WORKLOAD))
        start = time.monotonic()
        guest.run(_peak_script(self.setup))
        while (took := took_s(stream.lines())) is None and time.monotonic() - start < self.setup.peak_most_s:
            time.sleep(0.1)
        time.sleep(self.setup.hold_s)
        end = time.monotonic()
        if not self._watcher.is_alive():
            raise RigError(f"a guest is gone\n{guest.console_tail()}")
        guest.run(_END_OF_PEAK)
        stream.close()
        return Peak(start, end, took)

    def stalled_s(self):
        """PSI some so far, of all guests."""
        return sum(int(guest.run("sed -n 's/^some.*total=//p' /proc/pressure/memory")) for guest in self.guests) / 1e6

    def oom_kills(self):
        return sum(int(guest.run("awk '/^oom_kill /{print $2}' /proc/vmstat")) for guest in self.guests)

    def overpromised(self):
        """How many decisions of the controller promised what is not there."""
        return sum(map(overpromises, self._controller.decisions())) if self._controller else None

    def logs(self):
        """{name: what it said}: guests, and their agents and the controller where there are any."""
        texts = {f"{guest.name}-console": guest.console() for guest in self.guests}
        if self._controller:
            texts["controller"] = self._controller.log()
            texts.update({f"{guest.name}-agent": guest.run("cat /tmp/agent.log") for guest in self.guests})
        return texts

    def keep_logs(self, directory):
        for name, text in self.logs().items():
            path = os.path.join(directory, f"{self.setup.name}-{self.contestant}-{name}.log")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def _with_disk(xml, image):
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe'/>"
        f"<source file='{image}'/><target dev='vdb' bus='virtio'/><readonly/><shareable/></disk>"
    )
    return xml.replace("</devices>", disk + "</devices>")


@dataclasses.dataclass(frozen=True)
class Course:
    """What became of the three peaks on one host."""

    budget: int
    peaks: list
    samples: list  # from the first peak's start on
    overpromised: int | None  # decisions; None: without a controller
    stall_s: float
    oom_kills: int
    others_cores: float


def run_peaks(host, say=lambda _: None):
    stalled = host.stalled_s()
    begin = time.monotonic()
    peaks = []
    for number in range(VMS):
        peaks.append(host.peak(number))
        took = peaks[-1].took_s
        say(f"{host.setup.name}: {host.contestant}: vm{number + 1} " + ("did not get its memory" if took is None else f"had its memory after {took:.1f} s"))
    samples = [sample for sample in host.samples if sample.at >= begin]
    return Course(host.budget, peaks, samples, host.overpromised(), host.stalled_s() - stalled, host.oom_kills(), host.noise.cores())


def figures(setup, course):
    """{metric: Value} of one contestant."""
    took = [peak.took_s for peak in course.peaks]
    never = next((f"vm{number} did not get its memory within {setup.peak_most_s} s" for number, one in enumerate(took, 1) if one is None), "")
    first, last = course.peaks[0].start, course.peaks[-1].end
    detail = {
        "peaks": [
            {"took_s": peak.took_s, "over_budget_bytes": most_beyond(course.samples, course.budget, peak.start, peak.end)} for peak in course.peaks
        ],
        "others_cores": course.others_cores,
    }
    beside = {
        "decisions_that_overpromise": course.overpromised,
        "qemu_most_bytes": max(max(sample.qemu) for sample in course.samples),
        "samples": {
            "columns": ["s", *(f"vm{number + 1}_bytes" for number in range(VMS)), "qemu_bytes"],
            "rows": [[round(sample.at - first, 2), *sample.ram, sum(sample.qemu)] for sample in course.samples],
        },
    }
    return {
        PEAKS_MET: Value(peaks_met(course.peaks, course.samples, course.budget), "", detail),
        PEAK: Value(None, never) if never else Value(max(took)),
        OVER_BUDGET: Value(most_beyond(course.samples, course.budget, first, last), "", beside),
        OOM_KILLS: Value(course.oom_kills),
        STALL: Value(course.stall_s),
    }


def run(given, programs, report, say):
    order = random.Random(given.seed)
    for setup in setups(given.kernel):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        case = setup.case()
        budget = None  # the first host's is that of all
        for contestant in order.sample(CONTESTANTS, len(CONTESTANTS)):
            say(f"{setup.name}: {contestant}")
            try:
                with Host(setup, contestant, programs, budget) as host:
                    budget = case["budget_bytes"] = host.budget
                    found = figures(setup, run_peaks(host, say))
                    if given.keep:
                        host.keep_logs(given.keep)
            except (RigError, OSError) as error:
                say(f"{setup.name}: {contestant} failed: {error}")
                found = {metric: Value(None, str(error).splitlines()[0]) for metric in METRICS}
            for metric, value in found.items():
                report.add(metric, contestant, case, value)
        if budget is not None:
            report.add(PEAKS_MET, "static", case, Value(setup.static_fits(budget)))
