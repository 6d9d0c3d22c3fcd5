# SPDX-License-Identifier: Apache-2.0
"""The balloon shim in guests whose memory is plugged in, pulled out and taken offline while blocks in it are owned."""

import time

from tests.rig.qemu import Guest

from . import blocks
from .harness import KERNELS, MIB, case, expect, wait_until


def _options(kernel, **changes):
    memory = {"memory_args": ["-m", "1G,slots=4,maxmem=64G"], "ram_block_mib": [1024]}
    return blocks.options(kernel, cmdline="memhp_default_state=online_movable init_on_alloc=0", **memory, **changes)


def _plug(guest, mib):
    total = blocks.mem(guest, "MemTotal")
    guest.qmp.command("object-add", **{"qom-type": "memory-backend-ram", "id": "more", "size": mib * MIB})
    guest.qmp.command("device_add", driver="pc-dimm", id="dimm", memdev="more")
    wait_until(lambda: blocks.mem(guest, "MemTotal") > total + (mib - 64) * MIB, 60, "the memory does not come online")


def _pulled(guest):
    return not guest.qmp.command("query-memory-devices")


def _ooms(guest):
    return int(guest.run("awk '/^oom_kill/{print $2}' /proc/vmstat"))


@case(each={"kernel": KERNELS})
def a_dimm_that_is_pulled_takes_what_the_host_has_of_it_along(kernel):
    with Guest(_options(kernel, balloon_properties="free-page-reporting=on")) as guest:
        _plug(guest, 2048)
        guest.run("{ acma-workload touch --mib 300 --period-ms 100 --seconds 30 --verify 1 >/tmp/w.log 2>&1; echo $? >/tmp/w.end; } &")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/w.log"), 60, "the workload did not start")
        # Of RAM and DIMM together: 1572 MiB are asked for, of which the DIMM has nearly all.
        blocks.set_target(guest, 1500 * MIB)
        before = blocks.state(guest)
        guest.qmp.command("device_del", id="dimm")
        wait_until(lambda: _pulled(guest), 60, lambda: f"{blocks.state(guest)} {guest.run('dmesg | tail')}")
        time.sleep(5)
        state = blocks.state(guest)
        available = blocks.mem(guest, "MemAvailable")
        expect(_ooms(guest) == 0, f"an OOM kill: {guest.run('dmesg | tail -40')}")
        # The host has what went with the DIMM. As much is not taken of what is left.
        expect(state["owned_bytes"] < 300 * MIB and available > 300 * MIB, f"{available >> 20} MiB available: {before} -> {state}")
        expect(state["actual_bytes"] == before["actual_bytes"], f"the host is told otherwise: {state}")
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 60, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", "a wrong byte")
        # Another target is meant of the memory that there is now.
        guest.qmp.command("balloon", value=800 * MIB)
        wait_until(lambda: blocks.state(guest)["owned_bytes"] == 224 * MIB, 30, lambda: str(blocks.state(guest)))
        blocks.expect_no_trouble(guest)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def memory_that_is_plugged_far_above_the_rest_is_taken_in_blocks(kernel):
    with Guest(_options(kernel, balloon_properties="free-page-reporting=on")) as guest:
        _plug(guest, 8192)
        blocks.set_target(guest, 1536 * MIB)
        state = blocks.state(guest)
        expect(state["single_bytes"] < 64 * MIB and state["owned_bytes"] > 7000 * MIB, str(state))
        blocks.set_target(guest, 9216 * MIB)
        expect(blocks.state(guest)["owned_bytes"] == 0, str(blocks.state(guest)))
        blocks.expect_no_trouble(guest)
