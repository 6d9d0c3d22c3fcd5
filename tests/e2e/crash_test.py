# SPDX-License-Identifier: Apache-2.0
"""The controller and libvirtd die at any moment: a guest keeps its bounds, nothing shrinks, and the next one says what is missing."""

import json
import random
import time

from tests.rig.guest import Options
from tests.rig.libvirt import Libvirt, Policy

from .controller_test import _RUN_AGENT, _Host, _guest_policy, _guest_status, _options
from .harness import CONTROLLER, MIB, case, expect, wait_until


class _Watched(_Host):
    """Also looks at the balloon all the time: by virsh, so no word of ours."""

    def __init__(self, libvirt, name):
        super().__init__(libvirt)
        self._name = name
        self.least = 1 << 60

    def look(self):
        self.least = min(self.least, self.actual(self._name))

    def watch_for(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()

    def says(self, text):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return text in file.read()

    def usage_of_all_time(self):
        done = self.ctl("usage", self._name, "--json", check=False)
        return json.loads(done.stdout)["vms"][0] if done.returncode == 0 else None


@case(timeout_s=400)
def killed_at_any_moment_the_controller_leaves_the_guest_its_bounds():
    moments = random.Random(7)
    with Libvirt() as libvirt:
        host = _Watched(libvirt, "vm1")
        begun = time.monotonic()
        with libvirt.guest("vm1", _options("7.3"), policy=Policy("256MiB", "640MiB")) as guest:
            guest.run(_RUN_AGENT)
            host.wait_for("vm1", lambda vm: vm["agent"]["connected"], "the agent is not connected")
            known = time.monotonic()
            wait_until(lambda: host.actual("vm1") == 640 * MIB, 60, host.log)
            wait_until(lambda: (_guest_policy(guest) or {}).get("max_mem_bytes") == 640 * MIB, 30, host.log)
            for size in (600, 640, 576, 640, 620, 640):
                # In the middle of a change: it is done, or not yet, or by the next one.
                host.ctl("set", "vm1", "--max-mem", f"{size}MiB")
                host.watch_for(moments.uniform(0, 0.4))
                host.kill()
                host.look()
                expect(_guest_status(guest)["oom_kills_total"] == 0, "an OOM kill")
                started = time.monotonic()
                host.start()
                wait_until(lambda: host.ctl("list", check=False).returncode == 0, 20, host.log, every_s=0.1)
                expect(time.monotonic() - started < 5, f"{time.monotonic() - started:.1f} s until it answered\n{host.log()}")
                host.watch_for(moments.uniform(0, 1.5))
            wait_until(lambda: host.actual("vm1") == 640 * MIB, 60, host.log)
            expect(host.least >= 575 * MIB, f"the balloon went down to {host.least >> 20} MiB, where 576 was the least that was asked for")
            vm = host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed" and vm["agent"]["connected"], "not managed")
            expect(not vm["vm"]["marks"], f"its own target was taken for somebody else's: {vm['vm']['marks']}")
            # A second one would undo what the first does; the killed ones do not count.
            second = libvirt.run([CONTROLLER, "--socket", "/run/acma-second.sock"], check=False)
            expect(second.returncode == 1 and "another acma-controller (process" in second.stderr, f"{second}")
            # All time is measured or missing, none twice. It is written every ten seconds: looked at just after that.
            # None of the killed ones may have lived for that long: what they saw is missing.
            before = wait_until(host.usage_of_all_time, 20, host.log)["measured_us"]
            wait_until(lambda: host.usage_of_all_time()["measured_us"] > before, 30, host.log, every_s=0.2)
            usage, now = host.usage_of_all_time(), time.monotonic()
            told = (usage["measured_us"] + usage["missing_us"]) / 1e6
            expect(now - known - 3 < told < now - begun + 3, f"{usage} in {now - known:.1f} to {now - begun:.1f} s\n{host.log()}")
            expect(usage["measured_us"] > 0 and usage["missing_us"] > 0 and host.says("usage of 1 VM is missing from"), host.log())


@case(timeout_s=300)
def libvirtd_goes_and_comes_and_the_controller_finds_everything_again():
    with Libvirt() as libvirt:
        host = _Watched(libvirt, "vm1")
        with libvirt.guest("vm1", _options("7.3"), policy=Policy("256MiB", "640MiB")) as guest:
            guest.run(_RUN_AGENT)
            host.wait_for("vm1", lambda vm: vm["agent"]["connected"], "the agent is not connected")
            wait_until(lambda: host.actual("vm1") == 640 * MIB, 60, host.log)
            for kill in (False, True):
                libvirt.restart_daemon(kill=kill)
                host.look()
                host.wait_for("vm1", lambda vm: vm["agent"]["connected"] and vm["vm"]["state"] == "managed", "not found again")
                health = wait_until(lambda: json.loads(host.ctl("list", "--json").stdout)["host"]["libvirt_connected"], 40, host.log)
                expect(health, "not connected again")
            # The order that comes right after: carried out by the connection that is new.
            host.ctl("set", "vm1", "--max-mem", "700MiB")
            wait_until(lambda: host.actual("vm1") == 700 * MIB, 60, host.log)
            expect(host.least >= 640 * MIB, f"the balloon went down to {host.least >> 20} MiB")
            usage = wait_until(host.usage_of_all_time, 20, host.log)
            expect(usage["missing_us"] < 5e6, f"metering stopped with libvirt: {usage}")


@case(timeout_s=400)
def what_is_metered_of_all_guests_is_what_the_host_lost():
    options = Options(kernel="7.3", memory_mib=512, add=_options().add)
    with Libvirt() as libvirt, libvirt.guest("vm1", options) as one, libvirt.guest("vm2", options) as two:
        host = _Host(libvirt)
        one.run("acma-workload touch --mib 150 --hot-mib 150 --period-ms 1000 >/tmp/workload.log &")
        wait_until(lambda: "rounds" in one.run("cat /tmp/workload.log"), 120, "the workload did not fill its memory")

        def totals():
            vms = json.loads(host.ctl("usage", "--json").stdout)["vms"]
            expect(len(vms) == 2, f"{vms}")
            return sum(vm["used_mib_seconds"] for vm in vms), min(vm["measured_us"] for vm in vms) / 1e6

        wait_until(lambda: host.usage("vm1")["measured_us"] > 0 and host.usage("vm2")["measured_us"] > 0, 60, host.log)
        used_before, measured_before = totals()
        ruler = []
        until = time.monotonic() + 40
        while time.monotonic() < until:
            ruler.append((one.host_bytes() + two.host_bytes()) / MIB)
            time.sleep(1)
        used, measured = totals()
        metered = (used - used_before) / (measured - measured_before)
        mean = sum(ruler) / len(ruler)
        expect(abs(metered - mean) < 0.05 * mean, f"metered {metered:.0f} MiB, the host lost {mean:.0f} MiB ({min(ruler):.0f} to {max(ruler):.0f})")
