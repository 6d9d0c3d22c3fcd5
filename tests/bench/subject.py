# SPDX-License-Identifier: Apache-2.0
"""A guest under measurement: the workload, the sampler, and what steers its memory (our agent, a kernel tuner, nothing)."""

import dataclasses
import os
import re
import shutil
import subprocess
import threading
import time

from tests.rig import workdir
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.qemu import Guest

from . import needed
from .machine import TOP, Noise
from .series import Sample
from .streams import Stream

MIB = 1 << 20
BUILD = os.environ.get("ACMA_BUILD", os.path.join(TOP, "build"))

# lz4 packs such a page to about half: what zram is used for. Swap on a disk does not care.
ZERO_PERCENT = 60
PSI_TARGET = 0.001

# What the agent writes into its trigger for that target (autoscale::trigger_for).
TRIGGER = "--trigger-us 50000 --window-us 500000"

_SAMPLES = "org.acma.bench.samples"
_WORKLOAD = "org.acma.bench.workload"
_COUNTERS = "nr_free_pages pswpin pswpout workingset_refault_anon workingset_refault_file oom_kill"
_AGENT_TOML = '[policy]\nstandalone = true\npsi = "0.1%"\n'
_KDAMONDS = "/sys/kernel/mm/damon/admin/kdamonds"

SETTLE_MOST_S = 600  # of the host; a guest that counts instructions is slow


class Programs:
    """Our programs without debug information: an initramfs is guest memory."""

    _PATHS = {
        "acma-agent": "guest-agent/acma-agent",
        "acma-deadman": "guest-agent/acma-deadman",
        "acma-workload": "tests/workload/acma-workload",
        "acma-sampler": "tests/bench/acma-sampler",
        "acma-press": "tests/bench/acma-press",
    }

    def __init__(self):
        self.directory = workdir.make("bench")
        for name, path in self._PATHS.items():
            source = os.path.join(BUILD, path)
            if not os.path.exists(source):
                raise RigError(f"{source} is missing: build first (scripts/bench does)")
            subprocess.run(["strip", "-o", os.path.join(self.directory, name), source], check=True)

    def added(self):
        paths = [os.path.join(self.directory, name) for name in self._PATHS if name != "acma-deadman"]
        return [*paths, os.path.join(self.directory, "acma-deadman") + ":/usr/libexec/acma-deadman"]


@dataclasses.dataclass(frozen=True)
class Setup:
    kernel: str
    swap: str  # "disk", "rotating" or "zram" (tests/rig/guest.py)
    ram_mib: int = 2048
    filled_mib: int = 1200
    hot_mib: int = 200
    icount: bool = False  # guest time counts instructions, on one vCPU

    @property
    def name(self):
        return f"{self.kernel}/{self.swap}" + (f"/icount/{self.ram_mib}" if self.icount else "")

    @property
    def vcpus(self):
        return 1 if self.icount else 2

    def case(self):
        return {"case": self.name, **dataclasses.asdict(self), "vcpus": self.vcpus}

    def options(self, programs, **changes):
        return dataclasses.replace(
            Options(
                kernel=self.kernel,
                memory_mib=self.ram_mib,
                smp=self.vcpus,
                icount=self.icount,
                boot_timeout_s=300 if self.icount else Options.boot_timeout_s,
                swap=f"{self.swap}:{self.ram_mib}",
                add=programs.added(),
                channels=[_SAMPLES, _WORKLOAD],
                files={"/etc/acma/agent.toml": _AGENT_TOML},
                # Loaded modules need their files no more.
                boot="rm -rf /lib/modules; mount -t tracefs tracefs /sys/kernel/tracing",
            ),
            **changes,
        )


@dataclasses.dataclass(frozen=True)
class Tuner:
    """A page-out scheme of the kernel's own, through sysfs, with the monitoring that suits the same minimum age as ours."""

    name: str
    psi_goal_us: int = 0  # per second; 0: no goal and no quota at all
    tuner: str = ""

    min_age_s = 1  # where they ramp best; ours has 1.5 (autoscale::k_quick_min_age)


UNLIMITED = Tuner("unlimited")
KERNEL_TUNER = Tuner("kernel_tuner", psi_goal_us=1000)
KERNEL_TUNER_TEMPORAL = Tuner("kernel_tuner_temporal", psi_goal_us=1000, tuner="temporal")


def system_ram(iomem):
    """[(start, end)] of /proc/iomem's "System RAM", end exclusive."""
    return [
        (int(start, 16), int(end, 16) + 1)
        for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$", iomem, re.MULTILINE)
    ]


