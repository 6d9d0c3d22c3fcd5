# SPDX-License-Identifier: Apache-2.0
"""Contiguous memory on request, and DRAM power saving: what is for machines without a balloon device, too."""

import json

from tests.rig.qemu import Guest

from .blocks import expect_no_trouble, mem, move, options, state
from .harness import AGENT, BLOCKS, DEADMAN, KERNELS, MIB, WORKLOAD, case, expect, wait_until


def _pool(guest):
    return state(guest)["pool_bytes"]


def _standalone(kernel, **changes):
    """A guest as a bare-metal machine is: no balloon device, the module loaded by hand."""
    return options(kernel, **{"balloon": False, "boot": "rmmod acma_balloon; insmod /lib/modules/acma_balloon.ko standalone=1", **changes})


def _hold(guest, words, name="pool"):
    """A pool that is held until its holder's input ends, or until it is killed. What its holder found."""
    guest.run(f"mkfifo /tmp/{name}.in; acma-blocks pool {words} </tmp/{name}.in >/tmp/{name} 2>&1 & echo $! >/tmp/{name}.pid")
    guest.run(f"sleep 1000 >/tmp/{name}.in & echo $! >/tmp/{name}.end")
    output = wait_until(lambda: guest.run(f"cat /tmp/{name}").strip(), 60, "the pool was not made")
    expect(output.startswith("{"), output)
    return json.loads(output)


def _expect_good(found):
    wrong = [name for name in ("contiguous", "zero", "shared", "refuses", "closes_on_exec") if not found[name]]
    expect(not wrong, f"not so: {wrong}: {found}")


def _dirty(guest):
    """All free memory once, so that nothing is zero by chance."""
    guest.run("acma-workload spike --mib 800")


def _free(guest):
    """MemFree, with what is on the CPUs' own lists: making a pool empties them."""
    guest.run("acma-blocks pool 1 </dev/null")
    return mem(guest, "MemFree")


def _settles(guest, before):
    wait_until(lambda: _free(guest) > before - 8 * MIB, 10, lambda: f"free: {before} -> {_free(guest)}")


@case(each={"kernel": KERNELS})
def a_pool_is_contiguous_and_zero_and_free_again_when_its_last_mapping_is_gone(kernel):
    # No free page reporting: while a report is on its way, up to 32 free blocks of 4 MiB are not in MemFree.
    with Guest(options(kernel, cmdline="init_on_alloc=0", balloon_properties="deflate-on-oom=on")) as guest:
        _dirty(guest)
        before = _free(guest)
        owned = state(guest)["owned_bytes"]
        for blocks in (1, 3, 32, 100):
            # The holder has closed the descriptor: only the mapping is left.
            _expect_good(_hold(guest, blocks))
            expect(_pool(guest) == blocks * 2 * MIB, str(state(guest)))
            expect(state(guest)["owned_bytes"] == owned, "the map owns it")
            free = mem(guest, "MemFree")
            expect(free < before - blocks * 2 * MIB + 8 * MIB, f"{blocks} blocks: {before} -> {free} bytes free")
            result = guest.run("rmmod acma_balloon 2>&1", check=False)
            expect(result.status != 0, "the module went while its memory was in use")
            guest.run("kill $(cat /tmp/pool.end)")
            wait_until(lambda: _pool(guest) == 0, 10, lambda: str(state(guest)))
            guest.run("rm -f /tmp/pool*")
        _settles(guest, before)
        _hold(guest, 64)
        guest.run("kill -9 $(cat /tmp/pool.pid)")
        wait_until(lambda: _pool(guest) == 0, 10, lambda: str(state(guest)))
        _settles(guest, before)
        expect(guest.run("acma-blocks pool-pinned").strip() == "kept", "a page that a pipe held was used for something else")
        guest.run("rmmod acma_balloon")
        expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def a_pool_is_had_by_migration_and_stays_under_pressure_and_hotplug(kernel):
    with Guest(_standalone(kernel)) as guest:
        # Every other block's half is used: no two free ones are adjacent.
        guest.run("acma-workload holes --mib 500 --period-ms 500 >/tmp/w.log 2>&1 &")
        wait_until(lambda: "holes" in guest.run("cat /tmp/w.log"), 60, "the workload did not fill its memory")
        found = _hold(guest, 128)
        _expect_good(found)
        memory = f"/sys/devices/system/memory/memory{found['first'] // 64}/state"
        result = guest.run(f"echo offline >{memory}", check=False, timeout=60)
        expect(result.status != 0 and guest.run(f"cat {memory}").strip() == "online", "its memory went offline")
        taken = move(guest, "take 1000")
        expect(taken["taken"] > 0 and _pool(guest) == 256 * MIB, f"{taken} {state(guest)}")
        guest.run("acma-workload spike --mib 150")
        expect(_pool(guest) == 256 * MIB, f"it was given back: {state(guest)}")
        guest.run("kill $(cat /tmp/pool.end)")
        wait_until(lambda: _pool(guest) == 0, 10, lambda: str(state(guest)))
        expect_no_trouble(guest)


