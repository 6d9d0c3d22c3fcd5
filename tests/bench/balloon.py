# SPDX-License-Identifier: Apache-2.0
"""The bench `balloon`: what it costs to take a GiB from a guest and to give it back, beside what else does that."""

import dataclasses
import json
import os
import re
import time

from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.qemu import Guest

from .report import Metric, Value
from .subject import BUILD

MIB = 1 << 20
GIB = 1 << 30

_FREE0 = "free memory, init_on_alloc=0"
DISCARDS_IDLE = Metric("host_discards_per_gib_idle", "1", "lower", 64, 0, "of an idle guest, free page reporting on")
DISCARDS_WORST = Metric("host_discards_per_gib_worst", "1", "lower", 512, 0)
RECLAIM = Metric("guest_insns_per_gib_reclaim", "1", "lower", None, 0, _FREE0 + "; goal: a twentieth of stock's")
RETURN = Metric("guest_insns_per_gib_return", "1", "lower", None, 0, _FREE0 + "; goal: a twentieth of stock's")
SUM = Metric("guest_insns_per_gib_sum", "1", "lower", None, 0, _FREE0 + "; goal: virtio_mem's")
HUGETLB = Metric("hugetlb_freed_pct", "%", "higher", 100, 0)
SCALE_UP_CALLS = Metric("scale_up_host_calls", "1", "lower", 0, 0, "of voluntary blocks")
# Without a goal: the rest of the matrix.
RECLAIM_INIT = Metric("guest_insns_per_gib_reclaim_init", "1", "lower", None, 0, "free memory, init_on_alloc=1; no worse than stock")
RECLAIM_USED = Metric("guest_insns_per_gib_reclaim_used", "1", "lower", None, 0, "half of it used and migrated, init_on_alloc=0; no worse than stock")
METRICS = [DISCARDS_IDLE, DISCARDS_WORST, RECLAIM, RETURN, SUM, HUGETLB, SCALE_UP_CALLS, RECLAIM_INIT, RECLAIM_USED]
PARTS = []
ICOUNT = True

RAM_MIB = 2048
TAKE_MIB = 1024
CONTESTANTS = ["ours", "stock", "fpr", "virtio_mem"]
WAIT_S = 120


@dataclasses.dataclass(frozen=True)
class Setup:
    kernel: str
    content: str  # "free", or "used": as much memory is in use as has to be moved out of the way
    init_on_alloc: int

    @property
    def name(self):
        return f"{self.kernel}/{self.content}/init{self.init_on_alloc}"

    def case(self):
        return {"case": self.name, **dataclasses.asdict(self), "ram_mib": RAM_MIB, "take_mib": TAKE_MIB}


def setups(kernels):
    return [Setup(kernel, content, init) for kernel in kernels for content, init in (("free", 0), ("free", 1), ("used", 0))]


def per_gib(value, moved_bytes):
    return value * GIB / moved_bytes


def run_time_ns(schedstat):
    """What all tasks had of all CPUs so far: field 7 of the cpu lines of /proc/schedstat (Documentation/scheduler/sched-stats.rst)."""
    return sum(int(line.split()[7]) for line in schedstat.splitlines() if re.match(r"cpu\d", line))


