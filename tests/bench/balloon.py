# SPDX-License-Identifier: Apache-2.0
"""The bench `balloon`: what it costs to take a GiB from a guest and to give it back, beside what else does that."""

import dataclasses
import json
import os
import re
import subprocess
import time

from tests.rig import workdir
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.qemu import Guest

from . import nested
from .orchestration import Orchestration
from .report import Metric, Value
from .series import median
from .subject import BUILD

MIB = 1 << 20
GIB = 1 << 30
BLOCK = 2 * MIB

_FREE0 = "free memory, init_on_alloc=0"
DISCARDS_IDLE = Metric("host_discards_per_gib_idle", "1", "lower", 64, 0, "of an idle guest, free page reporting on")
DISCARDS_WORST = Metric("host_discards_per_gib_worst", "1", "lower", 512, 0, "free page reporting on")
RECLAIM = Metric("guest_insns_per_gib_reclaim", "1", "lower", None, 0, _FREE0 + "; goal: a twentieth of stock's")
RETURN = Metric("guest_insns_per_gib_return", "1", "lower", None, 0, _FREE0 + "; goal: a twentieth of stock's")
SUM = Metric("guest_insns_per_gib_sum", "1", "lower", None, 0, _FREE0 + "; goal: virtio_mem's")
HUGETLB = Metric("hugetlb_freed_pct", "%", "higher", 100, 1, "guests in huge pages")
SCALE_UP_CALLS = Metric("scale_up_host_calls", "1", "lower", 0, 0, "of voluntary blocks")
LOSS = Metric("workload_loss_pct", "%", "lower", 3, 2, "one vCPU that is never idle: of 60 s in which a GiB is taken, half of it moved, and returned")

# The rest of the matrix.
_NO_WORSE = "; no worse than stock's"
RECLAIM_INIT = Metric("guest_insns_per_gib_reclaim_init", "1", "lower", None, 0, "free memory, init_on_alloc=1" + _NO_WORSE)
RETURN_INIT = Metric("guest_insns_per_gib_return_init", "1", "lower", None, 0, "init_on_alloc=1" + _NO_WORSE)
RECLAIM_USED = Metric("guest_insns_per_gib_reclaim_used", "1", "lower", None, 0, "every second page used" + _NO_WORSE)
RECLAIM_COLD = Metric("guest_insns_per_gib_reclaim_cold", "1", "lower", None, 0, "a third of memory used, as it was filled" + _NO_WORSE)
RECLAIM_FRAGMENTED = Metric("guest_insns_per_gib_reclaim_fragmented", "1", "lower", None, 0, "every second page used, files too" + _NO_WORSE)
# QEMU counts each step of a string instruction: 4,096 for the copy of a page by `rep movsb`, 512 by `rep movsq`, one on a real CPU.
_WORDS = " again, in a CPU without erms and fsrm, where the kernel copies eight bytes a step"
RECLAIM_USED_WORDS = Metric("guest_insns_per_gib_reclaim_used_words", "1", "lower", None, 0, "every second page used" + _WORDS + _NO_WORSE)
RECLAIM_FRAGMENTED_WORDS = Metric("guest_insns_per_gib_reclaim_fragmented_words", "1", "lower", None, 0, "files too" + _WORDS + _NO_WORSE)
RETURN_USED = Metric("guest_insns_per_gib_return_used", "1", "lower", None, 0, "used, cold and fragmented" + _NO_WORSE)
RETURN_TOUCH = Metric("guest_insns_per_gib_return_touch", "1", "lower", None, 0, "given back, then touched" + _NO_WORSE)
RETURN_TOUCH_INIT = Metric("guest_insns_per_gib_return_touch_init", "1", "lower", None, 0, "the same, init_on_alloc=1" + _NO_WORSE)
# What goes by the clock, and what is not the normal way: without a goal.
DISCARDS_INFLATE = Metric("host_discards_per_gib_inflate", "1", "lower", None, 0, "free page reporting off")
RECLAIM_INFLATE = Metric("guest_insns_per_gib_reclaim_inflate", "1", "lower", None, 0, "free page reporting off, " + _FREE0)
QEMU_CPU_RECLAIM = Metric("qemu_cpu_s_per_gib_reclaim", "s", "lower", None, 2, "guest and host together, free memory")
QEMU_CPU_RETURN = Metric("qemu_cpu_s_per_gib_return", "s", "lower", None, 2)
WALL_RECLAIM = Metric("wall_over_stock_reclaim", "x", "lower", None, 3, "free memory, by the clock")
WALL_RETURN = Metric("wall_over_stock_return", "x", "lower", None, 3)
METRICS = [
    *(DISCARDS_IDLE, DISCARDS_WORST, RECLAIM, RETURN, SUM, HUGETLB, SCALE_UP_CALLS, LOSS),
    *(RECLAIM_INIT, RETURN_INIT, RECLAIM_USED, RECLAIM_COLD, RECLAIM_FRAGMENTED, RETURN_USED, RETURN_TOUCH, RETURN_TOUCH_INIT),
    *(RECLAIM_USED_WORDS, RECLAIM_FRAGMENTED_WORDS),
    *(DISCARDS_INFLATE, RECLAIM_INFLATE, QEMU_CPU_RECLAIM, QEMU_CPU_RETURN, WALL_RECLAIM, WALL_RETURN),
]
# What a metric is to be held against, where that is a peer of the same run.
GOALS = {
    **{RECLAIM: ("stock", 1 / 20), RETURN: ("stock", 1 / 20), SUM: ("virtio_mem", 1)},
    **{metric: ("stock", 1) for metric in METRICS if metric.only.endswith(_NO_WORSE)},
}
PARTS = []
ICOUNT = True

