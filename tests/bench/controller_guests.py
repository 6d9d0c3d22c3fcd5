# SPDX-License-Identifier: Apache-2.0
"""The controller on a real libvirtd and real guests: what it and libvirtd need for each VM, which the test driver cannot tell."""

import contextlib
import json
import os
import signal
import subprocess
import time

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
_SOCKET = "/run/acma-bench.sock"


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


@contextlib.contextmanager
def _controller(libvirt):
    config = os.path.join(libvirt.directory, "controller.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'usage-database = "{libvirt.directory}/usage.db"\n')
    with open(os.path.join(libvirt.directory, "controller.log"), "wb") as log:
        command = [_built("host-controller/acma-controller"), "--config", config, "--socket", _SOCKET]
        entered = libvirt.popen(command, stdout=log, stderr=log)
    try:
        time.sleep(2)
        yield _children(entered.pid)[0]
    finally:
        entered.send_signal(signal.SIGTERM)
        try:
            entered.wait(20)
        except subprocess.TimeoutExpired:
            entered.kill()
            entered.wait()


def _wait_for_agents(libvirt, count):
    deadline = time.monotonic() + COME_UP_S
    while True:
        listed = libvirt.run([_built("host-controller/acmactl"), "--socket", _SOCKET, "list", "--json"], check=False)
        up = sum(vm["agent_connected"] for vm in json.loads(listed.stdout)["vms"]) if listed.returncode == 0 else 0
        if up == count:
            return
        if time.monotonic() > deadline:
            raise RigError(f"{up} of {count} agents are connected: {listed.stdout[-500:]}{listed.stderr[-500:]}")
        time.sleep(1)


def measure(say):
    """{"controller", "libvirtd": us of CPU per VM and second, "samples"}. The idle daemons' own is taken off."""
    options = Options(memory_mib=MEMORY_MIB, smp=1, add=[_built("guest-agent/acma-agent"), _built("guest-agent/acma-deadman")])
    policy = Policy(f"{MEMORY_MIB // 4}MiB", f"{MEMORY_MIB}MiB")
    samples = {}
    with Libvirt() as libvirt, contextlib.ExitStack() as guests:
        daemon = _libvirtd(libvirt)
        with _controller(libvirt) as controller:
            samples["no guests"] = _rates({"controller": controller, "libvirtd": daemon}, MEASURE_S)
        for number in range(GUESTS):
            guest = guests.enter_context(libvirt.guest(f"vm{number}", options, policy=policy))
            guest.run('acma-agent run --deadman "$(command -v acma-deadman)" 2>/dev/null &')
        time.sleep(SETTLE_S)
        samples["no controller"] = _rates({"libvirtd": daemon}, MEASURE_S)
        with _controller(libvirt) as controller:
            _wait_for_agents(libvirt, GUESTS)
            time.sleep(SETTLE_S)
            samples["both"] = _rates({"controller": controller, "libvirtd": daemon}, MEASURE_S)
    for what, rates in samples.items():
        say(f"guests-{GUESTS}: {what}: " + ", ".join(f"{name} {rate:.0f} us/s" for name, rate in rates.items()))
    return {
        "controller": (samples["both"]["controller"] - samples["no guests"]["controller"]) / GUESTS,
        "libvirtd": (samples["both"]["libvirtd"] - samples["no controller"]["libvirtd"]) / GUESTS,
        "samples": {what: {name: round(rate) for name, rate in rates.items()} for what, rates in samples.items()},
    }
