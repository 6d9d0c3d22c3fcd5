# SPDX-License-Identifier: Apache-2.0
"""The bench `controller`: the real acma-controller on libvirt's test driver and simulated agents. No guest is booted."""

import dataclasses
import os
import statistics
import subprocess
import time

from tests.rig.errors import RigError

from . import controller_host as host
from .machine import Noise
from .report import Metric, Value

GUESTS = False
PARTS = []

KIB = 1 << 10
ONLY_1000 = "of 1,000 VMs"
CORE = Metric("core_pct_1000_vms", "%", "lower", 2, 2, ONLY_1000)
BASE = Metric("base_rss_anon_bytes", "B", "lower", 10 << 20, 0)
EACH = Metric("rss_anon_per_vm_bytes", "B", "lower", 32 * KIB, 0, "with full histories; the test driver's own domains are in it")
SHARED = Metric("rss_shared_bytes", "B", "lower", None, 0, "libraries, which other programs use too")
CYCLE = Metric("cycle_p99_ms", "ms", "lower", 100, 2, "of one VM, the agent's time included")
PASS = Metric("pass_p99_ms", "ms", "lower", 100, 2, "over all VMs, once a second")
LINEAR = Metric("cpu_per_vm_1000_over_10", "x", "lower", 1, 2, "CPU of one VM's cycle; the idle controller's taken off")
POLICY = Metric("policy_latency_ms", "ms", "lower", 200, 2, "from acmactl's request until the agent has it; the longest")
NOISY = Metric("noisy_neighbour_p99_pct", "%", "lower", 10, 1, "change of the other VMs' cycle_p99, the median of rounds")
METRICS = [CORE, BASE, EACH, SHARED, CYCLE, PASS, LINEAR, POLICY, NOISY]

COUNTS = [10, 100, 1000]
SETTLE_S = 8
MEASURE_S = 30
NOISE_S = 10
NOISE_ROUNDS = 3
FILL_ROUNDS = 50  # a decision and its answer each; histories keep 48 and 16 of them
POLICIES = 20


@dataclasses.dataclass
class Setup:
    name: str
    count: int
    processes: bool = False


def setups(_):
    return [*(Setup(f"vms-{count}", count) for count in COUNTS), Setup("processes-1000", 1000, True), Setup("noisy-1000", 1000)]


def histogram(metrics, name):
    """[(bound in s, count up to it)] of a Prometheus histogram."""
    rows = [(float(labels.split('"')[1]), value) for (found, labels), value in metrics.items() if found == name + "_bucket"]
    return sorted(rows)


def quantile(before, after, share):
    """Of what a histogram counted between two looks, in seconds; interpolated inside the bucket."""
    counts = [(bound, now - then) for (bound, then), (_, now) in zip(before, after)]
    wanted = share * counts[-1][1]
    if wanted <= 0:
        return None
    low, below = 0.0, 0
    for bound, up_to in counts:
        if up_to >= wanted:
            return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (up_to - below)
        low, below = bound, up_to
    return None


def intervals_p99_ms(asked, start, end, leave_out=()):
    """From outside: of the time between two questions to the same agent."""
    last, found = {}, []
    for at, vm, what, _ in asked:
        if what == "s" and start <= at <= end and vm not in leave_out:
            if vm in last:
                found.append((at - last[vm]) * 1e3)
            last[vm] = at
    return round(statistics.quantiles(found, n=100)[98], 2) if len(found) > 100 else None


class Window:
    """What happened between its making and end()."""

    def __init__(self, simulated):
        self._host = simulated
        self._before = simulated.metrics()
        self._noise = Noise([simulated.controller.pid, simulated.agents.pid])
        self._cpu = host.cpu_s(simulated.controller.pid)
        self.start = time.monotonic()

    def end(self, leave_out=()):
        self.seconds = time.monotonic() - self.start
        self.cpu_s = host.cpu_s(self._host.controller.pid) - self._cpu
        self.noise_cores = self._noise.cores()
        after = self._host.metrics()
        self.p99_ms = {}
        for name in ("cycle", "pass"):
            full = f"acma_controller_{name}_seconds"
            found = quantile(histogram(self._before, full), histogram(after, full), 0.99)
            self.p99_ms[name] = None if found is None else found * 1e3
        count = ("acma_controller_cycle_seconds_count", "")
        self.decisions_per_s = (after[count] - self._before[count]) / self.seconds
        self.interval_p99_ms = intervals_p99_ms(self._host.asked(), self.start, self.start + self.seconds, leave_out)
        return self

    def detail(self):
        return {
            "decisions_per_s": round(self.decisions_per_s, 1),
            "interval_p99_ms": self.interval_p99_ms,
            "others_cores": self.noise_cores,
        }