class Subject:
    """A guest that counts instructions, with one contestant in it, and the host's calls beside."""

    def __init__(self, setup, contestant):
        self.setup = setup
        self.contestant = contestant
        balloon = "deflate-on-oom=on" + (",free-page-reporting=on" if contestant in ("ours", "fpr") else "")
        with_mem = contestant == "virtio_mem"
        self._options = Options(
            kernel=setup.kernel,
            memory_mib=RAM_MIB,
            smp=1,
            icount=True,
            boot_timeout_s=300,
            cmdline=f"init_on_alloc={setup.init_on_alloc}" + (" memhp_default_state=online_movable" if with_mem else ""),
            balloon=not with_mem,
            balloon_properties=balloon,
            balloon_driver="" if with_mem else "shim" if contestant == "ours" else "stock",
            modules=["virtio_mem"] if with_mem else [],
            add=[os.path.join(BUILD, "tests", "workload", name) for name in ("acma-workload", "acma-blocks")],
        )
        if with_mem:
            self._options.memory_args = ["-m", f"{RAM_MIB - TAKE_MIB}M,maxmem=8G"]
            self._options.ram_block_mib = [RAM_MIB - TAKE_MIB, TAKE_MIB]
            self._options.qemu_args = [
                *("-object", f"memory-backend-ram,id=vm0,size={TAKE_MIB}M"),
                *("-device", f"virtio-mem-pci,id=mem,memdev=vm0,requested-size={TAKE_MIB}M"),
            ]

    def __enter__(self):
        self._options.qemu_args += ["-trace", "enable=ram_block_discard_range", "-trace", "enable=virtio_mem_unplug_request"]
        self.guest = Guest(self._options)
        self._wait(lambda: self._total() > (RAM_MIB - 200) * MIB, "the guest did not get its memory")
        if self.setup.content == "used":
            # Fills most of the memory, then lets go of every second page: what is used lies everywhere.
            self.guest.run(f"acma-workload holes --mib {RAM_MIB - 700} >/tmp/w.log 2>&1 &")
            self._wait(lambda: "holes" in self.guest.run("cat /tmp/w.log"), "the workload did not fill its memory")
        if self.contestant == "ours":  # else the module gives back by itself after a while
            self.guest.run("acma-blocks attach 1000000 >/dev/null &")
        self.guest.run("sleep 6")  # free page reporting has reported what is free
        # The program that asks is started anew for each order, which is none of the mechanism's cost.
        self._idle_ns = self._measured((lambda: self._blocks("take", 0)) if self.contestant == "ours" else lambda: None)
        return self

    def __exit__(self, *_):
        self.guest.close()

    def _total(self):
        return int(self.guest.run("awk '/^MemTotal:/{print $2}' /proc/meminfo")) * 1024

    def _wait(self, done, what):
        deadline = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > deadline:
                raise RigError(f"{what}\n{self.guest.console_tail()}")
            time.sleep(0.2)

    def discards(self):
        with open(os.path.join(self.guest.directory, "qemu.log"), encoding="utf-8", errors="replace") as log:
            return sum("ram_block_discard_range" in line for line in log)

    def _measured(self, action):
        before = run_time_ns(self.guest.run("cat /proc/schedstat", timeout=WAIT_S))
        action()
        return run_time_ns(self.guest.run("cat /proc/schedstat", timeout=WAIT_S)) - before

    def insns(self, action):
        """Nanoseconds, and so instructions, that tasks of the guest took for it."""
        return self._measured(action) - self._idle_ns

    # --- what the contestants do ---

    def take(self):
        """Takes TAKE_MIB; the bytes that were had."""
        return getattr(self, "_take_" + self.contestant)()

    def give(self):
        return getattr(self, "_give_" + self.contestant)()

    def _blocks(self, verb, blocks=TAKE_MIB // 2):
        found = json.loads(self.guest.run(f"acma-blocks {verb} {blocks}", timeout=WAIT_S))
        return (found.get("taken", 0) + found.get("freed", 0)) * 2 * MIB

    def _take_ours(self):
        return self._blocks("take")

    def _give_ours(self):
        return self._blocks("give")

    def _balloon(self, size):
        qmp = self.guest.qmp
        before = qmp.command("query-balloon")["actual"]
        qmp.command("balloon", value=size)
        last, since = before, time.monotonic()
        while (now := qmp.command("query-balloon")["actual"]) != size:
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > 30:
                break  # it has no more to give
            time.sleep(0.05)
        return abs(now - before)

    def _take_stock(self):
        return self._balloon((RAM_MIB - TAKE_MIB) * MIB)

    def _give_stock(self):
        return self._balloon(RAM_MIB * MIB)

    def _virtio_mem(self, size):
        device = "/machine/peripheral/mem"
        get = lambda: self.guest.qmp.command("qom-get", path=device, property="size")
        before = get()
        self.guest.qmp.command("qom-set", path=device, property="requested-size", value=size)
        last, since = before, time.monotonic()
        while (now := get()) != size and time.monotonic() - since < 60:
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.05)
        return abs(now - before)

    def _take_virtio_mem(self):
        return self._virtio_mem(0)

    def _give_virtio_mem(self):
        return self._virtio_mem(TAKE_MIB * MIB)

    def _take_fpr(self):
        """It takes nothing: memory that was used is freed, and reported."""
        self.guest.run(f"acma-workload spike --mib {TAKE_MIB}; sleep 8", timeout=WAIT_S)
        return TAKE_MIB * MIB


