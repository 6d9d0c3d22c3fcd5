# SPDX-License-Identifier: Apache-2.0
"""VMs come, go, reboot and change their policies while one does not follow: no promise grows into what is not there, nothing leaks."""

import json
import os
import random
import re
import time

from tests.rig.controller import budget_setting, overpromises
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.libvirt import Libvirt, Policy

from .controller_test import _Host, _marks
from .harness import AGENT, DEADMAN, MIB, WORKLOAD, case, expect, wait_until

_RAM_MIB = 384
_CHURN_S = 40
_COMING = ("vm1", "vm2")
_POLICY = Policy("192MiB", f"{_RAM_MIB}MiB", psi="0.5%")


def _options(**changes):
    """A guest whose agent starts with it, each time."""
    boot = "acma-agent run --deadman /usr/bin/acma-deadman >/tmp/agent.log 2>&1 &"
    return Options(memory_mib=_RAM_MIB, smp=1, balloon_driver="shim", add=[AGENT, DEADMAN, WORKLOAD], boot=boot, **changes)


def _reboots(xml):
    return xml.replace("<on_reboot>destroy<", "<on_reboot>restart<")


class _Churn:
    def __init__(self, host, seed):
        self._host = host
        self._random = random.Random(seed)
        self.done = []

    def _virsh(self, verb, name):
        self._host.libvirt.virsh(verb, name)

    def step(self):
        """Something happens to one of the VMs that come and go; what cannot be done at the moment is left."""
        name = self._random.choice(_COMING)
        running = name in self._host.libvirt.virsh("list", "--name").split()
        what = self._random.choice(("destroy", "reset", "policy", "policy", "blink") if running else ("start",))
        try:
            getattr(self, "_" + what)(name)
            self.done.append(what)
        except RigError as error:
            self.done.append(f"{what} failed: {error}")

    def _start(self, name):
        # What it may hold while it boots is kept for it first, as an operator would.
        self._host.ctl("reserve", f"{_RAM_MIB}MiB", "--domain", name, "--for", "30", "--wait", "5")
        self._virsh("start", name)

    def _destroy(self, name):
        self._virsh("destroy", name)

    def _reset(self, name):
        self._virsh("reset", name)

    def _blink(self, name):
        self._virsh("suspend", name)
        time.sleep(self._random.uniform(0, 1))
        self._virsh("resume", name)

    def _policy(self, name):
        most = self._random.randrange(256, _RAM_MIB + 1, 16)
        self._host.ctl("set", name, "--max-mem", f"{most}MiB", "--mode", self._random.choice(("auto", "auto", "observe", "off")))


def _open_files(host):
    """How many the controller has, of libvirt's, agents' and its own."""
    return len(os.listdir(host.libvirt.path(f"/proc/{host.pid}/fd")))


@case(timeout_s=400)
def vms_come_and_go_while_one_lags_and_no_promise_grows_into_what_is_not_there():
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    with Libvirt() as libvirt, libvirt.guest("lag", _options(), policy=_POLICY) as lag:
        # Two of the three have room with all of their RAM.
        host = _Host(libvirt, budget_setting(2 * _RAM_MIB * MIB + 3 * lag.host_memory().qemu_bytes))
        host.wait_for("lag", lambda vm: vm["vm"]["state"] == "managed" and vm["agent"]["connected"], "not managed")
        # It has no swap: its balloon comes to a halt above its target.
        lag.run("acma-workload touch --mib 230 --period-ms 1000 >/tmp/w.log 2>&1 &")
        wait_until(lambda: "rounds" in lag.run("cat /tmp/w.log"), 60, "the workload did not fill its memory")
        files = _open_files(host)
        lag.run("kill -STOP $(pidof acma-agent)")
        churn, pauses = _Churn(host, seed), random.Random(seed)
        guests = [libvirt.guest(name, _options(), policy=_POLICY, xml=_reboots) for name in _COMING]
        until = time.monotonic() + _CHURN_S
        while time.monotonic() < until:
            churn.step()
            time.sleep(pauses.uniform(0, 1))
        print(churn.done)
        for guest in guests:
            guest.close()
        wait_until(lambda: len(host.overview()["vms"]) == 1, 30, host.log)
        decisions = host.decisions()
        wrong = [decision for decision in decisions if overpromises(decision)]
        expect(len(decisions) >= _CHURN_S and not wrong, f"seed {seed}: {len(wrong)} of {len(decisions)} decisions, the first: {wrong[:1]}")
        lags = [vm["holds_bytes"] - vm["granted_bytes"] for decision in decisions for vm in decision["vms"] if vm["name"] == "lag"]
        expect(max(lags) > 16 * MIB, f"it has always followed, nothing tested: {max(lags) >> 20} MiB behind at most")
        left = [line for line in host.metrics().splitlines() if re.search(r'domain="vm[12]"', line)]
        expect(not left, f"of VMs that are gone: {left}")
        expect(lag.run("awk '/^oom_kill /{print $2}' /proc/vmstat").strip() == "0", "an OOM kill")
        lag.run("kill -CONT $(pidof acma-agent)")
        host.wait_for("lag", lambda vm: vm["vm"]["state"] == "managed" and not _marks(vm), "not managed again")
        wait_until(lambda: _open_files(host) <= files, 60, lambda: f"{files} files were open, now {_open_files(host)}")


@case(timeout_s=300)
def a_guest_that_was_reset_is_left_alone_until_its_agent_answers_again():
    with Libvirt() as libvirt, libvirt.guest("vm1", _options(), policy=Policy("192MiB", "320MiB"), xml=_reboots) as guest:
        host = _Host(libvirt)
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed" and vm["agent"]["connected"], "not managed")
        wait_until(lambda: host.actual("vm1") == 320 * MIB, 60, host.log)
        booted = guest.run("cat /proc/sys/kernel/random/boot_id")
        guest.virsh("reset")
        found = host.wait_for("vm1", lambda vm: "booting" in _marks(vm), "no mark")
        expect(found["vm"]["state"] == "observed", json.dumps(found))
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed" and not _marks(vm), "not managed again")
        expect(guest.run("cat /proc/sys/kernel/random/boot_id") != booted, "it was not reset")
        wait_until(lambda: host.actual("vm1") == 320 * MIB, 60, host.log)