@case()
def a_pool_leaves_the_floor_alone_and_says_why_there_is_none():
    with Guest(_standalone("6.12")) as guest:
        floor, available = state(guest)["floor_bytes"], mem(guest, "MemAvailable")
        expect(available < 1024 * MIB, "nothing to test")
        output = guest.run("acma-blocks pool 512 </dev/null 2>&1", check=False).output
        expect("annot allocate memory" in output or "busy" in output, output)
        guest.run("for i in 1 2 3 4 5 6 7 8 9; do (sleep 1000 | acma-blocks pool 64 >>/tmp/out 2>&1) & done")
        wait_until(lambda: len(guest.run("cat /tmp/out").split("\n")) > 9, 120, lambda: guest.run("cat /tmp/out"))
        expect("Cannot allocate memory" in guest.run("cat /tmp/out") or "Out of memory" in guest.run("cat /tmp/out"), guest.run("cat /tmp/out"))
        expect(_pool(guest) >= 3 * 128 * MIB, str(state(guest)))
        expect(mem(guest, "MemAvailable") > floor - 16 * MIB, f"{mem(guest, 'MemAvailable')} available, the floor is {floor}")
        expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def a_pool_is_of_the_node_that_was_asked_for(kernel):
    nodes = ["-m", "1024"]
    for node in (0, 1):
        nodes += ["-object", f"memory-backend-ram,id=m{node},size=512M", "-numa", f"node,nodeid={node},memdev=m{node}" + (",cpus=0-1" if node == 0 else "")]
    with Guest(options(kernel, memory_args=nodes, ram_block_mib=[512, 512])) as guest:
        lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
        for node in (1, 0):
            found = json.loads(guest.run(f"acma-blocks pool 40 {node} </dev/null"))
            _expect_good(found)
            line = next(line for line in lines if line["window"] == found["first"] // 64)
            expect(line["node"] == node, f"asked for node {node}: {found} {line}")
        expect_no_trouble(guest)


@case()
def the_agent_runs_a_command_with_a_pool():
    with Guest(_standalone("6.12", add=[AGENT, BLOCKS, WORKLOAD])) as guest:
        shows = "readlink /proc/self/fd/$ACMA_POOL_FD; acma-blocks state"
        output = guest.run(f"acma-agent pool --size 64MiB --node 0 -- sh -c '{shows}'")
        expect("acma-pool" in output and f'"pool_bytes": {64 * MIB}' in output, output)
        expect(_pool(guest) == 0, str(state(guest)))
        for words, status, what in (
            ("--size 3MiB -- true", 2, "in steps of 2 MiB"),
            ("--size 64 -- true", 2, "--size"),
            ("--size 2GiB -- true", 2, "1 GiB"),
            ("--size 64MiB", 2, "command"),
            ("--size 64MiB --node 7 -- true", 1, "no such node"),
            ("--size 1GiB -- true", 1, "contiguous memory"),
            ("--size 2MiB -- /no/such/program", 1, "/no/such/program"),
        ):
            result = guest.run(f"acma-agent pool {words} 2>&1", check=False)
            expect(result.status == status and what in result.output, f"{words}: {result.status} {result.output}")
        expect(_pool(guest) == 0, str(state(guest)))


_SAVING = '[policy]\nstandalone = true\nmin-mem = "256MiB"\npsi = "0.1%"\n[scaling]\nmode = "power-saving"\n'
_RECORD = "/run/acma-agent/offline"


def _offline(guest):
    return sorted(int(number) for number in guest.run("grep -l offline /sys/devices/system/memory/memory*/state | tr -dc '0-9\\n'").split())


def _save_power(guest):
    """The agent, and which memory blocks it has taken offline when no more of them go."""
    guest.run("acma-agent run >>/tmp/agent.log 2>&1 & echo $! >/tmp/agent.pid")
    wait_until(lambda: len(_offline(guest)) >= 2, 90, lambda: f"{_offline(guest)} {state(guest)}\n" + guest.run("cat /tmp/agent.log; acma-blocks map"))
    return _offline(guest)


@case(each={"kernel": KERNELS})
def memory_that_is_wholly_taken_goes_offline_and_comes_back_when_it_is_needed(kernel):
    files = {"etc/acma/agent.toml": _SAVING, "etc/observe.toml": '[policy]\nstandalone = true\nmode = "observe"\n'}
    add = [AGENT, DEADMAN + ":/usr/libexec/acma-deadman", BLOCKS, WORKLOAD]
    with Guest(_standalone(kernel, add=add, files=files, cmdline="sysctl.vm.overcommit_memory=1")) as guest:
        total = mem(guest, "MemTotal")
        _save_power(guest)
        wait_until(lambda: _offline(guest) == sorted(int(line) for line in guest.run(f"cat {_RECORD}").split()), 20, "the record is another one")
        status = json.loads(guest.run("acma-agent status --json"))
        expect(status["owned_bytes"] >= 2 * 128 * MIB, str(status))
        # More than what is online: some of it has to come back, and nobody is killed for it.
        online = mem(guest, "MemTotal")
        expect(online < total - 250 * MIB, f"{total} -> {online}")
        result = guest.run("acma-workload spike --mib 800", timeout=100, check=False)
        expect(result.status == 0, result.output + guest.run("dmesg | tail -20; tail /tmp/agent.log"))
        wait_until(lambda: len(_offline(guest)) >= 2, 120, lambda: guest.run("cat /tmp/agent.log"))
        guest.run("kill -9 $(cat /tmp/agent.pid)")
        left = _offline(guest)
        expect(left, "nothing left, nothing tested")
        guest.run("acma-agent --config /etc/observe.toml run >>/tmp/agent.log 2>&1 & echo $! >/tmp/agent.pid")
        wait_until(lambda: not _offline(guest), 20, lambda: f"left {left}, still {_offline(guest)}: {guest.run('cat /tmp/agent.log')}")
        guest.run("kill $(cat /tmp/agent.pid); sleep 1")
        _save_power(guest)
        guest.run("kill $(cat /tmp/agent.pid)")
        wait_until(lambda: not _offline(guest), 20, lambda: f"still {_offline(guest)}: {guest.run('cat /tmp/agent.log')}")
        expect(mem(guest, "MemTotal") == total, f"MemTotal {total} -> {mem(guest, 'MemTotal')}")
        expect_no_trouble(guest)
