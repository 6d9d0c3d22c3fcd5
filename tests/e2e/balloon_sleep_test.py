# SPDX-License-Identifier: Apache-2.0
"""Guests with blocks owned that suspend, hibernate, are reverted to a snapshot or crash; and guests with movable memory."""

import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

from tests.rig.initramfs import Initramfs
from tests.rig.kernel import Kernel
from tests.rig.qemu import Guest

from . import blocks
from .harness import CRASH_KERNEL, KERNELS, MIB, case, expect, wait_until

_REPORTING = "free-page-reporting=on"  # and no deflation on OOM: forced blocks leave MemTotal


def _start_workload(guest, mib, seconds, hot_mib=100):
    guest.run("acma-blocks attach 1000 >/dev/null &")  # else the module gives blocks back after a while
    workload = f"acma-workload touch --mib {mib} --hot-mib {hot_mib} --period-ms 50 --seconds {seconds} --verify 1"
    guest.run(f"{{ {workload} >/tmp/w.log; echo $? >/tmp/w.end; }} &")
    wait_until(lambda: "rounds" in guest.run("cat /tmp/w.log"), 60, "the workload did not start")


def _expect_whole(guest, within_s):
    """Of the workload: it ends, and found every byte as it wrote it."""
    wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, within_s, "the workload did not end")
    expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")


# What the guest does with itself, since Linux 7.3's virtio console takes no commands any more after a suspend: the answer
# comes by the serial line.
_SLEEP = """
say() { echo "$1: $(acma-blocks state)" >/dev/ttyS0; }
say before
sh -c '%s' || echo "failed: {}" >/dev/ttyS0
i=0
# The module takes what the host asks for again.
until acma-blocks state | grep -q '"actual_bytes": %d'; do [ $i != 200 ] || break; i=$((i+1)); usleep 50000; done
say after
awk '/^MemTotal:/{print "total: " $2}' /proc/meminfo >/dev/ttyS0
echo "taken: $(acma-blocks take 50)" >/dev/ttyS0
echo "given: $(acma-blocks give 50)" >/dev/ttyS0
until [ -e /tmp/w.end ]; do usleep 50000; done
echo "workload: $(cat /tmp/w.end)" >/dev/ttyS0
echo "trouble: $(%s | wc -l)" >/dev/ttyS0
dmesg >/dev/ttyS0
echo "done: 0" >/dev/ttyS0
"""
_HOW = {
    "suspend": "echo deep >/sys/power/mem_sleep && echo mem >/sys/power/state",
    "idle": "echo freeze >/sys/power/state",
    # Writes the image to swap, and resumes from it at once.
    "hibernate": "echo test_resume >/sys/power/disk && echo disk >/sys/power/state",
}


def _said(guest, what):
    for line in guest.console().splitlines():
        if line.startswith(what + ": "):
            return json.loads(line[len(what) + 2 :])
    return None


@case(
    each={"how": ["6.12 suspend", "7.3 suspend"]},
    full_each=["6.12 idle", "7.3 idle", "6.12 hibernate", "7.3 hibernate"],
)
def blocks_come_back_before_a_guest_sleeps_and_the_hosts_target_is_met_after_it(how):
    kernel, how = how.split()
    # "button": the guest wakes up by its power button.
    changes = {"swap": "disk:1024", "modules": ["button"], "balloon_properties": _REPORTING, "one_thread": True}
    with Guest(blocks.options(kernel, **changes)) as guest:
        blocks.set_target(guest, 900 * MIB)
        total = blocks.mem(guest, "MemTotal")
        _start_workload(guest, 300, 20)
        taken = blocks.move(guest, "take 100")
        expect(taken["taken"] == 100, str(taken))
        script = _SLEEP % (_HOW[how], 124 * MIB, blocks.TROUBLE)
        guest.run(f"cat >/tmp/sleep.sh <<'END'\n{script}END\nsh /tmp/sleep.sh >/dev/null 2>&1 &")
        if how == "suspend":
            wait_until(lambda: guest.qmp.command("query-status")["status"] == "suspended", 30, guest.console_tail, every_s=0.1)
            guest.qmp.command("system_wakeup")
        deadline = time.monotonic() + 60
        while how == "idle" and not _said(guest, "after") and time.monotonic() < deadline:
            time.sleep(1)
            guest.qmp.command("system_powerdown")
        wait_until(lambda: _said(guest, "done") is not None, 120, lambda: guest.console_tail(60))
        log = guest.console_tail(100)
        before, after = _said(guest, "before"), _said(guest, "after")
        expect(_said(guest, "failed") is None, log)
        expect(before["voluntary_bytes"] == 200 * MIB and before["actual_bytes"] == 124 * MIB, str(before))
        expect(after["freed_bytes"] - before["freed_bytes"] == before["owned_bytes"], f"not all came back: {before} -> {after}")
        expect(after["owned_bytes"] == after["actual_bytes"] == 124 * MIB and after["voluntary_bytes"] == 0, str(after))
        expect(_said(guest, "total") * 1024 == total, f"MemTotal {total >> 10} -> {_said(guest, 'total')} KiB")
        expect(_said(guest, "taken")["taken"] == _said(guest, "given")["freed"] == 50, log)
        expect(blocks.actual(guest) == 900 * MIB, f"actual {blocks.actual(guest)}")
        expect(_said(guest, "workload") == 0, "a wrong byte")
        expect(_said(guest, "trouble") == 0, log)