def tuner_script(tuner, ranges):
    """Shell commands that set the scheme up and print the guest's uptime right before switching it on."""
    lines = [
        "set -e",
        "damon_stat=/sys/module/damon_stat/parameters/enabled; [ ! -e $damon_stat ] || echo N >$damon_stat",
        f"cd {_KDAMONDS}; echo 1 >nr_kdamonds; echo 1 >0/contexts/nr_contexts; cd 0/contexts/0; echo paddr >operations",
        "echo 5000 >monitoring_attrs/intervals/sample_us; echo 100000 >monitoring_attrs/intervals/aggr_us",
        "echo 10 >monitoring_attrs/nr_regions/min; echo 1000 >monitoring_attrs/nr_regions/max",
        f"echo 1 >targets/nr_targets; echo {len(ranges)} >targets/0/regions/nr_regions",
    ]
    for number, (start, end) in enumerate(ranges):
        lines.append(f"echo {start} >targets/0/regions/{number}/start; echo {end} >targets/0/regions/{number}/end")
    lines += [
        "echo 1 >schemes/nr_schemes; cd schemes/0; echo pageout >action",
        "echo 18446744073709551615 >access_pattern/sz/max; echo 4294967295 >access_pattern/age/max",
        f"echo {tuner.min_age_s * 10} >access_pattern/age/min",
        # Free memory is cold too; charged in full it would use up the quota (7.3 can charge it less).
        "[ ! -e quotas/fail_charge_num ] || { echo 1 >quotas/fail_charge_num; echo 1024 >quotas/fail_charge_denom; }",
    ]
    if tuner.psi_goal_us:
        lines += [
            "echo 1000 >quotas/reset_interval_ms; echo 1 >quotas/goals/nr_goals",
            "echo some_mem_psi_us >quotas/goals/0/target_metric",
            f"echo {tuner.psi_goal_us} >quotas/goals/0/target_value",
        ]
    if tuner.tuner:
        lines.append(f"echo {tuner.tuner} >quotas/goal_tuner")
    return "\n".join([*lines, "cut -d ' ' -f 1 /proc/uptime", f"echo on >{_KDAMONDS}/0/state"])