RAM_MIB = 2048
TAKE_MIB = 1024
WAIT_S = 300  # of the host: a guest that counts instructions is slow
# Three quarters are filled, in which every second page is free again: half of what is taken has to be moved.
PUNCHED_MIB = RAM_MIB - 700
COLD_MIB = PUNCHED_MIB // 2

CLOCK_ROUNDS = 3

# Half of what is taken has to be moved, at least where it was filled.
LOSS_RAM_MIB = 3072
LOSS_PUNCHED_MIB = 1400
LOSS_HOT_MIB = 16
LOSS_BEFORE_S = 3
LOSS_AFTER_S = 2
LOSS_OF_S = 60

HUGETLB_RAM_MIB = 256
HUGETLB_TAKE_MIB = 64
HUGETLB_OUTER_MIB = 1024
HUGETLB_CASES = [("ours", True), ("ours", False), ("stock", False), ("fpr", True)]  # contestant, free page reporting

_CONTESTANTS = {
    ("free", 0): ["ours", "stock", "fpr", "virtio_mem", "orchestration"],
    ("free", 1): ["ours", "stock", "virtio_mem"],
    ("used", 0): ["ours", "ours_target", "stock", "orchestration"],
    ("cold", 0): ["ours", "stock"],
    ("fragmented", 0): ["ours", "ours_target", "stock", "orchestration"],
    ("loss", 0): ["ours", "stock"],
}

_PROGRAMS = [os.path.join(BUILD, "tests", "workload", name) for name in ("acma-workload", "acma-blocks")]
HOT_LOG = "/tmp/hot.log"


