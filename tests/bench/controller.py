# SPDX-License-Identifier: Apache-2.0
"""The bench `controller`: the real acma-controller on libvirt's test driver and simulated agents, and on a few real guests."""

import dataclasses
import os
import shutil
import statistics
import subprocess
import time

from tests.rig import workdir
from tests.rig.errors import RigError

from . import controller_guests, controller_noise, instructions
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
DRIVER = Metric("test_driver_rss_anon_per_vm_bytes", "B", "lower", None, 0, "what virsh needs for the same domains: a part of the row above")
LINEAR = Metric("instructions_per_vm_1000_over_10", "x", "lower", 1, 2, "what a further VM takes in a second: 100 to 1,000 over 10 to 100")
POLICY = Metric("policy_latency_ms", "ms", "lower", 200, 2, "from acmactl's request until the agent has it; the longest")
NOISY = Metric("noisy_neighbour_p99_pct", "%", "lower", 10, 1, "change of the other VMs' cycle_p99, the median of pairs of rounds")
EACH_CPU = Metric("controller_us_per_vm_s", "us", "lower", None, 0, "CPU of the controller for a VM in a second")
LIBVIRTD = Metric("libvirtd_us_per_vm_s", "us", "lower", None, 0, "CPU that the controller causes in libvirtd; the test driver has none")
METRICS = [CORE, BASE, EACH, DRIVER, SHARED, CYCLE, PASS, LINEAR, POLICY, NOISY, EACH_CPU, LIBVIRTD]

COUNTS = [10, 100, 1000]
SETTLE_S = 8
MEASURE_S = 30
COUNT_S = 20  # of instructions
FILL_ROUNDS = 50  # a decision and its answer each; histories keep 48 and 16 of them
POLICIES = 20


@dataclasses.dataclass
class Setup:
    name: str
    count: int
    processes: bool = False


def setups(_):
    return [
        *(Setup(f"vms-{count}", count) for count in COUNTS),
        Setup("processes-1000", 1000, True),
        *(Setup(f"instructions-{count}", count) for count in COUNTS),
        Setup("noisy-1000", 1000),
        Setup(f"guests-{controller_guests.GUESTS}", controller_guests.GUESTS),
    ]


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


def intervals_p99_ms(asked, start, end):
    """From outside: of the time between two questions to the same agent."""
    last, found = {}, []
    for at, vm, what, _ in asked:
        if what == "s" and start <= at <= end:
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

    def end(self):
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
        self.interval_p99_ms = intervals_p99_ms(self._host.asked(), self.start, self.start + self.seconds)
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


def run_scale(setup, report, memory):
    case = {"case": setup.name, "vms": setup.count}
    with host.SimulatedHost(setup.count, processes=setup.processes) as simulated:
        time.sleep(SETTLE_S)
        window = measure(simulated, MEASURE_S)
        core_pct = 100 * window.cpu_s / window.seconds
        case |= window.detail()
        if setup.count == 1000:
            report.add(CORE, "ours", case, Value(core_pct))
            report.add(EACH_CPU, "ours", case, Value(1e6 * window.cpu_s / window.seconds / setup.count))
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
            each = (found["Anonymous"] - memory[10]) / (setup.count - 10)
            report.add(EACH, "ours", case, Value(each))
            if setup.count == 1000:
                report.add(DRIVER, "ours", case, test_driver_each(setup.count))


def test_driver_each(count):
    """Of a client that holds the test driver's domains and nothing else."""
    if not shutil.which("virsh"):
        return Value(None, "virsh is not installed")
    found = {}
    directory = workdir.make("driver")
    try:
        for vms in (10, count):
            path = os.path.join(directory, f"{vms}.xml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(host.node_xml(directory, vms))
            with subprocess.Popen(
                ["virsh", "-q", "-c", f"test://{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as client:
                client.stdin.write("list --name\n")
                client.stdin.flush()
                while client.stdout.readline().strip() != f"vm{vms - 1}":
                    if client.poll() is not None:
                        raise RigError("virsh does not take the test driver's node")
                found[vms] = host.memory(client.pid)["Anonymous"]
                client.stdin.close()
    finally:
        workdir.remove(directory)
    return Value((found[count] - found[10]) / (count - 10))


def count_instructions(setup, counted):
    """{VMs: instructions of the whole controller for a second}, put together of what is done once a second and what each decision takes:
    under valgrind fewer are made, where it is too slow."""
    with host.SimulatedHost(setup.count, wrapper=instructions.wrapper) as simulated:
        time.sleep(SETTLE_S)
        start = time.monotonic()
        instructions.start(simulated.controller.pid)
        time.sleep(COUNT_S)
        end = time.monotonic()
        total, passes = instructions.stop(simulated.controller.pid, simulated.directory, "acma::host::Controller::beat()")
        asked = sum(what == "s" and start <= at <= end for at, _, what, _ in simulated.asked())
    if not passes or not asked:
        raise RigError(f"{asked} questions and {passes} instructions in passes were counted")
    decisions = asked / setup.count / (end - start)
    counted[setup.count] = {
        "instructions_per_s": round((total - passes) / (end - start) / decisions + passes / (end - start)),
        "of_that_passes": round(passes / (end - start)),
        "decisions_per_vm_s": round(decisions, 2),
    }


def add_linear(report, counted):
    if all(count in counted for count in COUNTS):
        few, some, many = (counted[count]["instructions_per_s"] for count in COUNTS)
        case = {"case": "10-to-1000", "counted": counted}
        report.add(LINEAR, "ours", case, Value((many - some) / 900 / ((some - few) / 90)))


def run_noise(setup, given, report, say):
    with host.SimulatedHost(setup.count) as simulated:
        time.sleep(SETTLE_S)

        def p99_ms(seconds, rest_s):
            time.sleep(rest_s)
            return measure(simulated, seconds).p99_ms["cycle"]

        rounds, sent = controller_noise.measure(simulated, given.seed, p99_ms, say)
    for manners in controller_noise.MANNERS:
        change, detail = controller_noise.case_of(rounds, sent, manners)
        report.add(NOISY, "ours", {"case": f"{setup.name}/{manners}"} | detail, Value(change))


def run_guests(setup, report, say):
    found = controller_guests.measure(say)
    case = {"case": setup.name, "vms": setup.count, "us_per_s": found["samples"]}
    report.add(EACH_CPU, "ours", case, Value(found["controller"]))
    report.add(LIBVIRTD, "ours", case, Value(found["libvirtd"]))


def run(given, _programs, report, say):
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        raise RigError("the bench controller needs root and mount namespaces: the host's memory is made up in one")
    memory, counted = {}, {}
    for setup in setups(None):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        say(setup.name)
        if setup.name.startswith("noisy"):
            run_noise(setup, given, report, say)
        elif setup.name.startswith("guests"):
            run_guests(setup, report, say)
        elif not setup.name.startswith("instructions"):
            run_scale(setup, report, memory)
        elif missing := instructions.missing():
            report.add(LINEAR, "ours", {"case": "10-to-1000"}, Value(None, missing))
        else:
            count_instructions(setup, counted)
            add_linear(report, counted)
