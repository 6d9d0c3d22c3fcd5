# SPDX-License-Identifier: Apache-2.0
"""What a test file needs: `case` marks a test, `Skip` leaves it, `expect` and `wait_until` judge.

    @case(each={"kernel": ["6.12", "7.3"]})
    def guest_gives_back_what_it_frees(kernel): ...

A test is a function whose name is a sentence; it passes when it returns. Each runs in its own process.
"""

import dataclasses
import os
import time
import typing

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("ACMA_BUILD", os.path.join(TOP, "build"))

WORKLOAD = os.path.join(BUILD, "tests", "workload", "acma-workload")
BLOCKS = os.path.join(BUILD, "tests", "workload", "acma-blocks")
CRASH_KERNEL = os.path.join(BUILD, "tests", "workload", "acma-crash-kernel")
AGENT = os.path.join(BUILD, "guest-agent", "acma-agent")
DEADMAN = os.path.join(BUILD, "guest-agent", "acma-deadman")
CONTROLLER = os.path.join(BUILD, "host-controller", "acma-controller")
ACMACTL = os.path.join(BUILD, "host-controller", "acmactl")

KERNELS = ["6.12", "7.3"]
MIB = 1 << 20


class Skip(Exception):
    """This test cannot run here; the message says why."""


class Failed(Exception):
    pass


@dataclasses.dataclass
class Case:
    name: str
    function: typing.Callable
    arguments: dict
    timeout_s: int
    full: bool = False  # only in `scripts/test full`
    alone: bool = False  # not beside other tests: it judges by the clock


def case(each=None, full_each=(), timeout_s=300, full=False, alone=False):
    """Marks a test. `each` gives one parameter's values: the test runs once for each of them, and with those in
    `full_each` as well in `scripts/test full`. `alone`: what it expects would not hold on a machine that is busy."""

    def mark(function):
        name = function.__module__.rsplit(".", 1)[-1] + "." + function.__name__
        parameter, values = next(iter((each or {"": [None]}).items()))
        function.e2e_cases = [
            Case(
                name=name + (f"[{value}]" if parameter else ""),
                function=function,
                arguments={parameter: value} if parameter else {},
                timeout_s=timeout_s,
                full=full or value in full_each,
                alone=alone,
            )
            for value in [*values, *full_each]
        ]
        return function

    return mark


def expect(condition, message):
    if not condition:
        raise Failed(message)


def wait_until(condition, timeout_s, what, every_s=0.5):
    """Polls until `condition()` is true and returns its value; `what` (text, or a function) explains a failure."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout_s} s: {what() if callable(what) else what}")
        time.sleep(every_s)
