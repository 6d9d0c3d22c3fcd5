# SPDX-License-Identifier: Apache-2.0
"""The balloon shim while several things happen at once: who gives, who takes, memory that goes offline, sleep, removal."""

import json
import time

from tests.rig.qemu import Guest

from . import blocks
from .harness import KERNELS, MIB, case, expect, wait_until

_REPORTING = "free-page-reporting=on"  # and no deflation on OOM: forced blocks leave MemTotal


def _map(guest):
    return [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def two_who_give_at_once_leave_what_the_host_asks_for(kernel):
    with Guest(blocks.options(kernel, balloon_properties=_REPORTING)) as guest:
        blocks.set_target(guest, 724 * MIB)
        taken = blocks.move(guest, "take 1")
        expect(taken["taken"] == 1 and blocks.state(guest)["voluntary_bytes"] == blocks.BLOCK, f"{taken} {blocks.state(guest)}")
        one, other = (line["window"] for line in _map(guest)[-2:])
        found = json.loads(guest.run(f"acma-blocks free-race {one} {other} 10", timeout=60))
        expect(not found["short"], f"after {found['rounds']} rounds the host has less than it asked for: {blocks.state(guest)}")
        # Of each round's two, one had the only voluntary block.
        expect(found["rounds"] > 100 and found["freed"] > found["rounds"] // 2, f"nothing tested: {found}")
        blocks.expect_no_trouble(guest)


@case(each={"kernel": KERNELS})
def the_module_waits_for_memory_that_goes_offline_and_leaves_nothing_behind(kernel):
    # Movable memory, and in it pages that cannot be moved: to offline it takes until they are let go, or for ever.
    with Guest(blocks.options(kernel, balloon_properties=_REPORTING, cmdline="movablecore=400M")) as guest:
        total = blocks.mem(guest, "MemTotal")
        taken = blocks.move(guest, "take-window 6 30")
        owned = blocks.state(guest)["owned_bytes"]
        expect(owned > 20 * blocks.BLOCK, f"{taken} {blocks.state(guest)}")
        guest.run("ulimit -n 65536; acma-blocks pin 30000 4 >/tmp/pin 2>&1 & echo $! >/tmp/pin.pid")
        wait_until(lambda: "pinned" in guest.run("cat /tmp/pin"), 60, lambda: guest.run("cat /tmp/pin"))
        line = next(line for line in _map(guest) if line["window"] == 6)
        expect(0 < line["owned"] < line["present"], f"nothing to test: {line}")
        guest.run("(echo offline >/sys/devices/system/memory/memory6/state; echo $? >/tmp/offline) >/dev/null 2>&1 &")
        wait_until(lambda: blocks.state(guest)["owned_bytes"] < owned, 60, lambda: "the memory does not go offline: " + guest.run("cat /tmp/offline; dmesg | tail -5", check=False).output)
        guest.run("(rmmod acma_balloon; echo $? >/tmp/rmmod) >/dev/null 2>&1 &")
        time.sleep(3)
        early = guest.run("grep . /tmp/offline /tmp/rmmod 2>/dev/null", check=False).output
        expect(early == "", f"something did not wait: {early}")
        guest.run("kill $(cat /tmp/pin.pid)")
        wait_until(lambda: guest.run("cat /tmp/rmmod", check=False).status == 0, 60, lambda: guest.run("dmesg | tail -30"))
        expect(guest.run("cat /tmp/rmmod").strip() == "0", "the module stayed")
        wait_until(lambda: guest.run("cat /tmp/offline", check=False).status == 0, 60, "to offline has no end")
        if guest.run("cat /tmp/offline").strip() == "0":
            guest.run("echo online_movable >/sys/devices/system/memory/memory6/state")
        expect(blocks.mem(guest, "MemTotal") == total, f"MemTotal {total} -> {blocks.mem(guest, 'MemTotal')}")
        guest.run("insmod /lib/modules/acma_balloon.ko")
        again = blocks.move(guest, "take-window 6")
        expect(again.get("busy", 0) < 8, f"blocks were left behind: {again}")
        blocks.expect_no_trouble(guest)


def _slow_guest(kernel, **changes):
    """Each of its blocks is half used: to take them takes long."""
    return blocks.options(kernel, memory_mib=2048, balloon_properties=_REPORTING, **changes)


def _fill(guest):
    guest.run("acma-workload holes --mib 1600 --period-ms 0 >/tmp/w.log 2>&1 &")
    wait_until(lambda: "holes" in guest.run("cat /tmp/w.log"), 90, "the workload did not fill its memory")


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def the_host_sees_how_far_an_inflation_is(kernel):
    with Guest(_slow_guest(kernel)) as guest:
        _fill(guest)
        total, target = blocks.mem(guest, "MemTotal"), 1300 * MIB
        guest.qmp.command("balloon", value=target)
        seen = set()
        wait_until(lambda: seen.add(blocks.actual(guest)) or target in seen, 90, lambda: f"{sorted(seen)} {blocks.state(guest)}", every_s=0.02)
        expect(len(seen) > 4, f"no news of it before its end: {sorted(seen)}")
        wait_until(lambda: blocks.mem(guest, "MemTotal") == total - 2048 * MIB + target, 5, lambda: f"{total} -> {blocks.mem(guest, 'MemTotal')}")
        blocks.expect_no_trouble(guest)


# The answer to the command that starts it comes before the guest sleeps.
_SLEEP = """
usleep 300000
echo deep >/sys/power/mem_sleep && echo mem >/sys/power/state || echo "failed: 1" >/dev/ttyS0
echo "slept: 0" >/dev/ttyS0
"""


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def a_guest_sleeps_at_once_whatever_the_host_asks_for(kernel):
    with Guest(_slow_guest(kernel, modules=["button"], one_thread=True)) as guest:
        _fill(guest)
        target = 1300 * MIB
        guest.run(f"cat >/tmp/sleep.sh <<'END'\n{_SLEEP}END\ntrue")
        guest.qmp.command("balloon", value=target)
        wait_until(lambda: blocks.actual(guest) < 2048 * MIB, 10, "it takes nothing", every_s=0.02)
        guest.run("sh /tmp/sleep.sh >/dev/null 2>&1 &")
        seen = []
        wait_until(
            lambda: seen.append(blocks.actual(guest)) or guest.qmp.command("query-status")["status"] == "suspended",
            60,
            guest.console_tail,
            every_s=0.02,
        )
        expect(min(seen) > target, f"it slept only when all was taken: {seen}")
        guest.qmp.command("system_wakeup")
        wait_until(lambda: "slept: 0" in guest.console(), 60, guest.console_tail)
        expect("failed: 1" not in guest.console(), guest.console_tail())
        wait_until(lambda: blocks.actual(guest) == target, 90, lambda: f"actual {blocks.actual(guest)} after the sleep")