def _measure(setup, contestant, case, report, say):
    with Subject(setup, contestant) as subject:
        moved = 0

        def take():
            nonlocal moved
            moved = subject.take()

        before = subject.discards()
        taking = subject.insns(take)
        time.sleep(2)
        discards = subject.discards() - before
        detail = {"moved_bytes": moved, "discards": discards, "insns": taking}
        if moved < TAKE_MIB * MIB // 2:
            why = f"only {moved // MIB} of {TAKE_MIB} MiB could be taken"
            for metric in _of_taking(setup):
                report.add(metric, contestant, case, Value(None, why, detail))
            return
        report.add(DISCARDS_WORST, contestant, case, Value(per_gib(discards, moved), "", detail))
        if setup.content == "free":
            report.add(DISCARDS_IDLE, contestant, case, Value(per_gib(discards, moved), "", detail))
        if contestant == "fpr":
            return
        report.add(_reclaim(setup), contestant, case, Value(per_gib(taking, moved), "", detail))
        if setup != Setup(setup.kernel, "free", 0):
            return
        before = subject.discards()
        sent = json.loads(subject.guest.run("acma-blocks state"))["descriptors"] if contestant == "ours" else 0

        def give():
            nonlocal moved
            moved = subject.give()

        giving = subject.insns(give)
        detail = {"moved_bytes": moved, "insns": giving}
        report.add(RETURN, contestant, case, Value(per_gib(giving, moved), "", detail))
        total = report.value(RECLAIM, contestant, case) + per_gib(giving, moved)
        report.add(SUM, contestant, case, Value(total))
        if contestant == "ours":
            calls = json.loads(subject.guest.run("acma-blocks state"))["descriptors"] - sent + subject.discards() - before
            report.add(SCALE_UP_CALLS, contestant, case, Value(calls))


def _reclaim(setup):
    if setup.content == "used":
        return RECLAIM_USED
    return RECLAIM_INIT if setup.init_on_alloc else RECLAIM


def _of_taking(setup):
    return [DISCARDS_WORST, _reclaim(setup), *([DISCARDS_IDLE] if setup.content == "free" else [])]


# What a metric is to be held against, where that is a peer of the same run.
GOALS = {RECLAIM: ("stock", 1 / 20), RETURN: ("stock", 1 / 20), SUM: ("virtio_mem", 1), RECLAIM_INIT: ("stock", 1), RECLAIM_USED: ("stock", 1)}


def run(given, _programs, report, say):
    for setup in setups(given.kernel):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        case = setup.case()
        for contestant in CONTESTANTS:
            if contestant == "virtio_mem" and setup.content == "used":
                continue  # its memory is a device of its own: what is used lies elsewhere
            say(f"{setup.name}: {contestant}")
            try:
                _measure(setup, contestant, case, report, say)
            except (RigError, OSError) as error:
                say(f"{setup.name}: {contestant} failed: {error}")
                for metric in _of_taking(setup):
                    if not report.has(metric, contestant, case):
                        report.add(metric, contestant, case, Value(None, str(error).splitlines()[0]))
    report.hold_against(GOALS)
    report.add(HUGETLB, "ours", {"case": "not measured"}, Value(None, "needs huge pages of the host, which is left as it is"))