def measure(simulated, seconds):
    window = Window(simulated)
    time.sleep(seconds)
    return window.end()


def policy_latencies_ms(simulated):
    sent = {}
    for i in range(POLICIES):
        vm, max_mem = i * simulated.count // POLICIES, host.RAM - (i + 1) * host.MIB
        sent[vm, max_mem] = time.monotonic()
        simulated.set_policy(vm, max_mem_bytes=max_mem)
        time.sleep(0.1)
    came = {(vm, max_mem): at for at, vm, what, max_mem in reversed(simulated.asked()) if what == "p"}
    if any(key not in came for key in sent):
        raise RigError("a policy did not reach its agent")
    return [round((came[key] - at) * 1e3, 2) for key, at in sent.items()]


def fill_histories(simulated):
    """Each change is explained by a few entries."""
    for turn in range(FILL_ROUNDS):
        for vm in range(simulated.count):
            simulated.set_policy(vm, max_mem_bytes=host.RAM - (20 + 40 * (turn % 2)) * host.MIB)


def run_scale(setup, report, memory, cpu):
    case = {"case": setup.name, "vms": setup.count}
    with host.SimulatedHost(setup.count, processes=setup.processes) as simulated:
        time.sleep(SETTLE_S)
        window = measure(simulated, MEASURE_S)
        core_pct = 100 * window.cpu_s / window.seconds
        cpu[setup.name] = core_pct
        case |= window.detail()
        if setup.count == 1000:
            report.add(CORE, "ours", case, Value(core_pct))
        for metric, name in ((CYCLE, "cycle"), (PASS, "pass")):
            report.add(metric, "ours", case, Value(window.p99_ms[name], "" if window.p99_ms[name] is not None else "nothing counted"))
        if setup.processes:
            return
        latencies = policy_latencies_ms(simulated)
        report.add(POLICY, "ours", case, Value(max(latencies), detail={"samples": latencies}))
        fill_histories(simulated)
        time.sleep(SETTLE_S)
        found = host.memory(simulated.controller.pid)
        memory[setup.count] = found["Anonymous"]
        shared = sum(found[name] for name in ("Shared_Clean", "Private_Clean"))
        report.add(SHARED, "ours", case, Value(shared))
        if setup.count == 10:
            report.add(BASE, "ours", case, Value(found["Anonymous"]))
        elif 10 in memory:
            report.add(EACH, "ours", case, Value((found["Anonymous"] - memory[10]) / (setup.count - 10)))


def add_linear(report, cpu):
    """With what the idle controller needs taken off by the figures of 10 and 100 VMs."""
    if all(f"vms-{count}" in cpu for count in COUNTS):
        each = (cpu["vms-100"] - cpu["vms-10"]) / 90
        idle = cpu["vms-10"] - 10 * each
        case = {"case": "vms-10-to-1000", "core_pct": {name: round(value, 3) for name, value in cpu.items()}}
        if each > 0:
            report.add(LINEAR, "ours", case, Value((cpu["vms-1000"] - idle) / 1000 / each))
        else:
            report.add(LINEAR, "ours", case, Value(None, "10 and 100 VMs cost the same"))


def run_noise(setup, report, say):
    with host.SimulatedHost(setup.count) as simulated:
        time.sleep(SETTLE_S)
        for manners in ("silent", "flooding"):
            changes, samples = [], []
            for _ in range(NOISE_ROUNDS):
                quiet = measure(simulated, NOISE_S)
                simulated.behave(manners)
                noisy = Window(simulated)
                time.sleep(NOISE_S)
                noisy.end(leave_out={0})
                simulated.behave("honest")
                samples.append([quiet.p99_ms["cycle"], noisy.p99_ms["cycle"], quiet.interval_p99_ms, noisy.interval_p99_ms])
                changes.append(100 * (noisy.p99_ms["cycle"] / quiet.p99_ms["cycle"] - 1))
                say(f"{setup.name}/{manners}: p99 {samples[-1][0]:.2f} ms, then {samples[-1][1]:.2f} ms")
            case = {"case": f"{setup.name}/{manners}", "quiet_noisy_quietinterval_noisyinterval_ms": samples}
            report.add(NOISY, "ours", case, Value(statistics.median(changes)))


def run(given, _programs, report, say):
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        raise RigError("the bench controller needs root and mount namespaces: the host's memory is made up in one")
    memory, cpu = {}, {}
    for setup in setups(None):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        say(setup.name)
        if setup.name.startswith("noisy"):
            run_noise(setup, report, say)
        else:
            run_scale(setup, report, memory, cpu)
    add_linear(report, cpu)
