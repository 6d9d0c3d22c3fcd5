# SPDX-License-Identifier: Apache-2.0
"""The balloon shim in real guests: hosts that know nothing of it notice nothing, blocks come and go, nothing is lost."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time

from tests.rig.qemu import Guest

from .blocks import BLOCK as _BLOCK
from .blocks import actual as _actual
from .blocks import expect_no_trouble as _expect_no_trouble
from .blocks import mem as _mem
from .blocks import move as _move
from .blocks import options as _options
from .blocks import set_target as _set_target
from .blocks import state as _state
from .blocks import whole_window as _whole_window
from .harness import AGENT, BLOCKS, KERNELS, MIB, WORKLOAD, case, expect, wait_until


@case(each={"kernel": KERNELS})
def a_host_that_only_knows_num_pages_gets_exactly_what_it_asks_for(kernel):
    with Guest(_options(kernel)) as guest:
        total = _mem(guest, "MemTotal")
        full = guest.host_bytes()
        for size in (700 * MIB, 512 * MIB + 4096, 300 * MIB - 12288, 900 * MIB, 1024 * MIB):
            _set_target(guest, size)
            state = _state(guest)
            expect(state["voluntary_bytes"] < _BLOCK, str(state))
            expect(state["actual_bytes"] == 1024 * MIB - size, str(state))
            counted = dict(line.split() for line in guest.run("grep balloon /proc/vmstat").splitlines())
            held = (int(counted["balloon_inflate"]) - int(counted["balloon_deflate"])) * 4096
            expect(held == state["actual_bytes"] == int(counted.get("nr_balloon_pages", held // 4096)) * 4096, f"{counted} {state}")
        expect(_state(guest)["owned_bytes"] == 0, str(_state(guest)))
        expect(_mem(guest, "MemTotal") == total, "MemTotal changed although the host lets it deflate on OOM")
        _set_target(guest, 300 * MIB)
        wait_until(lambda: guest.host_bytes() < min(full, 300 * MIB), 10, lambda: f"host bytes {guest.host_bytes() >> 20} MiB")
        _expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def forced_blocks_leave_memtotal_unless_they_come_back_on_oom(kernel):
    with Guest(_options(kernel, balloon_properties="free-page-reporting=on")) as guest:
        total = _mem(guest, "MemTotal")
        _set_target(guest, 600 * MIB)
        wait_until(lambda: _mem(guest, "MemTotal") == total - 424 * MIB, 5, lambda: f"{total} -> {_mem(guest, 'MemTotal')}")
        _move(guest, "take 50")
        expect(_mem(guest, "MemTotal") == total - 424 * MIB, "voluntary blocks left MemTotal")
        expect(_state(guest)["voluntary_bytes"] == 50 * _BLOCK, str(_state(guest)))
        # Whichever blocks come back: those that had left MemTotal too, of the highest window.
        freed = _move(guest, "give-window 6")["freed"]
        expect(freed > 20 and _mem(guest, "MemTotal") == total - 424 * MIB, f"{freed}, {total} -> {_mem(guest, 'MemTotal')}")
        expect(_move(guest, f"take {freed}")["taken"] == freed, str(_state(guest)))
        _set_target(guest, 1024 * MIB)
        wait_until(lambda: _mem(guest, "MemTotal") == total, 5, lambda: f"{total} -> {_mem(guest, 'MemTotal')}")
        expect(_state(guest)["voluntary_bytes"] == 50 * _BLOCK, "voluntary blocks went with the forced ones")
        _expect_no_trouble(guest)


@case(each={"properties": ["", "deflate-on-oom=on", "free-page-reporting=on,free-page-hint=on,iothread=io", "page-poison=off"]})
def every_set_of_features_moves_memory(properties):
    arguments = ["-object", "iothread,id=io"] if "iothread" in properties else []
    with Guest(_options(balloon_properties=properties, qemu_args=arguments)) as guest:
        guest.run("acma-workload spike --mib 600")
        expect(guest.host_bytes() > 550 * MIB, f"host bytes {guest.host_bytes() >> 20} MiB: nothing to test")
        _set_target(guest, 500 * MIB)
        wait_until(lambda: guest.host_bytes() <= 500 * MIB, 20, lambda: f"host bytes {guest.host_bytes() >> 20} MiB")
        _set_target(guest, 1024 * MIB)
        expect(_move(guest, "take 100")["taken"] == 100, "not taken")
        expect(_move(guest, "give 100")["freed"] == 100, "not given back")
        guest.run("rmmod acma_balloon")
        _expect_no_trouble(guest)


@case()
def the_host_gets_all_statistics_that_it_knows():
    with Guest(_options()) as guest:
        device = "/machine/peripheral/balloon"
        guest.qmp.command("qom-set", path=device, property="guest-stats-polling-interval", value=1)
        stats = {}

        def seen():
            nonlocal stats
            stats = guest.qmp.command("qom-get", path=device, property="guest-stats")["stats"]
            return stats.get("stat-free-memory", 0) > 0

        wait_until(seen, 10, lambda: str(stats))
        absent = [name for name, value in stats.items() if value == 2**64 - 1]
        expect(not absent, f"not told: {absent}")
        expect(stats["stat-total-memory"] == _mem(guest, "MemTotal"), str(stats))


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def voluntary_blocks_are_the_guests_own_affair(kernel):
    with Guest(_options(kernel)) as guest:
        guest.run("acma-workload spike --mib 700")
        total, full = _mem(guest, "MemTotal"), guest.host_bytes()
        before = _state(guest)
        taken = _move(guest, "take 350")
        expect(taken["taken"] == 350, str(taken))
        expect(_actual(guest) == 1024 * MIB, "the host was told of them")
        expect(_mem(guest, "MemTotal") == total, "MemTotal changed")
        # On a slow machine free page reporting has given some of the 700 MiB away before.
        enough = max(full - 500 * MIB, (1024 - 700) * MIB)
        wait_until(lambda: guest.host_bytes() < enough, 10, lambda: f"{full >> 20} -> {guest.host_bytes() >> 20} MiB")
        sent = _state(guest)["descriptors"]
        expect(0 < sent - before["descriptors"] <= 64, f"{sent - before['descriptors']} descriptors for 350 blocks")
        expect(_move(guest, "give 350")["freed"] == 350, "not given back")
        expect(_actual(guest) == 1024 * MIB, "the host was told of it")
        _expect_no_trouble(guest)


@case()
def blocks_that_the_host_asks_for_are_not_the_agents_to_give():
    with Guest(_options()) as guest:
        _set_target(guest, 800 * MIB)
        given = _move(guest, "give 50")
        expect(given.get("freed", 0) == 0 and given["forced"] > 0, str(given))
        _move(guest, "take 10")
        given = _move(guest, "give 50")
        expect(given["freed"] == 10, str(given))
        expect(_actual(guest) == 800 * MIB, "actual changed")


@case(alone=True)
def voluntary_blocks_come_back_some_time_after_the_agent_has_gone_or_hangs():
    with Guest(_options()) as guest:
        _move(guest, "take 100")
        guest.run("acma-blocks attach 1")  # hold-off: 5 s
        expect(_state(guest)["owned_bytes"] == 100 * _BLOCK, "they did not stay")
        time.sleep(3)
        expect(_state(guest)["owned_bytes"] == 100 * _BLOCK, "they did not stay for the hold-off")
        wait_until(lambda: _state(guest)["owned_bytes"] == 0, 20, lambda: str(_state(guest)))
        _move(guest, "take 100")
        guest.run("acma-blocks hang 60 >/dev/null &")
        wait_until(lambda: _state(guest)["owned_bytes"] == 0, 40, lambda: str(_state(guest)))
        _expect_no_trouble(guest)


@case(each={"kernel": KERNELS}, timeout_s=200)
def memory_comes_back_before_the_kernel_kills_for_it(kernel):
    for attached in ("", "acma-blocks attach 100 >/dev/null & sleep 1; "):
        with Guest(_options(kernel, cmdline="sysctl.vm.overcommit_memory=0")) as guest:
            taken = _move(guest, "take 400")
            expect(taken["taken"] > 330, str(taken))
            result = guest.run(attached + "acma-workload spike --mib 780", timeout=100, check=False)
            expect(result.status == 0, f"attached: {attached}: {result.output}\n" + guest.run("dmesg | tail -20"))
            freed = _state(guest)["oom_freed_bytes"] + _state(guest)["pressure_freed_bytes"]
            expect(freed > 300 * MIB, str(_state(guest)))
            _expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def what_came_back_on_oom_is_not_taken_again_at_once(kernel):
    with Guest(_options(kernel)) as guest:
        _set_target(guest, 400 * MIB)
        guest.run("acma-workload spike --mib 600", timeout=100)
        expect(_state(guest)["owned_bytes"] < 450 * MIB, f"nothing to test: {_state(guest)}")
        guest.qmp.command("balloon", value=410 * MIB)  # the host may move its target meanwhile
        time.sleep(10)
        expect(_state(guest)["owned_bytes"] < 450 * MIB, str(_state(guest)))
        wait_until(lambda: _actual(guest) == 410 * MIB, 40, lambda: str(_state(guest)))
        _expect_no_trouble(guest)


@case(each={"kernel": KERNELS})
def what_makes_no_sense_is_refused_and_changes_nothing(kernel):
    with Guest(_options(kernel)) as guest:
        expect(guest.run("acma-blocks refused", check=False).output.strip() == "all refused", guest.run("acma-blocks refused", check=False).output)
        guest.run("acma-blocks attach 30 >/dev/null & sleep 1")
        output = guest.run("acma-blocks attach 1 2>&1", check=False).output
        expect("busy" in output, output)
        expect(guest.run("stat -c %a /dev/acma").strip() == "600", "the node's mode")


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def memory_that_holds_blocks_goes_offline_and_comes_back(kernel):
    with Guest(_options(kernel)) as guest:
        _move(guest, "take 300 free")
        lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
        window = next(line["window"] for line in lines if line["owned"] == line["present"] == 64)
        before, total = _state(guest), _mem(guest, "MemTotal")
        memory = f"/sys/devices/system/memory/memory{window}"
        guest.run(f"echo offline >{memory}/state")
        expect(_state(guest)["owned_bytes"] == before["owned_bytes"] - 128 * MIB, str(_state(guest)))
        expect(_mem(guest, "MemTotal") == total - 128 * MIB, "MemTotal")
        guest.run(f"echo online >{memory}/state")
        expect(_mem(guest, "MemTotal") == total, "MemTotal after it came back")
        lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
        line = next(line for line in lines if line["window"] == window)
        expect(line["present"] == 64 and line["owned"] == 0, str(line))
        # Memory with pages of the kernel's own does not go offline; what is owned in it stays owned.
        _move(guest, "take-window 0")
        before = _state(guest)
        result = guest.run("echo offline >/sys/devices/system/memory/memory0/state", check=False)
        expect(result.status != 0, "the kernel's own memory went offline")
        first = json.loads(guest.run("acma-blocks map").splitlines()[0])
        expect(first["window"] == 0 and first["owned"] > 0, f"nothing owned there, nothing tested: {first}")
        expect(_state(guest)["owned_bytes"] == before["owned_bytes"], f"{before} -> {_state(guest)}")
        guest.run("acma-blocks give 1000; rmmod acma_balloon")
        _expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def a_target_that_cannot_be_met_is_tried_now_and_then_and_said_once(kernel):
    with Guest(_options(kernel)) as guest:
        guest.qmp.command("balloon", value=16 * MIB)
        wait_until(lambda: "can be had" in guest.run("dmesg"), 60, lambda: str(_state(guest)))
        idle_before = guest.run("awk '/^cpu /{print $5}' /proc/stat")
        time.sleep(6)
        idle = int(guest.run("awk '/^cpu /{print $5}' /proc/stat")) - int(idle_before)
        expect(idle > 600, f"only {idle} of 1200 ticks idle")
        expect(guest.run("dmesg").count("can be had") == 1, "said more than once")
        # Not by MemAvailable: pages on per-CPU lists, up to the low watermark in all, are not in it.
        guest.run("acma-workload spike --mib 24")
        expect(_state(guest)["oom_freed_bytes"] == 0, "no floor was kept")
        _set_target(guest, 1024 * MIB)
        expect(_state(guest)["owned_bytes"] == 0, str(_state(guest)))
        _expect_no_trouble(guest)


def _soak(kernel, seconds, seed):
    """Blocks and the host's target move at random under a workload that knows every byte of its memory."""
    rng = random.Random(seed)
    with Guest(_options(kernel, memory_mib=1536, swap="disk:1024")) as guest:
        total = _mem(guest, "MemTotal")
        workload = f"acma-workload touch --mib 500 --hot-mib 300 --period-ms 50 --seconds {seconds} --verify 1"
        guest.run(f"{{ {workload} >/tmp/w.log; echo $? >/tmp/w.end; }} &")
        churn = "while :; do dd if=/dev/zero of=/tmp/churn bs=1M count=100 2>/dev/null; rm /tmp/churn; done"
        guest.run(f"({churn}) & echo $! >/tmp/churn.pid")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/w.log"), 60, "the workload did not start")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            what = rng.randrange(4)
            if what == 0:
                guest.qmp.command("balloon", value=rng.randrange(700, 1537) * MIB + 4096 * rng.randrange(256))
            elif what == 1:
                guest.run(f"acma-blocks take {rng.randrange(1, 300)}", timeout=120)
            elif what == 2:
                guest.run(f"acma-blocks give {rng.randrange(1, 300)}")
            else:
                time.sleep(rng.random())
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 120, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
        guest.run("kill $(cat /tmp/churn.pid); rm -f /tmp/churn")
        _set_target(guest, 1536 * MIB)
        guest.run("acma-blocks give 100000")
        state = _state(guest)
        expect(state["owned_bytes"] == 0 and state["taken_bytes"] == state["freed_bytes"], str(state))
        expect(_mem(guest, "MemTotal") == total, "MemTotal")
        guest.run("rmmod acma_balloon")
        _expect_no_trouble(guest)


