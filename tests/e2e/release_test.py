# SPDX-License-Identifier: Apache-2.0
"""Memory blocks that are removed for their page structs and added again: only where the kernel survives it, and nothing is lost.

Guests boot with KASLR: which blocks may be removed depends on where the kernel came to lie.
"""

import json
import re
import time

from tests.rig.guest import Options
from tests.rig.qemu import Guest

from .harness import BLOCKS, MIB, WORKLOAD, case, expect, wait_until

_WINDOW = 128 * MIB
_WHOLE = 64  # blocks of a window
_STRUCTS = 2 * MIB  # the page structs of one
_GIB_WINDOWS = 8
_TROUBLE = "dmesg | grep -E 'cut here|BUG:|WARNING:|Oops|blocked for more|[Bb]ad page|Out of memory|detected stall|soft lockup' || true"
_HOST_ASKS = "free-page-reporting=on"  # and what it asks for does not come back on OOM
_COMES_BACK = "free-page-reporting=on,deflate-on-oom=on"


def _guest(kernel, memory_mib, balloon_properties=_HOST_ASKS, **changes):
    return Guest(
        Options(
            kernel=kernel,
            memory_mib=memory_mib,
            balloon_driver="shim",
            balloon_properties=balloon_properties,
            add=[WORKLOAD, BLOCKS],
            **changes,
        )
    )


def _call(guest, arguments):
    return json.loads(guest.run(f"acma-blocks {arguments}"))


def _state(guest):
    return _call(guest, "state")


def _release(guest, window):
    return _call(guest, f"release {window}")["result"]


def _restore(guest, window):
    return _call(guest, f"restore {window}")["result"]


def _mem_total(guest):
    return int(guest.run("awk '/^MemTotal:/{print $2}' /proc/meminfo")) * 1024


def _actual(guest):
    return guest.qmp.command("query-balloon")["actual"]


def _set_size(guest, size):
    guest.qmp.command("balloon", value=size)
    wait_until(lambda: _actual(guest) == size, 60, lambda: f"actual {_actual(guest)} of {size}: {_state(guest)}")


def _owned_windows(guest):
    """Windows that are owned wholly."""
    lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
    return [line["window"] for line in lines if line["owned"] == _WHOLE and line["present"] == _WHOLE]


