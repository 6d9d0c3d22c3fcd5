# SPDX-License-Identifier: Apache-2.0
"""The bench `policy`: the simulator's scenarios under ours and others' rules (docs/simulator.md). No guest is booted."""

import dataclasses
import json
import os
import subprocess

from tests.rig.errors import RigError

from .report import Metric, Value
from .subject import BUILD

GUESTS = False
PARTS = []

ONLY_FITTING = "while all that is wanted fits the budget; share of the VMs' time"
DEMAND_MET = Metric("demand_met_pct", "%", "higher", 99.9, 3, ONLY_FITTING)
DOUBLE_NEED = Metric("double_need_s", "s", "lower", 2, 1, "where a VM doubles its need")
STALL = Metric("stall_s", "s", "lower", None, 1)
TARGET_CHANGES = Metric("target_changes_per_min", "1/min", "lower", None, 2)
UNBACKED = Metric("unbacked_bytes", "B", "lower", 0, 0)
HOST_SWAP = Metric("host_swap_bytes", "B", "lower", 0, 0)
HOST_FREE = Metric("host_free_min_bytes", "B", "higher", None, 0)
RESERVATION = Metric("reservation_s", "s", "lower", None, 1, "where memory is asked to be kept free, and can be")
METRICS = [DEMAND_MET, DOUBLE_NEED, STALL, TARGET_CHANGES, UNBACKED, HOST_SWAP, HOST_FREE, RESERVATION]

SCENARIOS = ["day", "thousand", "three-peaks", "burst", "flood", "doubles", "doubles-tight", "restarts", "no-agents", "agents-gone"]
SCENARIOS += [f"squeezed-{letter}" for letter in "abcdeh"]
IMPOSSIBLE = {"squeezed-c", "squeezed-d"}  # the reservation cannot be met
LONGEST_S = 600


@dataclasses.dataclass(frozen=True)
class Setup:
    name: str


def setups(_):
    return [Setup(name) for name in SCENARIOS]


def figures(simulated, results):
    """{metric: Value} of one policy, from the documents of `acmactl simulate --json`."""
    minutes = results["counted_us"] / 60e6 * simulated["vms"]
    found = {
        STALL: Value(results["stall_us"] / 1e6),
        TARGET_CHANGES: Value(results["target_changes"] / minutes),
        UNBACKED: Value(results["unbacked_max_bytes"]),
        HOST_SWAP: Value(results["host_swap_max_bytes"]),
        HOST_FREE: Value(results["host_free_min_bytes"]),
    }
    if results["demand_fits_us"]:
        found[DEMAND_MET] = Value(100 * results["demand_met_us"] / results["demand_fits_us"])
    never = "not until the scenario's end"
    if simulated["doubling"]:
        took = results.get("double_need_us")
        found[DOUBLE_NEED] = Value(None, never) if took is None else Value(took / 1e6)
    if "reservation_bytes" in simulated and simulated["scenario"] not in IMPOSSIBLE:
        took = results.get("reservation_us")
        found[RESERVATION] = Value(None, never) if took is None else Value(took / 1e6)
    return found


def simulate(scenario, seed):
    command = [os.path.join(BUILD, "host-controller", "acmactl"), "simulate", scenario, "--seed", str(seed), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{scenario}: {error}") from error
    if done.returncode != 0:
        raise RigError(f"{scenario}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run(given, _programs, report, say):
    for setup in setups(None):
        if given.case and not any(part in setup.name for part in given.case):
            continue
        say(setup.name)
        simulated = simulate(setup.name, given.seed)
        case = {"case": setup.name, **{key: value for key, value in simulated.items() if key not in ("policies", "scenario")}}
        for each in simulated["policies"]:
            contestant = "ours" if each["policy"] == "acma" else each["policy"]
            for metric, value in figures(simulated, each).items():
                report.add(metric, contestant, case, value)
