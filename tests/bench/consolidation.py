# SPDX-License-Identifier: Apache-2.0
"""The bench `consolidation`: memory that lies free in small pieces everywhere. How much of it becomes free in one piece, and is given to the host?"""

import dataclasses
import itertools
import json
import os
import subprocess
import time

from tests.rig import workdir
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.qemu import Guest

from .orchestration import Orchestration
from .report import Metric, Value
from .subject import BUILD

MIB = 1 << 20
PAGE = 4096
BLOCK = 2 * MIB

FREE_BLOCKS = Metric("free_memory_blocks", "1", "higher", None, 0, "of 128 MiB, wholly free or taken; goal: twice fpr_compaction's")
LEFT_BEHIND = Metric("left_behind_bytes", "B", "lower", None, 0, "host bytes of the guest's RAM less what the guest uses; goal: a quarter of fpr's")
METRICS = [FREE_BLOCKS, LEFT_BEHIND]
PARTS = []
ICOUNT = False

RAM_MIB = 4096
FILL_MIB = 3200  # anonymous memory and page cache, half each, side by side
TOUCH_MS = 1000  # all that is left of it, so that it is in use: nobody wins by throwing it out
CONTESTANTS = ["ours", "fpr", "fpr_compaction", "orchestration"]
# What boots; the rest of the RAM is plugged in, and unplugged where that is the means.
BOOT_MIB = 1024
KEPT_FREE_MIB = 160  # as much as ours leaves
COMPACT_EVERY_S = 5

# A contestant is given the time in which it still gets somewhere.
SETTLED_S = 25
LONGEST_S = 240
NOTHING_BYTES = 16 * MIB

_AGENT_TOML = '[policy]\nstandalone = true\npsi = "0.1%"\n'


@dataclasses.dataclass(frozen=True)
class Setup:
    kernel: str

    @property
    def name(self):
        return self.kernel

    def case(self):
        return {"case": self.name, **dataclasses.asdict(self), "ram_mib": RAM_MIB, "filled_mib": FILL_MIB}


def setups(kernels):
    return [Setup(kernel) for kernel in kernels]


@dataclasses.dataclass(frozen=True)
class Memory:
    """What acma-pages and the host say at one moment."""

    blocks: tuple  # (present, free, offline) pages of each memory block
    host_bytes: int

    @property
    def used_bytes(self):
        return PAGE * sum(present - free - offline for present, free, offline in self.blocks)

    @property
    def left_behind_bytes(self):
        return self.host_bytes - self.used_bytes


def free_blocks(before, now):
    """Memory blocks that were memory before, and of which nothing is used now: free, taken, or unplugged."""
    pairs = itertools.zip_longest(before.blocks, now.blocks, fillvalue=(0, 0, 0))  # unplugged memory may be beyond the end
    return sum(then[0] > 0 and present == free + offline for then, (present, free, offline) in pairs)


