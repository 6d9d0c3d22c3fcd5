# SPDX-License-Identifier: Apache-2.0
"""acma-agent and the balloon shim together: which memory is taken, and that the host is told again."""

import contextlib
import json
import re
import time

from tests.rig.channel import connect_when_there
from tests.rig.guest import Options
from tests.rig.qemu import Guest

from .harness import AGENT, BLOCKS, DEADMAN, KERNELS, MIB, WORKLOAD, case, expect, wait_until


_STANDALONE = '[policy]\nstandalone = true\npsi = "0.1%"\n'
_PORT = "org.acma.agent.0"


def _guest(kernel, **changes):
    settings = {
        "kernel": kernel,
        "memory_mib": 1024,
        "balloon_driver": "shim",
        "balloon_properties": "deflate-on-oom=on,free-page-reporting=on",
        "add": [AGENT, DEADMAN + ":/usr/libexec/acma-deadman", WORKLOAD, BLOCKS],
        "files": {"etc/acma/agent.toml": _STANDALONE},
    }
    return Guest(Options(**{**settings, **changes}))


def _state(guest):
    return json.loads(guest.run("acma-blocks state"))


def _log(guest):
    return guest.run("cat /tmp/agent.log")


@case(each={"kernel": KERNELS})
def scale_down_asks_damon_what_is_cold_before_it_moves_used_memory(kernel):
    with _guest(kernel) as guest:
        guest.run("acma-workload holes --mib 700 --period-ms 500 >/tmp/w.log 2>&1 &")
        wait_until(lambda: "holes" in guest.run("cat /tmp/w.log"), 60, "the workload did not fill its memory")
        guest.run("acma-agent run --verbose >/tmp/agent.log 2>&1 &")
        wait_until(lambda: "coldness:" in _log(guest), 60, lambda: _log(guest))
        regions, size, unit = re.search(r"coldness: (\d+) regions of ([0-9.]+) ([KMG]iB)", _log(guest)).groups()
        expect(int(regions) > 10, f"{regions} regions")
        expect(unit == "MiB" and 300 < float(size) < 1024, f"regions of {size} {unit}, of which 700 are used every other page")
        # Left as it was found: the directories of a thousand regions are kernel memory.
        schemes = "/sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/schemes/"
        left = guest.run(f"ls -d {schemes}*/tried_regions/*/ 2>/dev/null | wc -l")
        expect(int(left) == 0, f"{left} regions left in sysfs")


def _set_policy(port, mode):
    policy = {"min_mem_bytes": 256 * MIB, "max_mem_bytes": 1024 * MIB, "psi_bp": 10, "shares": 1000, "mode": mode}
    request = {"execute": "acma-set-policy", "arguments": {**policy, "grant_bytes": 1024 * MIB, "generation": 1}, "id": 1}
    port.settimeout(20)
    port.sendall((json.dumps(request) + "\n").encode())
    reply = port.makefile("rb").readline()
    expect(b'"return"' in reply, str(reply))


@contextlib.contextmanager
def _shrinking_guest(kernel):
    """A guest under a policy of its host's, which is spoken to over the port."""
    with _guest(kernel, channels=[_PORT], files={}) as guest:
        guest.run("acma-agent run --verbose >/tmp/agent.log 2>&1 &")
        with connect_when_there(guest.socket(_PORT), time.monotonic() + 10) as port:
            _set_policy(port, "auto")
            yield guest, port


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def what_is_needed_comes_back_in_mode_observe(kernel):
    """As while the VM migrates: nothing is taken then, and an attached agent is asked for what is owned."""
    with _shrinking_guest(kernel) as (guest, port):
        wait_until(lambda: _state(guest)["owned_bytes"] > 500 * MIB, 60, lambda: f"{_state(guest)}\n{_log(guest)}")
        _set_policy(port, "observe")
        guest.run("acma-workload touch --mib 600 --seconds 5 >/tmp/w.log", timeout=120)
        needed = _state(guest)
        expect(needed["voluntary_bytes"] < 400 * MIB, f"{needed}\n{_log(guest)}")
        expect(int(guest.run("awk '/^oom_kill /{print $2}' /proc/vmstat")) == 0, str(needed))
        time.sleep(10)
        expect(_state(guest)["taken_bytes"] == needed["taken_bytes"], f"{needed} -> {_state(guest)}\n{_log(guest)}")


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def the_host_is_told_again_of_what_is_owned_when_it_sends_a_policy(kernel):
    """As it does once it has found a guest that was moved to it, or went back to a snapshot."""
    with _shrinking_guest(kernel) as (guest, port):
        wait_until(lambda: _state(guest)["owned_bytes"] > 400 * MIB, 60, lambda: f"{_state(guest)}\n{_log(guest)}")
        time.sleep(5)
        before = _state(guest)
        expect(before["ram_bytes"] - before["owned_bytes"] >= 256 * MIB, f"smaller than min-mem: {before}\n{_log(guest)}")
        _set_policy(port, "auto")
        blocks = before["owned_bytes"] // (128 * MIB)
        wait_until(
            lambda: _state(guest)["descriptors"] >= before["descriptors"] + blocks, 90, lambda: f"{before} -> {_state(guest)}\n{_log(guest)}"
        )
