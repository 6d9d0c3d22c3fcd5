# SPDX-License-Identifier: Apache-2.0
"""The agent and the balloon shim together: what one of them promises holds whatever becomes of the other."""

import json
import random
import time

from tests.rig.qemu import Guest

from . import blocks
from .harness import AGENT, BLOCKS, DEADMAN, KERNELS, MIB, WORKLOAD, case, expect, wait_until

_RAM = 1536 * MIB
_MIN_MEM = 448 * MIB
_AGENT = 'acma-agent run --verbose --deadman "$(command -v acma-deadman)" 2>>/tmp/agent.log'


def _options(kernel, **changes):
    policy = f'[policy]\nstandalone = true\nmin-mem = "{_MIN_MEM >> 20}MiB"\npsi = "0.1%"\n'
    add = [AGENT, DEADMAN, WORKLOAD, BLOCKS]
    settings = {"memory_mib": _RAM >> 20, "add": add, "files": {"etc/acma/agent.toml": policy}}
    return blocks.options(kernel, **{**settings, **changes})


def _oom_kills(guest):
    return int(guest.run("awk '/^oom_kill /{print $2}' /proc/vmstat"))


def _limit(guest):
    return blocks.mem(guest, "CommitLimit")


def _size(state):
    return state["ram_bytes"] - state["owned_bytes"]


def _wait_for_min_mem(guest):
    """The agent takes what is free, down to min-mem and no further."""
    wait_until(
        lambda: _size(blocks.state(guest)) < _MIN_MEM + 8 * MIB,
        90,
        lambda: f"{blocks.state(guest)}\n" + guest.run("acma-agent status; tail -5 /tmp/agent.log"),
    )
    expect(_size(blocks.state(guest)) >= _MIN_MEM, f"below min-mem: {blocks.state(guest)}")


@case(each={"how": ["6.12, overcommit 0", "7.3, overcommit 2"]}, full_each=["7.3, overcommit 0", "6.12, overcommit 2"])
def a_guest_at_min_mem_gives_one_process_most_of_max_mem(how):
    """No swap, max-mem is all of its RAM; one mapping of 80 % of it, touched at once."""
    kernel, mode = how.split(", overcommit ")
    words = f"sysctl.vm.overcommit_memory={mode}" + (" sysctl.vm.overcommit_ratio=100" if mode == "2" else "")
    with Guest(_options(kernel, cmdline=words)) as guest:
        expect(guest.run("cat /proc/sys/vm/overcommit_memory").strip() == mode, "the kernel's mode")
        total, limit = blocks.mem(guest, "MemTotal"), _limit(guest)
        guest.run(f"{_AGENT} &")
        _wait_for_min_mem(guest)
        expect(blocks.mem(guest, "MemTotal") == total, "MemTotal changed")
        expect(_limit(guest) == limit, f"CommitLimit {limit >> 20} -> {_limit(guest) >> 20} MiB")
        result = guest.run(f"acma-workload spike --mib {_RAM * 8 // 10 >> 20}", timeout=100, check=False)
        expect(result.status == 0, f"{result.output}\n{blocks.state(guest)}\n" + guest.run("dmesg | tail -20"))
        expect(_oom_kills(guest) == 0, "an OOM kill")
        blocks.expect_no_trouble(guest)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def what_the_host_asks_for_lowers_commitlimit_and_what_the_guest_gives_by_itself_does_not(kernel):
    words = "sysctl.vm.overcommit_memory=2 sysctl.vm.overcommit_ratio=100"
    for properties, lowers in (("free-page-reporting=on", True), ("free-page-reporting=on,deflate-on-oom=on", False)):
        with Guest(_options(kernel, cmdline=words, balloon_properties=properties)) as guest:
            limit = _limit(guest)
            expect(blocks.move(guest, "take 200")["taken"] == 200, "not taken")
            expect(_limit(guest) == limit, f"voluntary blocks: CommitLimit {limit >> 20} -> {_limit(guest) >> 20} MiB")
            blocks.set_target(guest, _RAM - 200 * MIB)
            forced = limit - _limit(guest)
            expect(forced == (200 * MIB if lowers else 0), f"{properties}: CommitLimit fell by {forced >> 20} MiB")
            blocks.set_target(guest, _RAM)
            expect(_limit(guest) == limit, f"CommitLimit {limit >> 20} -> {_limit(guest) >> 20} MiB")