_KEEP = """
acma-blocks keep %d >/tmp/keep &
until grep -q kept /tmp/keep; do usleep 50000; done
echo offline >/sys/devices/system/memory/memory%d/state
echo online >/sys/devices/system/memory/memory%d/state
echo "before: $(acma-blocks state)" >/dev/ttyS0
echo deep >/sys/power/mem_sleep && echo mem >/sys/power/state
echo "after: $(acma-blocks state)" >/dev/ttyS0
echo "trouble: $(%s | wc -l)" >/dev/ttyS0
echo "done: 0" >/dev/ttyS0
"""


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def a_memory_block_that_is_being_kept_comes_back_before_a_guest_sleeps(kernel):
    with Guest(blocks.options(kernel, modules=["button"], balloon_properties=_REPORTING, one_thread=True)) as guest:
        total = blocks.mem(guest, "MemTotal")
        window = blocks.whole_window(guest)
        guest.run(f"cat >/tmp/keep.sh <<'END'\n{_KEEP % (window, window, window, blocks.TROUBLE)}END\nsh /tmp/keep.sh >/dev/null 2>&1 &")
        wait_until(lambda: guest.qmp.command("query-status")["status"] == "suspended", 30, guest.console_tail, every_s=0.1)
        guest.qmp.command("system_wakeup")
        wait_until(lambda: _said(guest, "done") is not None, 60, lambda: guest.console_tail(60))
        before, after = _said(guest, "before"), _said(guest, "after")
        expect(before["pending_bytes"] == 128 * MIB, f"nothing to test: {before}")
        expect(after["owned_bytes"] == after["pending_bytes"] == 0 and after["ram_bytes"] == total, str(after))
        expect(_said(guest, "trouble") == 0, guest.console_tail(100))