@case(each={"kernel": KERNELS}, timeout_s=300)
def no_byte_is_lost_while_blocks_come_and_go(kernel):
    _soak(kernel, 30, 1)


@case(each={"kernel": []}, full_each=KERNELS, timeout_s=1200)
def no_byte_is_lost_in_ten_minutes_of_blocks_that_come_and_go(kernel):
    _soak(kernel, 600, 2)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def the_module_goes_under_load_and_returns_everything(kernel):
    with Guest(_options(kernel)) as guest:
        total = _mem(guest, "MemTotal")
        guest.run("{ acma-workload touch --mib 300 --hot-mib 200 --period-ms 50 --seconds 20 --verify 1 >/tmp/w.log; echo $? >/tmp/w.end; } &")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/w.log"), 60, "the workload did not start")
        _set_target(guest, 800 * MIB)
        guest.run("acma-blocks take 100; rmmod acma_balloon")
        expect(guest.run("ls /dev/acma", check=False).status != 0, "/dev/acma is left")
        expect(_mem(guest, "MemTotal") == total, "MemTotal")
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 60, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
        guest.run("insmod /lib/modules/acma_balloon.ko; acma-blocks take 10")
        _expect_no_trouble(guest)


def _start_checked_workload(guest, seconds):
    guest.run("acma-blocks attach 1000 >/dev/null &")  # else the module gives blocks back after a while
    workload = f"acma-workload touch --mib 400 --hot-mib 300 --period-ms 100 --seconds {seconds} --verify 1"
    guest.run(f"{{ {workload} >/tmp/w.log; echo $? >/tmp/w.end; }} &")
    wait_until(lambda: "rounds" in guest.run("cat /tmp/w.log"), 60, "the workload did not start")