@dataclasses.dataclass(frozen=True)
class Setup:
    kernel: str
    content: str  # what is in memory: "free", "used", "cold" or "fragmented"; "loss" and "hugetlb" are what they say
    init_on_alloc: int = 0
    reporting: bool = True  # free page reporting; without it what is taken is told through the inflate queue
    icount: bool = True  # guest time counts instructions
    words: bool = False  # the CPU has no fast string instructions: the kernel copies words, not bytes

    @property
    def name(self):
        variant = ("" if self.reporting else "/inflate") + ("" if self.icount else "/clock") + ("/words" if self.words else "")
        return f"{self.kernel}/{self.content}/init{self.init_on_alloc}{variant}"

    @property
    def contestants(self):
        if not self.reporting:
            return ["ours"]
        if not self.icount:
            return ["stock", "ours", "virtio_mem"]
        if self.words:
            return ["ours", "ours_target", "stock"]
        return _CONTESTANTS[self.content, self.init_on_alloc]

    def case(self):
        return {"case": self.name, **dataclasses.asdict(self), "ram_mib": RAM_MIB, "take_mib": TAKE_MIB}


def setups(kernels):
    kinds = [
        *({"content": content, "init_on_alloc": init} for content, init in _CONTESTANTS),
        {"content": "free", "reporting": False},
        {"content": "free", "icount": False},
        {"content": "free", "init_on_alloc": 1, "icount": False},
        {"content": "used", "words": True},
        {"content": "fragmented", "words": True},
        {"content": "hugetlb"},
    ]
    return [Setup(kernel, **kind) for kernel in kernels for kind in kinds]


def per_gib(value, moved_bytes):
    return value * GIB / moved_bytes


def run_time_ns(schedstat):
    """What all tasks had of all CPUs so far: field 7 of the cpu lines of /proc/schedstat (Documentation/scheduler/sched-stats.rst)."""
    return sum(int(line.split()[7]) for line in schedstat.splitlines() if re.match(r"cpu\d", line))


