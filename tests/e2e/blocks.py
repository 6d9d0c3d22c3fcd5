# SPDX-License-Identifier: Apache-2.0
"""What tests of the balloon shim have in common: a guest with it, and questions to it."""

import json

from tests.rig.guest import Options

from .harness import BLOCKS, MIB, WORKLOAD, expect, wait_until

BLOCK = 2 * MIB
TROUBLE = "dmesg | grep -E 'cut here|BUG:|WARNING:|Oops|blocked for more|bad page|Out of memory|detected stall|soft lockup' || true"


def options(kernel="6.12", **changes):
    settings = {"kernel": kernel, "memory_mib": 1024, "balloon_driver": "shim", "add": [WORKLOAD, BLOCKS]}
    return Options(**{**settings, **changes})


def state(guest):
    return json.loads(guest.run("acma-blocks state"))


def move(guest, arguments):
    return json.loads(guest.run(f"acma-blocks {arguments}"))


def mem(guest, name):
    return int(guest.run(f"awk '/^{name}:/{{print $2}}' /proc/meminfo")) * 1024


def actual(guest):
    return guest.qmp.command("query-balloon")["actual"]


def whole_window(guest):
    """A window of which all is free memory: the kernel itself lies somewhere else at each boot."""
    lines = [json.loads(line) for line in guest.run("acma-blocks map").splitlines()]
    return next(line["window"] for line in reversed(lines) if line["free"] == 64)


def set_target(guest, size):
    guest.qmp.command("balloon", value=size)
    wait_until(lambda: actual(guest) == size, 30, lambda: f"actual {actual(guest)} of {size}: {state(guest)}", every_s=0.05)


def expect_no_trouble(guest):
    trouble = guest.run(TROUBLE)
    expect(trouble == "", trouble + guest.run("dmesg | tail -60"))