def _expect_as_it_was(guest, before, workload_s):
    """After a move to another QEMU: the size that was voluntary is no limit, nothing is lost, and blocks come back."""
    after = _state(guest)
    for field in ("owned_bytes", "voluntary_bytes", "target_bytes", "actual_bytes"):
        expect(after[field] == before[field], f"{field}: {before} -> {after}")
    expect(_actual(guest) == 1024 * MIB, f"actual {_actual(guest)}: a voluntary size became a limit")
    guest.run("acma-blocks rereport")
    expect(guest.host_bytes() < 1024 * MIB - after["owned_bytes"] + 16 * MIB, f"host bytes {guest.host_bytes() >> 20} MiB")
    expect(_move(guest, "give 1000")["freed"] * _BLOCK == before["owned_bytes"], "not all came back")
    wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, workload_s + 60, "the workload did not end")
    expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
    _expect_no_trouble(guest)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=400)
def blocks_go_along_with_a_live_migration(kernel):
    for postcopy in (False, True):
        with Guest(_options(kernel)) as source:
            _start_checked_workload(source, 40)
            _move(source, "take 150")
            before = _state(source)
            with Guest(_options(kernel), incoming=True) as target:
                target.take_over(source, postcopy)
                _expect_as_it_was(target, before, 40)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"], timeout_s=300)