def cpu_seconds(stat):
    """User and system time, by /proc/PID/stat; the name in it may have spaces."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loss_pct(lines, start_us, end_us, of_s):
    """What is missing of the rounds that the workload would have made in `of_s`, if from `start_us` to `end_us` it made fewer than before.
    `lines` are those of acma-workload, one a second, each with the rounds since the one before."""
    rate = lambda some: sum(line["rounds"] for line in some[1:]) / (some[-1]["t_us"] - some[0]["t_us"])
    before = [line for line in lines if line["t_us"] <= start_us]
    # With the line that begins it, and the one that ends it.
    within = before[-1:] + [line for line in lines if start_us < line["t_us"]]
    last = next((number for number, line in enumerate(within) if line["t_us"] >= end_us), None)
    if len(before) < 2 or not last:
        raise RigError("the workload says too little of its rounds")
    within = within[: last + 1]
    lost_us = (within[-1]["t_us"] - within[0]["t_us"]) * (1 - rate(within) / rate(before))
    return 100 * lost_us / (of_s * 1e6)


class Subject:
    """A guest with one contestant in it, and the host's calls beside."""

    def __init__(self, setup, contestant):
        self.setup = setup
        self.contestant = contestant
        self._directory = None
        self._loss = setup.content == "loss"
        self._ram_mib = LOSS_RAM_MIB if self._loss else RAM_MIB
        # `ours` takes blocks from the highest down, as the agent does; `ours_target` is the module on its own, which the host asks for memory.
        shim = contestant in ("ours", "ours_target")
        reporting = (shim or contestant == "fpr") and setup.reporting
        self._options = Options(
            kernel=setup.kernel,
            memory_mib=self._ram_mib,
            smp=1,
            icount=setup.icount,
            cpu="max" + (",-erms,-fsrm" if setup.words else ""),
            boot_timeout_s=300,
            cmdline=f"init_on_alloc={setup.init_on_alloc}",
            balloon_properties="deflate-on-oom=on" + (",free-page-reporting=on" if reporting else ""),
            balloon_driver="shim" if shim else "stock",
            add=_PROGRAMS,
        )
        if contestant in ("virtio_mem", "orchestration"):
            self._device = Orchestration(self._ram_mib, TAKE_MIB)
            self._device.apply(self._options)
            if contestant == "virtio_mem":
                self._options.balloon = False
                self._options.balloon_driver = ""

    def __enter__(self):
        self._options.qemu_args += ["-trace", "enable=ram_block_discard_range"]
        if self.setup.content == "fragmented":
            self._add_disk()
        self.guest = Guest(self._options)
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _add_disk(self):
        self._directory = workdir.make("disk")
        image = os.path.join(self._directory, "data.img")
        with open(image, "wb") as file:
            file.truncate((PUNCHED_MIB // 2 + 128) * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self._options.modules = [*self._options.modules, "virtio_blk"]
        self._options.qemu_args += ["-drive", f"file={image},format=raw,if=none,id=data,cache=unsafe", "-device", "virtio-blk-pci,drive=data"]
        self._options.boot = "mkdir -p /data; mount -t ext4 /dev/vda /data"

    def _begin(self):
        self._wait(lambda: self._total() > (self._ram_mib - 200) * MIB, "the guest did not get its memory")
        content = "used" if self._loss else self.setup.content
        if content in ("used", "fragmented"):
            # Fills most of the memory, then lets go of every second page: what is used lies everywhere.
            mib = LOSS_PUNCHED_MIB if self._loss else PUNCHED_MIB
            self._workload(f"holes --mib {mib}" + (" /data/file" if content == "fragmented" else ""), "holes", "/tmp/w.log")
        if content == "cold":
            self._workload(f"touch --mib {COLD_MIB} --hot-mib 1 --period-ms 1000000000", "ready", "/tmp/w.log")
        if self.contestant == "ours":  # else the module gives back by itself after a while
            self.guest.run("acma-blocks attach 1000000 >/dev/null &")
        if self.contestant == "orchestration":
            self._device.start(self.guest)
            self.guest.run("sleep 12", timeout=WAIT_S)
            self._device.stop(self.guest)
        self.guest.run("sleep 6", timeout=WAIT_S)  # free page reporting has reported what is free
        # The program that asks is started anew for each order, which is none of the mechanism's cost.
        self._idle_ns = 0 if self._loss else self._measured((lambda: self._blocks("take", 0)) if self.contestant == "ours" else lambda: None)

    def start_workload(self):
        """From now on the guest has nothing to spare."""
        self._workload(f"touch --mib {LOSS_HOT_MIB} --period-ms 0", "rounds", HOT_LOG)

    def _workload(self, arguments, said, log):
        self.guest.run(f"acma-workload {arguments} >{log} 2>&1 &")
        try:
            self._wait(lambda: said in self.guest.run(f"cat {log}"), f"acma-workload {arguments} does not say '{said}'")
        except RigError as error:
            raise RigError(f"{error}\nit says: {self.guest.run(f'cat {log}; uptime')}") from error

    def __exit__(self, *_):
        self.guest.close()
        if self._directory:
            workdir.remove(self._directory)

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
        """As the agent does it: where the kernel would zero what it hands out, whole memory blocks go offline and come back."""
        blocks = TAKE_MIB * MIB // BLOCK
        if self._loss:  # half of it is free, the other half has to be moved
            return self._blocks("take", f"{blocks // 2} free") + self._blocks("take", blocks // 2)
        whole = self._blocks("recycle", TAKE_MIB // 128) if self.setup.init_on_alloc else 0
        return whole + (self._blocks("take", blocks - whole // BLOCK) if whole < TAKE_MIB * MIB else 0)

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
        return self._balloon((self._ram_mib - TAKE_MIB) * MIB)

    def _give_stock(self):
        return self._balloon(self._ram_mib * MIB)

    _take_ours_target, _give_ours_target = _take_stock, _give_stock

    def _take_virtio_mem(self):
        return self._device.take(self.guest, TAKE_MIB * MIB)

    def _give_virtio_mem(self):
        return self._device.give(self.guest, TAKE_MIB * MIB)

    def _take_orchestration(self):
        """What came before is none of its cost, but one compaction, which it needs for what it takes."""
        self._device.compact(self.guest)
        return self._device.take(self.guest, TAKE_MIB * MIB)

    def _give_orchestration(self):
        return self._device.give(self.guest, TAKE_MIB * MIB)

    def _take_fpr(self):
        """It takes nothing: memory that was used is freed, and reported."""
        self.touch()
        self.guest.run("sleep 8", timeout=WAIT_S)
        return TAKE_MIB * MIB

    def touch(self):
        self.guest.run(f"acma-workload spike --mib {TAKE_MIB}", timeout=WAIT_S)

    def migrated(self):
        """Pages that were moved so far."""
        return int(self.guest.run("awk '/^pgmigrate_success /{print $2}' /proc/vmstat"))

    def copy_insns(self):
        """Of one page that is moved, its copy alone."""
        pages = 10_000
        return json.loads(self.guest.run(f"acma-workload copy --pages {pages}", timeout=WAIT_S))["copied_us"] * 1000 / pages

    def cpu(self):
        with open(f"/proc/{self.guest.pid}/stat", encoding="utf-8") as file:
            return cpu_seconds(file.read())


_RECLAIMS = {"free": (RECLAIM, RECLAIM_INIT), "used": (RECLAIM_USED,), "cold": (RECLAIM_COLD,), "fragmented": (RECLAIM_FRAGMENTED,)}


_RECLAIMS_WORDS = {"used": RECLAIM_USED_WORDS, "fragmented": RECLAIM_FRAGMENTED_WORDS}


def _reclaim(setup):
    if setup.words:
        return _RECLAIMS_WORDS[setup.content]
    return _RECLAIMS[setup.content][setup.init_on_alloc] if setup.reporting else RECLAIM_INFLATE


def _return(setup):
    if setup.content != "free":
        return RETURN_USED
    return RETURN_INIT if setup.init_on_alloc else RETURN


def _discards(setup):
    if not setup.reporting:
        return [DISCARDS_INFLATE]
    return [DISCARDS_WORST, DISCARDS_IDLE] if setup.content == "free" else [DISCARDS_WORST]


def _enough(moved):
    """Of less than half of what was asked for, a cost says nothing."""
    if moved < TAKE_MIB * MIB // 2:
        raise RigError(f"only {moved // MIB} of {TAKE_MIB} MiB could be taken")


def _take_and_give(setup, contestant, case, report):
    with Subject(setup, contestant) as subject:
        moved = 0

        def do(action):
            nonlocal moved
            moved = action()

        before, migrated = subject.discards(), subject.migrated()
        taking = subject.insns(lambda: do(subject.take))
        time.sleep(2)
        discards = subject.discards() - before
        detail = {"moved_bytes": moved, "discards": discards, "insns": taking, "migrated_pages": subject.migrated() - migrated}
        if detail["migrated_pages"] and not setup.words:
            detail["copy_insns_per_page"] = subject.copy_insns()
        _enough(moved)
        for metric in _discards(setup):
            report.add(metric, contestant, case, Value(per_gib(discards, moved), "", detail))
        if contestant == "fpr":
            return
        report.add(_reclaim(setup), contestant, case, Value(per_gib(taking, moved), "", detail))
        if not setup.reporting:
            return
        before = subject.discards()
        state = lambda: json.loads(subject.guest.run("acma-blocks state"))["descriptors"] if contestant == "ours" else 0
        sent = state()
        giving = subject.insns(lambda: do(subject.give))
        calls = state() - sent + subject.discards() - before
        report.add(_return(setup), contestant, case, Value(per_gib(giving, moved), "", {"moved_bytes": moved, "insns": giving, "host_calls": calls}))
        if contestant == "ours":
            report.add(SCALE_UP_CALLS, contestant, case, Value(calls))
        if setup.content != "free":
            return
        if not setup.init_on_alloc:
            report.add(SUM, contestant, case, Value(report.value(RECLAIM, contestant, case) + per_gib(giving, moved)))
        touching = subject.insns(subject.touch)
        touched = RETURN_TOUCH_INIT if setup.init_on_alloc else RETURN_TOUCH
        report.add(touched, contestant, case, Value(per_gib(giving, moved) + touching * 1024 / TAKE_MIB, "", {"touch_insns": touching}))


# --- by the clock


def _by_the_clock(setup, contestant, case, report):
    with Subject(setup, contestant) as subject:
        start, before = time.monotonic(), subject.cpu()
        time.sleep(3)
        idle = (subject.cpu() - before) / (time.monotonic() - start)
        rows = []
        for _ in range(CLOCK_ROUNDS):
            row = []
            for action in (subject.take, subject.give):
                start, before = time.monotonic(), subject.cpu()
                moved = action()
                took = time.monotonic() - start
                _enough(moved)
                row += [per_gib(took, moved), per_gib(max(0, subject.cpu() - before - idle * took), moved)]
                time.sleep(1)
            rows.append(row)
    take_s, take_cpu, give_s, give_cpu = (median(list(column)) for column in zip(*rows))
    detail = {"samples": {"columns": ["take_s", "take_cpu_s", "give_s", "give_cpu_s"], "rows": rows}, "idle_cores": idle}
    report.add(QEMU_CPU_RECLAIM, contestant, case, Value(take_cpu, "", detail))
    report.add(QEMU_CPU_RETURN, contestant, case, Value(give_cpu))
    # What stock took, who comes first.
    case[f"{contestant}_s"] = [take_s, give_s]
    if "stock_s" in case:
        for metric, mine, stock in zip((WALL_RECLAIM, WALL_RETURN), (take_s, give_s), case["stock_s"]):
            report.add(metric, contestant, case, Value(mine / stock))


# --- what a workload loses


def _loss(setup, contestant, case, report):
    with Subject(setup, contestant) as subject:
        guest = subject.guest
        subject.start_workload()
        now_us = lambda: int(float(guest.run("cut -d ' ' -f 1 /proc/uptime", timeout=WAIT_S)) * 1e6)
        guest.run(f"sleep {LOSS_BEFORE_S}", timeout=WAIT_S)
        migrated, start = subject.migrated(), now_us()
        taken = subject.take()
        moved = subject.migrated() - migrated
        given = subject.give()
        end = now_us()
        guest.run(f"sleep {LOSS_AFTER_S}", timeout=WAIT_S)
        lines = [json.loads(line) for line in guest.run(f"cat {HOT_LOG}").splitlines() if '"rounds"' in line]
    _enough(taken)
    start -= LOSS_BEFORE_S * 1_000_000
    lines = [line for line in lines if line["t_us"] >= start]
    start += LOSS_BEFORE_S * 1_000_000
    detail = {
        "taken_bytes": taken,
        "given_bytes": given,
        "migrated_bytes": moved * 4096,
        "took_us": end - start,
        "samples": {"columns": ["t_us", "rounds", "busy_us"], "rows": [[line["t_us"] - start, line["rounds"], line["busy_us"]] for line in lines]},
    }
    report.add(LOSS, contestant, case, Value(round(loss_pct(lines, start, end, LOSS_OF_S), 2), "", detail))


# --- guests in huge pages


def _hugetlb_options(setup, contestant, reporting):
    return nested.prepared(
        Options(
            kernel=setup.kernel,
            memory_mib=HUGETLB_RAM_MIB,
            cmdline="init_on_alloc=0 mitigations=off",
            balloon_driver="shim" if contestant == "ours" else "stock",
            balloon_properties=f"deflate-on-oom=on,free-page-reporting={'on' if reporting else 'off'}",
            add=_PROGRAMS,
        )
    )


def freed_pct(freed_pages, taken_bytes):
    """More than all of it is free page reporting's, not what was taken."""
    return min(100.0, 100 * freed_pages * BLOCK / taken_bytes)


def _hugetlb(setup, report, say):
    kinds = {contestant + ("" if reporting else "/inflate" if contestant == "ours" else ""): (contestant, reporting) for contestant, reporting in HUGETLB_CASES}
    directory = workdir.make("saved")
    try:
        saved = []
        for name, kind in kinds.items():
            say(f"{setup.name}: {name} boots")
            with Guest(_hugetlb_options(setup, *kind)) as guest:
                if kind[0] == "ours":
                    guest.run("acma-blocks attach 1000000 >/dev/null &")
                guest.run("sleep 4")
                saved.append(os.path.join(directory, str(len(saved))))
                guest.save(saved[-1])
        say(f"{setup.name}: the guest with huge pages")
        with nested.Outer(setup.kernel, HUGETLB_RAM_MIB // 2, HUGETLB_OUTER_MIB, saved) as outer:
            for number, (name, kind) in enumerate(kinds.items()):
                case = {**setup.case(), "case": f"{setup.name}/{'report' if kind[1] else 'inflate'}", "ram_mib": HUGETLB_RAM_MIB, "take_mib": HUGETLB_TAKE_MIB}
                case["reporting"] = kind[1]
                say(f"{case['case']}: {kind[0]}")
                try:
                    with nested.Inner(outer, number, _hugetlb_options(setup, *kind)) as inner:
                        report.add(HUGETLB, kind[0], case, _hugetlb_freed(inner, kind[0]))
                except RigError as error:
                    say(f"{case['case']}: {kind[0]} failed: {error}")
                    report.add(HUGETLB, kind[0], case, Value(None, str(error).splitlines()[0]))
    finally:
        workdir.remove(directory)


def _hugetlb_freed(inner, contestant):
    size = HUGETLB_TAKE_MIB * MIB
    before, present = inner.outer.free_huge_pages(), sum(inner.present())
    if contestant == "ours":
        taken = json.loads(inner.run(f"acma-blocks take {size // BLOCK}")).get("taken", 0) * BLOCK
        if taken == 0:
            raise RigError("nothing could be taken")
    elif contestant == "stock":
        target = HUGETLB_RAM_MIB * MIB - size
        inner.qmp("balloon", value=target)
        deadline = time.monotonic() + WAIT_S
        while (actual := inner.qmp("query-balloon")["actual"]) > target and time.monotonic() < deadline:
            pass
        taken = HUGETLB_RAM_MIB * MIB - actual
    else:
        taken = size
        inner.run(f"acma-workload spike --mib {HUGETLB_TAKE_MIB}; sleep 8")
    freed, gone = inner.outer.free_huge_pages() - before, present - sum(inner.present())
    return Value(freed_pct(min(freed, gone), taken), "", {"taken_bytes": taken, "free_before": before, "freed_pages": freed, "gone_pages": gone})


# --- all of it


def _metrics(setup):
    """Those that a contestant which failed leaves without a figure."""
    if setup.content == "loss":
        return [LOSS]
    if not setup.icount:
        return [QEMU_CPU_RECLAIM, QEMU_CPU_RETURN, WALL_RECLAIM, WALL_RETURN]
    return [*_discards(setup), _reclaim(setup)]


def run(given, _programs, report, say):
    for setup in setups(given.kernel):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        case = setup.case()
        if setup.content == "hugetlb":
            try:
                _hugetlb(setup, report, say)
            except (RigError, OSError) as error:
                say(f"{setup.name} failed: {error}")
                report.add(HUGETLB, "ours", case, Value(None, str(error).splitlines()[0]))
            continue
        measure = _loss if setup.content == "loss" else _take_and_give if setup.icount else _by_the_clock
        for contestant in setup.contestants:
            say(f"{setup.name}: {contestant}")
            try:
                measure(setup, contestant, case, report)
            except (RigError, OSError) as error:
                say(f"{setup.name}: {contestant} failed: {error}")
                for metric in _metrics(setup):
                    if not report.has(metric, contestant, case) and not (contestant == "fpr" and metric in (RECLAIM, RECLAIM_INIT)):
                        report.add(metric, contestant, case, Value(None, str(error).splitlines()[0]))
    report.hold_against(GOALS)
