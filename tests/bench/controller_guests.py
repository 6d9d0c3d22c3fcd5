# SPDX-License-Identifier: Apache-2.0
"""The controller on a real libvirtd and real guests: what it and libvirtd need for each VM, which the test driver cannot tell."""

import contextlib
import os
import time

from tests.rig.controller import Controller
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.libvirt import Libvirt, Policy

from .controller_host import cpu_s
from .subject import BUILD

GUESTS = 4
MEMORY_MIB = 256
MEASURE_S = 40
SETTLE_S = 20
COME_UP_S = 180


def _built(path):
    return os.path.join(BUILD, path)


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _libvirtd(libvirt):
    for pid in _children(libvirt.init_pid):
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            if file.read().strip() == "libvirtd":
                return pid
    raise RigError("there is no libvirtd")


def _rates(pids, seconds):
    """{name: CPU in us per second}"""
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    start = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    return {name: 1e6 * (cpu_s(pid) - before[name]) / took for name, pid in pids.items()}


def _wait_for_agents(controller, count):
    deadline = time.monotonic() + COME_UP_S
    while (up := sum(vm["agent_connected"] for vm in controller.overview()["vms"])) != count:
        if time.monotonic() > deadline:
            raise RigError(f"{up} of {count} agents are connected\n{controller.log()}")
        time.sleep(1)


def measure(say):
    """{"controller", "libvirtd": us of CPU per VM and second, "samples"}. The idle daemons' own is taken off."""
    options = Options(memory_mib=MEMORY_MIB, smp=1, add=[_built("guest-agent/acma-agent"), _built("guest-agent/acma-deadman")])
    policy = Policy(f"{MEMORY_MIB // 4}MiB", f"{MEMORY_MIB}MiB")
    samples = {}
    with Libvirt() as libvirt, contextlib.ExitStack() as guests:
        daemon = _libvirtd(libvirt)
        with Controller(libvirt, BUILD, records=False) as controller:
            samples["no guests"] = _rates({"controller": controller.outer_pid, "libvirtd": daemon}, MEASURE_S)
        for number in range(GUESTS):
            guest = guests.enter_context(libvirt.guest(f"vm{number}", options, policy=policy))
            guest.run('acma-agent run --deadman "$(command -v acma-deadman)" 2>/dev/null &')
        time.sleep(SETTLE_S)
        samples["no controller"] = _rates({"libvirtd": daemon}, MEASURE_S)
        with Controller(libvirt, BUILD, records=False) as controller:
            _wait_for_agents(controller, GUESTS)
            time.sleep(SETTLE_S)
            samples["both"] = _rates({"controller": controller.outer_pid, "libvirtd": daemon}, MEASURE_S)
    for what, rates in samples.items():
        say(f"guests-{GUESTS}: {what}: " + ", ".join(f"{name} {rate:.0f} us/s" for name, rate in rates.items()))
    return {
        "controller": (samples["both"]["controller"] - samples["no guests"]["controller"]) / GUESTS,
        "libvirtd": (samples["both"]["libvirtd"] - samples["no controller"]["libvirtd"]) / GUESTS,
        "samples": {what: {name: round(rate) for name, rate in rates.items()} for what, rates in samples.items()},
    }