class Subject:
    """A booted guest whose workload has filled its memory and whose host bytes are watched."""

    def __init__(self, setup, programs, name, keep=None, sampled=True, **changes):
        self.setup = setup
        self.name = name
        self.start_us = None  # guest time at which what steers memory was started
        self.start_host_s = None
        self._host = []  # [(host time, host bytes)]
        self._keep = os.path.join(keep, f"{setup.name.replace('/', '-')}-{name}") if keep else None
        self._files = []
        self._done = threading.Event()
        self._gone = False
        self._watcher = None
        self.guest = Guest(setup.options(programs, **changes))
        try:
            self._begin(sampled)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._done.set()
        if self._watcher:
            self._watcher.join()
        try:
            if self._keep:
                self._save_logs()
        except (RigError, OSError):
            pass  # a guest that is gone has said what it had to say on its console
        finally:
            self.guest.close()
            for file in self._files:
                file.close()

    # --- what it shows

    def samples(self):
        return [Sample.of(line) for line in self._samples.lines() if "psi_some_us" in line]

    def triggers(self):
        return [line["t_us"] for line in self._samples.lines() if "trigger" in line]

    def workload_seconds(self):
        return [line for line in self._workload.lines() if "rounds" in line]

    def host_bytes(self):
        """[(host seconds, host bytes)]"""
        return list(self._host)

    def now_us(self):
        last = self._samples.last()
        return last["t_us"] if last and "t_us" in last else 0

    def seconds_since_start(self):
        return (self.now_us() - self.start_us) / 1e6

    # --- what steers it

    def start_agent(self):
        self._started(self.guest.run("cut -d ' ' -f 1 /proc/uptime; acma-agent run --verbose >>/tmp/agent.log 2>&1 &"))

    def settle(self):
        """The agent is started, and has settled. Without samples and --verbose: as when nobody looks."""
        self.guest.run("acma-agent run >/tmp/agent.log 2>&1 &")
        deadline = time.monotonic() + SETTLE_MOST_S
        while (state := self.agent_state()) != "settled":
            if time.monotonic() > deadline:
                raise RigError(f"the agent is {state} instead of settled after {SETTLE_MOST_S} s of the host")
            time.sleep(1)

    def agent_state(self):
        text = self.guest.run("acma-agent status --json", timeout=300, check=False).output
        match = re.search(r'"state"\s*:\s*"(\w+)"', text)
        return match[1] if match else text.strip()

    def start_tuner(self, tuner):
        ranges = system_ram(self.guest.run("cat /proc/iomem"))
        self._started(self.guest.run(tuner_script(tuner, ranges)))

    def _started(self, output):
        self.start_us = int(float(output.split()[0]) * 1e6)
        # The moment on the host's clock, by the samples, which come with both times.
        line = next(line for line in reversed(self._samples.lines()) if "psi_some_us" in line)
        self.start_host_s = line["host_s"] + (self.start_us - line["t_us"]) / 1e6

    def pause(self):
        """The guest's time stands still too."""
        self.guest.qmp.command("stop")

    def resume(self):
        self.guest.qmp.command("cont")

    def begin_again(self):
        """Without the agent, and with memory that is filled anew."""
        self.guest.run(
            "for name in acma-agent acma-workload; do pid=$(pidof $name) || continue; kill $pid\n"
            "while [ -e /proc/$pid ]; do sleep 0.1; done; done",
            timeout=120,
        )
        self._fill()

    # --- what it needs

    def account(self):
        text = self.guest.run(
            "cat /proc/meminfo; echo ==; cat /proc/zoneinfo; echo ==; cat /sys/block/zram0/mm_stat 2>/dev/null; echo ==\n"
            "for name in acma-agent acma-deadman acma-sampler acma-workload; do for pid in $(pidof $name); do\n"
            "echo $name $(grep VmRSS /proc/$pid/status); done; done"
        )
        meminfo, zoneinfo, zram, processes = text.split("==\n")
        rss = {}
        for name, kib in re.findall(r"^(\S+) VmRSS: (\d+) kB$", processes, re.MULTILINE):
            rss[name] = rss.get(name, 0) + int(kib) * 1024
        result = needed.account(
            self.setup.ram_mib * MIB,
            self.setup.hot_mib * MIB,
            rss.get("acma-agent", 0) + rss.get("acma-deadman", 0),
            int(zram.split()[2]) if zram.strip() else 0,  # mem_used_total
            meminfo,
            zoneinfo,
        )
        result["rss"] = rss
        return result

    # --- inside

    def _open_record(self, name):
        if self._keep is None:
            return None
        os.makedirs(self._keep, exist_ok=True)
        self._files.append(open(os.path.join(self._keep, name), "w", encoding="utf-8"))
        return self._files[-1]

    def _begin(self, sampled):
        self._samples = Stream(self.guest.socket(_SAMPLES), self._open_record("samples.jsonl"))
        self._workload = Stream(self.guest.socket(_WORKLOAD), self._open_record("workload.jsonl"))
        if sampled:
            self.guest.run(
                f"acma-sampler {TRIGGER} {_COUNTERS} >/dev/virtio-ports/{_SAMPLES} &"
            )
        self._fill()
        self.noise = Noise([self.guest.pid])
        self._watcher = threading.Thread(target=self._watch_host_bytes, daemon=True)
        self._watcher.start()

    def _fill(self):
        before = len(self.workload_seconds())
        self.guest.run(
            f"acma-workload touch --mib {self.setup.filled_mib} --hot-mib {self.setup.hot_mib} --zero-percent {ZERO_PERCENT}"
            f" >/dev/virtio-ports/{_WORKLOAD} &"
        )
        self.wait(lambda: len(self.workload_seconds()) >= before + 3, 300, "the workload did not fill its memory")

    def wait(self, condition, timeout_s, what):
        if not self.wait_at_most(condition, timeout_s):
            raise RigError(f"{self.setup.name} {self.name}: {what} within {timeout_s} s\n{self.guest.console_tail()}")

    def wait_at_most(self, condition, timeout_s):
        """Whether `condition` came true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._gone:
                raise RigError(f"{self.setup.name} {self.name}: the guest is gone\n{self.guest.console_tail()}")
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _watch_host_bytes(self):
        file = self._open_record("host.csv")
        while not self._done.wait(0.5):
            try:
                self._host.append((time.monotonic(), self.guest.host_bytes()))
            except (OSError, RigError):
                self._gone = True
                return
            if file:
                print(*self._host[-1], sep=",", file=file)

    def _save_logs(self):
        os.makedirs(self._keep, exist_ok=True)
        with open(os.path.join(self._keep, "console.log"), "w", encoding="utf-8") as file:
            file.write(self.guest.console())
        shutil.copy(os.path.join(self.guest.directory, "qemu.log"), self._keep)
        self.resume()  # it may be paused
        with open(os.path.join(self._keep, "agent.log"), "w", encoding="utf-8") as file:
            file.write(self.guest.run("cat /tmp/agent.log 2>/dev/null || true"))