def _windows_with_a_kernel(guest):
    """Windows in a System RAM resource in which something else lies, by /proc/iomem."""
    resources = []
    for line in guest.run("cat /proc/iomem").splitlines():
        depth, first, last, name = re.fullmatch(r"( *)([0-9a-f]+)-([0-9a-f]+) : (.*)", line).groups()
        if not depth:
            resources.append([int(first, 16), int(last, 16), name, False])
        else:
            resources[-1][3] = True
    ranges = [(first // _WINDOW, last // _WINDOW) for first, last, name, inside in resources if name == "System RAM" and inside]
    return {window for first, last in ranges for window in range(first, last + 1)}


def _mapped_by_gib(guest):
    return int(guest.run("awk '/^DirectMap1G:/{n = $2} END{print n + 0}' /proc/meminfo")) > 0


def _expect_back(guest, total, blocks_online):
    expect(_mem_total(guest) >= total, f"MemTotal {total} -> {_mem_total(guest)}")
    expect(_online(guest) == blocks_online, f"{blocks_online} -> {_online(guest)}")


def _online(guest):
    return int(guest.run("grep -l online /sys/devices/system/memory/memory*/state | wc -l"))


def _expect_no_trouble(guest):
    trouble = guest.run(_TROUBLE)
    expect(trouble == "", trouble + guest.run("dmesg | tail -60"))


def _start_checked_workload(guest, mib, seconds):
    workload = f"acma-workload touch --mib {mib} --hot-mib {mib // 2} --period-ms 100 --seconds {seconds} --verify 1"
    guest.run(f"{{ {workload} >/tmp/w.log; echo $? >/tmp/w.end; }} &")
    wait_until(lambda: "rounds" in guest.run("cat /tmp/w.log"), 120, "the workload did not start")


def _expect_right_reasons(guest, kernel, results):
    """What a guest tells of itself beside the shim: where its kernel lies, and how it maps its memory."""
    inside = _windows_with_a_kernel(guest)
    for window, result in results.items():
        if result == "released":
            expect(kernel != "6.12" or window not in inside, f"{window} was removed beside a kernel: {results}")
        elif result == "kernel inside":
            expect(kernel == "6.12" and window in inside, f"{window}: {results}, {inside}")
        else:
            expect(result == "1 GiB leaf" and _mapped_by_gib(guest), f"{window}: {results}")
    by_gib = {}
    for window, result in results.items():
        by_gib.setdefault(window // _GIB_WINDOWS, set()).add(result == "1 GiB leaf")
    expect(all(len(leaves) == 1 for leaves in by_gib.values()), f"a leaf of 1 GiB is one for all of it: {results}")


_GUESTS = {f"{kernel}-{gib}-gib": (kernel, 1024 * gib) for gib in (2, 4, 6) for kernel in ("6.12", "7.3")}


_QUICK = ["7.3-2-gib"]


@case(each={"guest": _QUICK}, full_each=[guest for guest in _GUESTS if guest not in _QUICK], timeout_s=500)
def what_can_be_removed_and_added_again_loses_nothing(guest):
    kernel, memory_mib = _GUESTS[guest]
    with _guest(kernel, memory_mib) as guest:
        total, blocks_online = _mem_total(guest), _online(guest)
        _start_checked_workload(guest, 300, 60)
        _set_size(guest, 900 * MIB)
        owned = _owned_windows(guest)
        expect(len(owned) > 3, f"{owned}: nothing to test\n{guest.run('acma-blocks map')}")
        before = _state(guest)
        for again in range(2):
            forced = _mem_total(guest)
            results = {window: _release(guest, window) for window in owned}
            _expect_right_reasons(guest, kernel, results)
            released = [window for window, result in results.items() if result == "released"]
            expect(bool(released) == (kernel != "6.12" or memory_mib > 2048), f"{results}")
            state = _state(guest)
            expect(state["released_bytes"] == len(released) * _WINDOW, str(state))
            for field in ("owned_bytes", "actual_bytes", "voluntary_bytes", "taken_bytes"):
                expect(state[field] == before[field], f"{field}: {before} -> {state}")
            if not again:  # those of memory from boot were never counted
                gained = _mem_total(guest) - forced
                expect(gained == len(released) * _STRUCTS, f"{gained >> 20} MiB for {len(released)} blocks")
            expect(_online(guest) == blocks_online - len(released), f"{_online(guest)}")
            guest.run("acma-blocks rereport; acma-workload spike --mib 200; echo 1 >/proc/sys/vm/compact_memory")
            for window in released[::-1] if again else released:
                expect(_restore(guest, window) == "restored", f"{window}: {_state(guest)}")
            expect(_state(guest)["released_bytes"] == 0 and _online(guest) == blocks_online, str(_state(guest)))
            expect(_state(guest)["owned_bytes"] == before["owned_bytes"], f"{before} -> {_state(guest)}")
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 120, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
        _set_size(guest, memory_mib * MIB)
        _expect_back(guest, total, blocks_online)
        # All of it holds what is written there, also what was away.
        guest.run(f"acma-workload touch --mib {memory_mib - 350} --seconds 2 --verify 1", timeout=300)
        _expect_no_trouble(guest)


def _guest_with_removed_blocks(guest, size):
    _set_size(guest, size)
    released = [window for window in _owned_windows(guest) if _release(guest, window) == "released"]
    # How many depends on where KASLR put the kernel; one is given back early by one of the tests.
    expect(len(released) >= 2, f"{released}: nothing to test")
    return released


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def removed_memory_comes_back_as_soon_as_the_host_asks_for_less(kernel):
    mib = 4096 if kernel == "6.12" else 2048
    with _guest(kernel, mib) as guest:
        total, blocks_online = _mem_total(guest), _online(guest)
        released = _guest_with_removed_blocks(guest, 900 * MIB)
        guest.run("acma-blocks attach 1000 >/dev/null &")  # else the module gives voluntary blocks back after a while
        _call(guest, "take 30")
        expect(_state(guest)["voluntary_bytes"] == 60 * MIB, str(_state(guest)))
        # One window more than the host asks for then.
        size = mib * MIB - (len(released) - 1) * _WINDOW
        _set_size(guest, size)
        wait_until(lambda: _state(guest)["released_bytes"] == (len(released) - 1) * _WINDOW, 20, lambda: str(_state(guest)))
        wait_until(lambda: _state(guest)["voluntary_bytes"] == 60 * MIB, 20, lambda: str(_state(guest)))
        expect(_actual(guest) == size, f"actual {_actual(guest)}")
        _set_size(guest, mib * MIB)
        wait_until(lambda: _state(guest)["released_bytes"] == 0, 20, lambda: str(_state(guest)))
        wait_until(lambda: _state(guest)["owned_bytes"] == 60 * MIB, 20, lambda: str(_state(guest)))
        _call(guest, "give 100")
        _expect_back(guest, total, blocks_online)
        _expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def removed_memory_comes_back_without_the_device_and_without_the_module(kernel):
    mib = 4096 if kernel == "6.12" else 2048
    with _guest(kernel, mib) as guest:
        total, blocks_online = _mem_total(guest), _online(guest)
        _guest_with_removed_blocks(guest, 900 * MIB)
        guest.run("cd /sys/bus/virtio/drivers/acma_balloon; ls | grep virtio >/tmp/device; cat /tmp/device >unbind")
        wait_until(lambda: _online(guest) == blocks_online and _mem_total(guest) >= total, 30, lambda: guest.run("free -m"))
        guest.run("cat /tmp/device >/sys/bus/virtio/drivers/acma_balloon/bind")
        _guest_with_removed_blocks(guest, 900 * MIB)
        guest.run("rmmod acma_balloon")
        _expect_back(guest, total, blocks_online)
        guest.run(f"acma-workload touch --mib {mib - 350} --seconds 1 --verify 1", timeout=200)
        _expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def what_the_host_has_for_long_is_removed_without_being_asked_for(kernel):
    mib = 4096 if kernel == "6.12" else 2048
    with _guest(kernel, mib) as guest:
        total, blocks_online = _mem_total(guest), _online(guest)
        after = "/sys/module/acma_balloon/parameters/release_after_s"
        expect(int(guest.run(f"cat {after}")) == 600, "it waits for ten minutes")
        _set_size(guest, 900 * MIB)
        time.sleep(3)
        expect(_state(guest)["released_bytes"] == 0, f"at once: {_state(guest)}")
        guest.run(f"echo 5 >{after}")
        _set_size(guest, 898 * MIB)
        wait_until(lambda: _state(guest)["released_bytes"], 60, lambda: str(_state(guest)))
        before = _state(guest)
        # One a second, all that can be.
        time.sleep(2 * len(_owned_windows(guest)))
        expect("released" not in {_release(guest, window) for window in _owned_windows(guest)}, "one was left")
        expect(_state(guest)["owned_bytes"] == before["owned_bytes"] and _actual(guest) == 898 * MIB, str(_state(guest)))
        _set_size(guest, mib * MIB)
        wait_until(lambda: _state(guest)["owned_bytes"] == 0, 20, lambda: str(_state(guest)))
        _expect_back(guest, total, blocks_online)
        _expect_no_trouble(guest)


@case(full=True, each={"kernel": ["6.12", "7.3"]}, timeout_s=600)
def what_is_removed_by_itself_beside_a_workload_loses_nothing(kernel):
    """With a CPU that knows no pages of 1 GiB, so that much can be removed."""
    mib = 6144
    with _guest(kernel, mib, qemu_args=["-cpu", "max,pdpe1gb=off"]) as guest:
        total, blocks_online = _mem_total(guest), _online(guest)
        expect(not _mapped_by_gib(guest), "leaves of 1 GiB")
        _start_checked_workload(guest, 1200, 240)
        guest.run("echo 1 >/sys/module/acma_balloon/parameters/release_after_s")
        for size in (2600, 2200, 2400):
            _set_size(guest, size * MIB)
            # On 6.12 how many depends on where KASLR put the kernel.
            wait_until(lambda: _state(guest)["released_bytes"] >= 3 * _WINDOW, 60, lambda: str(_state(guest)))
            time.sleep(15)
            guest.run("acma-workload spike --mib 300")
            _set_size(guest, mib * MIB)
            wait_until(lambda: _state(guest)["owned_bytes"] == 0, 60, lambda: str(_state(guest)))
            expect(guest.run("cat /tmp/w.end 2>/dev/null || true") == "", "the workload ended: " + guest.run("cat /tmp/w.*"))
        _expect_back(guest, total, blocks_online)
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 300, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
        _expect_no_trouble(guest)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def what_the_guest_may_need_back_is_not_removed(kernel):
    with _guest(kernel, 2048) as guest:
        expect(_release(guest, 8) == "not wholly owned" and _restore(guest, 8) == "not released", "a free window")
        expect(_call(guest, "take 500 free")["taken"] == 500, "nothing to test")
        owned = _owned_windows(guest)
        expect({_release(guest, window) for window in owned} == {"guest's own"}, "voluntary blocks")
        _expect_no_trouble(guest)
    with _guest(kernel, 2048, _COMES_BACK) as guest:
        _set_size(guest, 900 * MIB)
        owned = _owned_windows(guest)
        expect({_release(guest, window) for window in owned} == {"guest's own"}, "what comes back on OOM")
        expect(_state(guest)["released_bytes"] == 0 and _state(guest)["kept"] == 7, f"it does not say why: {_state(guest)}")
        _expect_no_trouble(guest)


@case(full=True)
def nothing_is_removed_while_the_system_sleeps():
    """Not on 7.3: after a hibernation that fails, a guest does not answer any more, with the stock driver either."""
    mib = 4096
    with _guest("6.12", mib) as guest:
        total, blocks_online = _mem_total(guest), _online(guest)
        _guest_with_removed_blocks(guest, 900 * MIB)
        # Fails: there is no swap. But first everything went as if the image were to be written.
        guest.run("echo disk >/sys/power/state || true", timeout=120)
        expect(_state(guest)["released_bytes"] == 0 and _online(guest) == blocks_online, str(_state(guest)))
        _guest_with_removed_blocks(guest, 900 * MIB)
        _set_size(guest, mib * MIB)
        wait_until(lambda: _state(guest)["owned_bytes"] == 0, 20, lambda: str(_state(guest)))
        _expect_back(guest, total, blocks_online)
        _expect_no_trouble(guest)
