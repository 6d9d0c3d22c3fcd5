# SPDX-License-Identifier: Apache-2.0
"""acma-controller and an agent that costs it too much, beside honest ones: on libvirt's test driver, over real sockets."""

import json
import time

from tests.bench.controller_host import SimulatedHost, uuid_of

from .harness import case, expect, wait_until

_COST = "acma_domain_agent_cost_seconds_total"


def _show(host, vm):
    return json.loads(host.request("GET", f"/v1/vms/{uuid_of(vm)}"))


def _marks(host, vm):
    return {mark["what"] for mark in _show(host, vm)["vm"]["marks"]}


def _cost_s(host, vm):
    return next(value for (name, labels), value in host.metrics().items() if name == _COST and uuid_of(vm) in labels)


@case(timeout_s=400)
def a_guest_whose_words_cost_too_much_is_read_slowly_and_nobody_else():
    with SimulatedHost(4) as host:
        host.behave(0, "calling")
        wait_until(lambda: "costly" in _marks(host, 0), 60, host.log)
        before, sent, start = _cost_s(host, 0), host.bytes_sent(0), time.monotonic()
        time.sleep(10)
        took = time.monotonic() - start
        # A thousandth of a core, and the one read that goes over it.
        expect(_cost_s(host, 0) - before < 0.001 * took + 0.012, f"{_cost_s(host, 0) - before} s in {took} s")
        expect(host.bytes_sent(0) - sent < 1 << 20, "it was read on")
        for other in (1, 2, 3):
            expect(_show(host, other)["agent"]["age_us"] < 5_000_000 and "costly" not in _marks(host, other), host.log())
        host.set_policy(1, max_mem_bytes=200 << 20)
        wait_until(lambda: any(vm == 1 and what == "p" and size == 200 << 20 for _, vm, what, size in host.asked()), 10, host.log)
        # What it said meanwhile was not thrown away, and when it is through it is as good as any.
        host.behave(0, "honest")
        wait_until(lambda: _show(host, 0)["agent"]["age_us"] < 3_000_000, 120, lambda: json.dumps(_show(host, 0)))
        wait_until(lambda: "costly" not in _marks(host, 0), 90, lambda: json.dumps(_show(host, 0)))