def blocks_go_along_with_save_and_restore(kernel):
    with Guest(_options(kernel)) as source:
        _start_checked_workload(source, 30)
        _move(source, "take 150")
        before = _state(source)
        image = os.path.join(source.directory, "saved")
        source.save(image)
        with Guest(_options(kernel), incoming=True) as target:
            target.load(image)
            _expect_as_it_was(target, before, 30)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def blocks_come_from_both_nodes_and_from_above_4_gib(kernel):
    memory = ["-m", "5G"]
    for node, size, cpus in ((0, 4096, ",cpus=0-1"), (1, 1024, "")):
        memory += ["-object", f"memory-backend-ram,id=m{node},size={size}M", "-numa", f"node,nodeid={node},memdev=m{node}{cpus}"]
    with Guest(_options(kernel, memory_mib=5120, memory_args=memory, ram_block_mib=[4096, 1024])) as guest:
        lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
        expect({line["node"] for line in lines} == {0, 1}, str(lines))
        expect({line["zone"] for line in lines} == {0, 1, 2}, "zones DMA, DMA32 and Normal")
        _set_target(guest, 1536 * MIB)
        lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
        owned = {node: sum(line["owned"] for line in lines if line["node"] == node) for node in (0, 1)}
        expect(owned[1] > 400 and owned[0] > 1000, f"owned by node: {owned}")
        for node in (0, 1):  # none of them is emptied: each keeps what its zones need
            free = int(guest.run(f"awk '/MemFree/{{print $4}}' /sys/devices/system/node/node{node}/meminfo")) * 1024
            expect(free > 16 * MIB, f"node {node} has {free >> 20} MiB free")
        _set_target(guest, 5120 * MIB)
        expect(_state(guest)["owned_bytes"] == 0, str(_state(guest)))
        guest.run("rmmod acma_balloon")
        _expect_no_trouble(guest)