def _kill_at_random(guest, rng, seconds):
    """Agents that live for a moment each: while they start, attach, take, give."""
    owned, killed = set(), 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        guest.run(f"{_AGENT} & pid=$!; usleep {rng.randrange(50_000, 4_000_000)}; kill -9 $pid", timeout=60)
        killed += 1
        owned.add(blocks.state(guest)["owned_bytes"])
        if rng.randrange(3) == 0:
            guest.qmp.command("balloon", value=rng.randrange(1000, 1537) * MIB)
    return owned, killed


def _expect_hold_off_then_return(guest):
    """30 s is what the agent asks for when it attaches."""
    guest.run(f"{_AGENT} & echo $! >/tmp/agent.pid")
    wait_until(lambda: blocks.state(guest)["owned_bytes"] > 300 * MIB, 60, lambda: guest.run("tail -20 /tmp/agent.log"))
    # Each of its threads dies when its last call is done.
    tasks = "[ -e $proc/exe ] || [ $(ls $proc/task | wc -l) -gt 1 ]"
    guest.run(f"proc=/proc/$(cat /tmp/agent.pid); kill -9 ${{proc#/proc/}}; while {tasks}; do usleep 10000; done")
    owned = blocks.state(guest)["owned_bytes"]
    up = guest.run("cut -d' ' -f1 /proc/uptime")
    while float(guest.run("cut -d' ' -f1 /proc/uptime")) < float(up) + 25:
        expect(blocks.state(guest)["owned_bytes"] == owned, f"owned {owned} -> {blocks.state(guest)}: they did not stay")
        time.sleep(1)
    wait_until(lambda: blocks.state(guest)["owned_bytes"] == 0, 60, lambda: str(blocks.state(guest)))


def _agents_die(kernel, seconds, seed):
    rng = random.Random(seed)
    with Guest(_options(kernel, swap="disk:1536")) as guest:
        total = blocks.mem(guest, "MemTotal")
        workload = "acma-workload touch --mib 300 --hot-mib 150 --period-ms 50 --verify 1"
        guest.run(f"{{ {workload} --seconds {seconds} >/tmp/w.log; echo $? >/tmp/w.end; }} &")
        churn = "while :; do acma-workload spike --mib 500 >/dev/null; dd if=/dev/zero of=/tmp/c bs=1M count=100; rm /tmp/c; sleep 1; done"
        guest.run(f"({churn}) >/dev/null 2>&1 & echo $! >/tmp/churn.pid")
        owned, killed = _kill_at_random(guest, rng, seconds)
        expect(killed >= seconds / 10 and len(owned) > 2, f"{killed} agents, owned {owned}: nothing was taken or given")
        guest.run("kill $(cat /tmp/churn.pid); rm -f /tmp/c")
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 90, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
        guest.qmp.command("balloon", value=_RAM)
        _expect_hold_off_then_return(guest)
        state = blocks.state(guest)
        expect(state["taken_bytes"] == state["freed_bytes"] and state["pending_bytes"] == 0, str(state))
        lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
        expect(sum(line["owned"] for line in lines) == 0, str(lines))
        expect(blocks.mem(guest, "MemTotal") == total, f"MemTotal {total} -> {blocks.mem(guest, 'MemTotal')}")
        expect(_oom_kills(guest) == 0, "an OOM kill")
        guest.run("rmmod acma_balloon")
        blocks.expect_no_trouble(guest)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=400)
def agents_are_killed_at_any_moment_and_the_module_keeps_its_promises(kernel):
    _agents_die(kernel, 25, 5)


@case(each={"kernel": []}, full_each=KERNELS, timeout_s=1000)
def agents_are_killed_at_any_moment_for_minutes_and_the_module_keeps_its_promises(kernel):
    _agents_die(kernel, 400, 6)