class Subject:
    """A guest whose memory is punched, with one contestant in it."""

    def __init__(self, setup, contestant, programs, directory):
        image = os.path.join(directory, "data.img")
        with open(image, "wb") as file:
            file.truncate((FILL_MIB // 2 + 256) * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self.setup = setup
        self.contestant = contestant
        self._options = Options(
            kernel=setup.kernel,
            memory_mib=RAM_MIB,
            smp=2,
            balloon_properties="deflate-on-oom=on,free-page-reporting=on",
            balloon_driver="shim" if contestant == "ours" else "stock",
            modules=["virtio_blk"],
            files={"/etc/acma/agent.toml": _AGENT_TOML},
            boot="rm -rf /lib/modules",
            add=[*programs.added(), *(os.path.join(BUILD, path) for path in ("tests/bench/acma-pages", "tests/workload/acma-blocks"))],
            qemu_args=["-drive", f"file={image},format=raw,if=none,id=data,cache=unsafe", "-device", "virtio-blk-pci,drive=data"],
        )

        self._orchestration = Orchestration(RAM_MIB, RAM_MIB - BOOT_MIB, every_s=COMPACT_EVERY_S)
        if contestant == "orchestration":
            self._orchestration.apply(self._options)

    def __enter__(self):
        self.guest = Guest(self._options)
        if self.contestant == "orchestration":
            self._orchestration.wait_plugged(self.guest)
        self.guest.run("mkdir -p /data; mount -t ext4 /dev/vda /data")
        self.guest.run(f"acma-workload holes --mib {FILL_MIB} --period-ms {TOUCH_MS} /data/file >/tmp/w.log 2>&1 &")
        deadline = time.monotonic() + LONGEST_S
        while "holes" not in (log := self.guest.run("cat /tmp/w.log")):
            if log or time.monotonic() > deadline:
                raise RigError(f"the workload did not fill its memory: {log}\n{self.guest.console_tail()}")
            time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.guest.close()

    def memory(self):
        blocks = json.loads(self.guest.run("acma-pages"))["memory_blocks"]
        return Memory(tuple(tuple(block) for block in blocks), self.guest.host_bytes())

    def start(self):
        getattr(self, "_start_" + self.contestant)()

    def _start_ours(self):
        self.guest.run("acma-agent run >/tmp/agent.log 2>&1 &")

    def _start_fpr(self):
        """Reports what is free, by itself."""

    def _start_fpr_compaction(self):
        self.guest.run(
            "echo 100 >/proc/sys/vm/compaction_proactiveness\n"
            f"while :; do echo 1 >/proc/sys/vm/compact_memory; sleep {COMPACT_EVERY_S}; done >/dev/null 2>&1 &"
        )

    def _start_orchestration(self):
        self._orchestration.start(self.guest)

    def settle(self):
        """Until nothing gets better any more: the seconds it took."""
        took_s = self._settle()
        if self.contestant == "orchestration":
            free = int(self.guest.run("awk '/^MemFree:/{print $2}' /proc/meminfo")) * 1024
            self._orchestration.take(self.guest, max(0, free - KEPT_FREE_MIB * MIB) // BLOCK * BLOCK)
            took_s += self._settle()
        return took_s

    def _settle(self):
        start = since = time.monotonic()
        least = self.guest.host_bytes()
        while (now := time.monotonic()) - since < SETTLED_S and now - start < LONGEST_S:
            time.sleep(1)
            if (host := self.guest.host_bytes()) < least - NOTHING_BYTES:
                least, since = host, time.monotonic()
        return round(since - start, 1)

    def notes(self):
        """What the contestant says of itself."""
        if self.contestant != "ours":
            return {}
        return {"shim": json.loads(self.guest.run("acma-blocks state")), "agent": json.loads(self.guest.run("acma-agent status --json"))}


def _measure(setup, contestant, case, programs, report, say):
    directory = workdir.make("disk")
    try:
        with Subject(setup, contestant, programs, directory) as subject:
            before = subject.memory()
            subject.start()
            took_s = subject.settle()
            after = subject.memory()
            found = {
                "settled_s": took_s,
                "host_bytes": after.host_bytes,
                "used_bytes": after.used_bytes,
                "host_bytes_before": before.host_bytes,
                "used_bytes_before": before.used_bytes,
                "memory_blocks": sum(block[0] > 0 for block in before.blocks),
                "oom_kills": int(subject.guest.run("awk '/^oom_kill /{print $2}' /proc/vmstat")),
                **subject.notes(),
            }
    finally:
        workdir.remove(directory)
    free = free_blocks(before, after)
    report.add(FREE_BLOCKS, contestant, case, Value(free, "", found))
    report.add(LEFT_BEHIND, contestant, case, Value(after.left_behind_bytes))
    say(
        f"{setup.name}: {contestant}: {free} of {found['memory_blocks']} memory blocks, {after.left_behind_bytes // MIB} MiB left behind of "
        f"{before.left_behind_bytes // MIB} MiB, after {took_s} s"
    )


# What a metric is held against: that peer of the same run.
GOALS = {FREE_BLOCKS: ("fpr_compaction", 2), LEFT_BEHIND: ("fpr", 1 / 4)}


def run(given, programs, report, say):
    for setup in setups(given.kernel):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        case = setup.case()
        for contestant in CONTESTANTS:
            say(f"{setup.name}: {contestant}")
            try:
                _measure(setup, contestant, case, programs, report, say)
            except (RigError, OSError) as error:
                say(f"{setup.name}: {contestant} failed: {error}")
                for metric in METRICS:
                    report.add(metric, contestant, case, Value(None, str(error).splitlines()[0]))
    report.hold_against(GOALS)
