# SPDX-License-Identifier: Apache-2.0
"""The machine that measures, and how busy others keep it: figures of time mean little without both."""

import os
import platform
import subprocess
import time

from tests.rig import qemu
from tests.rig.guest import Options

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
_TICKS = os.sysconf("SC_CLK_TCK")


def _output(*command):
    try:
        return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def accel(kernels, icount):
    """What the rig runs guests of these kernels with, "kvm and tcg" where they differ. Instructions are counted by TCG alone."""
    used = {"tcg" if icount else qemu.accelerator(Options().accel, kernel) for kernel in kernels}
    return " and ".join(sorted(used))


def describe(seed):
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "host_kernel": platform.release(),
        "qemu": _output("qemu-system-x86_64", "--version").split("\n")[0],
        "revision": (_output("git", "rev-parse", "--short=12", "HEAD") or "unknown") + (" and changes" if changed else ""),
        "load_at_start": os.getloadavg()[0],
        "seed": seed,
        "started_unix_s": int(time.time()),
    }


def _busy_s():
    """CPU seconds that all of the machine has spent since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def _process_s(directory):
    with open(os.path.join(directory, "stat"), encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Noise:
    """Cores that others kept busy since this was made; `pids` are the processes that belong to the measurement, as `proc` has them."""

    def __init__(self, pids, proc="/proc"):
        self._processes = ["/proc/self", *(os.path.join(proc, str(pid)) for pid in pids)]
        self._start = self._now()

    def _now(self):
        return time.monotonic(), _busy_s(), sum(_process_s(process) for process in self._processes)

    def cores(self):
        at, busy, ours = self._now()
        then, busy_then, ours_then = self._start
        return round(max(0.0, (busy - busy_then) - (ours - ours_then)) / max(at - then, 0.001), 2)