# An emulated guest's clock jumps at a revert, and the kernel takes that for a stall.
_CLOCK = "rcupdate.rcu_cpu_stall_suppress=1 nowatchdog"


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def a_snapshot_with_blocks_owned_or_without_is_reverted_to(kernel):
    with tempfile.TemporaryDirectory(prefix="acma-", dir="/var/tmp") as directory:
        disk = os.path.join(directory, "snapshots.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "2G"], check=True)
        drive = ["-drive", f"file={disk},format=qcow2,if=none,id=snapshots,cache=unsafe"]
        with Guest(blocks.options(kernel, qemu_args=drive, cmdline=_CLOCK)) as guest:
            _revert(guest)


def _revert(guest):
    monitor = guest.qmp.hmp
    _start_workload(guest, 300, 30)
    free = blocks.state(guest)
    _save(monitor, "free")
    taken = blocks.move(guest, "take 200")
    expect(taken["taken"] == 200, str(taken))
    wait_until(lambda: blocks.state(guest)["pending_bytes"] == 0, 30, lambda: f"not told to the host: {blocks.state(guest)}")
    owned = blocks.state(guest)
    small = guest.host_bytes()  # what is saved is read, and may be there again after it: not each kernel has a huge zero page
    _save(monitor, "owned")
    saved_at = time.monotonic()
    expect(blocks.move(guest, "give 200")["freed"] == 200, "not given back")
    # Held, so that free page reporting does not find it.
    guest.run("acma-workload touch --mib 450 --hot-mib 1 >/tmp/more.log &")
    wait_until(lambda: "rounds" in guest.run("cat /tmp/more.log"), 60, "no memory")
    expect(guest.host_bytes() > small + 200 * MIB, f"host bytes {small >> 20} -> {guest.host_bytes() >> 20} MiB: nothing to test")
    # The host has their content again, and the guest does not know. Its clock goes on from now: the attached agent did not
    # call for all that time.
    time.sleep(max(0, saved_at + 15 - time.monotonic()))
    monitor("loadvm owned")
    expect(blocks.state(guest)["owned_bytes"] == owned["owned_bytes"], f"{owned} -> {blocks.state(guest)}")
    expect(guest.host_bytes() > small + 100 * MIB, f"host bytes {guest.host_bytes() >> 20} MiB: no need to report again")
    guest.run("acma-blocks rereport")
    most = 1024 * MIB - owned["owned_bytes"] + 16 * MIB
    expect(guest.host_bytes() < most, f"host bytes {guest.host_bytes() >> 20} MiB of at most {most >> 20}")
    expect(blocks.move(guest, "give 200")["freed"] == 200, "not given back")
    guest.run("acma-workload spike --mib 500")
    # What was owned is the guest's memory again, with all its content.
    blocks.move(guest, "take 200")
    monitor("loadvm free")
    expect(blocks.state(guest)["owned_bytes"] == free["owned_bytes"], f"{free} -> {blocks.state(guest)}")
    expect(blocks.actual(guest) == 1024 * MIB, "actual")
    expect(blocks.move(guest, "take 200")["taken"] == 200, "not taken")
    _expect_whole(guest, 90)
    blocks.expect_no_trouble(guest)


def _save(monitor, name):
    said = monitor(f"savevm {name}")
    expect(said.strip() == "", said)


_DUMP = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
makedumpfile -d 31 --dry-run --message-level 31 /proc/vmcore /tmp/dump
echo "makedumpfile ended: $?"
reboot -f
"""


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def a_dump_of_a_crashed_guest_leaves_owned_blocks_out(kernel):
    with tempfile.TemporaryDirectory(prefix="acma-", dir="/var/tmp") as directory:
        capture = Initramfs().add(shutil.which("makedumpfile")).add_text("init", _DUMP, 0o755)
        image = capture.write(os.path.join(directory, "capture"))
        options = blocks.options(kernel, cmdline="crashkernel=192M", boot_timeout_s=180)
        options.add += [CRASH_KERNEL, f"{image}:/root/initramfs", Kernel(kernel).vmlinuz + ":/root/vmlinuz"]
        with Guest(options) as guest:
            expect(blocks.move(guest, "take 100")["taken"] == 100, "not taken")
            words = "console=ttyS0 quiet panic=1 no_timer_check nr_cpus=1 irqpoll reset_devices"
            guest.run(f"acma-crash-kernel /root/vmlinuz /root/initramfs '{words}'")
            guest.run("(sleep 0.3; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
            wait_until(lambda: "makedumpfile ended:" in guest.console(), 120, lambda: guest.console_tail(40))
            found = re.search(r"Offline pages +: 0x([0-9a-f]+)", guest.console())
            expect(found and int(found[1], 16) == 100 * 512, guest.console_tail(40))


def _owned_by_zone(guest, zone):
    lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
    inside = [line for line in lines if line["zone"] == zone]
    return sum(line["owned"] for line in inside), sum(line["present"] for line in inside)


_ZONE_MOVABLE = 3


def _movable(kernel, seconds, seed):
    """Blocks of ZONE_MOVABLE, free and in use, come and go; used ones by migration, into it or out of it."""
    rng = random.Random(seed)
    with Guest(blocks.options(kernel, cmdline="movablecore=600M")) as guest:
        total = blocks.mem(guest, "MemTotal")
        _, present = _owned_by_zone(guest, _ZONE_MOVABLE)
        expect(present >= 150, f"{present} blocks are movable: nothing to test")
        _start_workload(guest, 350, seconds, hot_mib=300)
        blocks.move(guest, "take 350")
        owned, _ = _owned_by_zone(guest, _ZONE_MOVABLE)
        expect(owned > 60, f"of {present} movable blocks {owned} are owned")
        blocks.move(guest, "give 1000")
        expect(_owned_by_zone(guest, _ZONE_MOVABLE)[0] == 0, "not all came back")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if rng.randrange(3) == 0:
                guest.qmp.command("balloon", value=rng.randrange(500, 1025) * MIB)
            guest.run(f"acma-blocks {rng.choice(['take', 'give'])} {rng.randrange(1, 250)}", timeout=120)
        _expect_whole(guest, 60)
        blocks.set_target(guest, 1024 * MIB)
        blocks.move(guest, "give 1000")
        state = blocks.state(guest)
        expect(state["owned_bytes"] == 0 and state["taken_bytes"] == state["freed_bytes"], str(state))
        expect(blocks.mem(guest, "MemTotal") == total, "MemTotal")
        blocks.expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def movable_memory_comes_and_goes_and_nothing_is_lost(kernel):
    _movable(kernel, 15, 3)


@case(each={"kernel": []}, full_each=KERNELS, timeout_s=600)
def movable_memory_comes_and_goes_for_minutes_and_nothing_is_lost(kernel):
    _movable(kernel, 180, 4)