def _memory_block(guest, number):
    return guest.run(f"cat /sys/devices/system/memory/memory{number}/state").strip()


@case(each={"kernel": KERNELS})
def free_memory_blocks_are_taken_without_being_zeroed_on_their_way(kernel):
    options = _options(kernel, cmdline="init_on_alloc=1", balloon_properties="deflate-on-oom=on,free-page-reporting=on")
    with Guest(options) as guest:
        total, before = _mem(guest, "MemTotal"), guest.host_bytes()
        found = _move(guest, "recycle 4")
        expect(found["taken"] == 4 * 64, f"{found}\n{guest.run('acma-blocks map')}")
        state = _state(guest)
        expect(state["owned_bytes"] == state["voluntary_bytes"] == 4 * 64 * _BLOCK and state["pending_bytes"] == 0, str(state))
        expect(_mem(guest, "MemTotal") == total, "voluntary blocks left MemTotal")
        grown = guest.host_bytes() - before
        expect(grown < 64 * MIB, f"{grown >> 20} MiB of the host were touched to give 512 MiB away")
        expect(_move(guest, "recycle 9")["taken"] <= 64, "more than the floor allows")
        _move(guest, "give 1000")
        expect(_mem(guest, "MemTotal") == total and _state(guest)["owned_bytes"] == 0, str(_state(guest)))
        guest.run("acma-workload touch --mib 700 --seconds 1 --verify 1", timeout=120)
        _set_target(guest, 700 * MIB)
        _move(guest, "recycle 2")
        guest.run("rmmod acma_balloon")
        expect(_mem(guest, "MemTotal") == total, "memory is missing without the module")
        _expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def a_memory_block_that_was_left_offline_comes_back(kernel):
    """Whoever recycled it was killed, and so was the process that would have brought it online."""
    with Guest(_options(kernel, add=[WORKLOAD, BLOCKS, AGENT], files={"/etc/acma/agent.toml": "[policy]\nstandalone = true\n"})) as guest:
        total = _mem(guest, "MemTotal")
        window = _whole_window(guest)
        memory = f"/sys/devices/system/memory/memory{window}/state"
        guest.run(f"acma-blocks keep {window} >/tmp/keep & echo $! >/tmp/pid; while ! grep -q kept /tmp/keep; do sleep 0.1; done")
        guest.run(f"echo offline >{memory}; kill -9 $(cat /tmp/pid); wait")
        expect(_state(guest)["gone_window"] == window, str(_state(guest)))
        guest.run("acma-agent run >/tmp/agent.log 2>&1 &")
        wait_until(lambda: _memory_block(guest, window) == "online", 20, lambda: guest.run("cat /tmp/agent.log"))
        expect(_state(guest)["gone_window"] == 2**64 - 1 and _mem(guest, "MemTotal") == total, str(_state(guest)))
        # One that is killed in good order: nothing is kept any more, the memory is free again.
        guest.run(f"kill $(pidof acma-agent); sleep 1; acma-blocks keep {window} & sleep 1; kill -9 $!; acma-blocks give 1000")
        guest.run(f"echo offline >{memory}; echo online >{memory}")
        expect(_mem(guest, "MemTotal") == total and _state(guest)["owned_bytes"] == 0, str(_state(guest)))
        _expect_no_trouble(guest)


@case(each={"kernel": KERNELS}, full=True, timeout_s=2400)
def a_guest_in_huge_pages_gives_all_that_is_taken_back_to_the_host(kernel):
    """By the report queue and by the inflate queue. The host is itself a guest: huge pages are never this machine's."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with tempfile.TemporaryDirectory(prefix="acma-", dir="/var/tmp") as directory:
        figures = os.path.join(directory, "figures.json")
        bench = [sys.executable, "-m", "tests.bench.run", "balloon", "--kernel", kernel, "--case", "hugetlb", "--json", figures]
        done = subprocess.run(bench, cwd=top, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stdout + done.stderr)
        with open(figures, encoding="utf-8") as file:
            row = next(row for row in json.load(file)["rows"] if row["metric"] == "hugetlb_freed_pct")
        expect(row["ours"] == 100 and row["peers"]["stock"] == 0, str(row))
