# SPDX-License-Identifier: Apache-2.0
"""What one bad guest among many does to the others' cycles: rounds in blocks, so that the machine's own noise hits all alike."""

import json
import random
import statistics

from tests.rig.errors import RigError

from .controller_host import uuid_of

BLOCKS = 8
ROUND_S = 7  # a silent guest is found silent after five
REST_S = 1
QUIET = ("quiet", "quiet-again")  # the same twice: how far apart two rounds are that do not differ
# Each with what proves that a round was noisy: the mark that the guest got in it (the limit of time or, on a fast machine, of bytes),
# and what it sent at least.
MANNERS = {"silent": ({"silent"}, 0), "flooding": ({"flooding"}, 1 << 12), "calling": ({"costly", "flooding"}, 1 << 15)}


def changes(rounds, name):
    """By how many percent `name` was above the quiet of the same block, in each block: rounds is [{name: p99 in ms}]."""
    return [100 * (block[name] / block["quiet"] - 1) for block in rounds]


def marks(simulated, vm):
    return {mark["what"] for mark in json.loads(simulated.request("GET", f"/v1/vms/{uuid_of(vm)}"))["vm"]["marks"]}


def prove_noisy(simulated, vm, manners, sent_before):
    """The bytes that it sent in the round."""
    proofs, least = MANNERS[manners]
    sent = simulated.bytes_sent(vm) - sent_before
    found = marks(simulated, vm)
    if not proofs & found or sent < least:
        raise RigError(f"a round of {manners} was not noisy: VM {vm} sent {sent} bytes and is marked {sorted(found)}")
    return sent


def measure(simulated, seed, measure_round, say):
    """Runs all blocks; ([{name: p99 in ms}], {manners: [bytes sent]}). `measure_round(seconds)` gives the p99 of a round."""
    order = random.Random(seed)
    rounds, sent = [], {manners: [] for manners in MANNERS}
    guests = iter(range(simulated.count))  # another one each time: one that was bad is left alone for a minute
    for number in range(BLOCKS):
        block = {}
        for name in order.sample([*QUIET, *MANNERS], len(QUIET) + len(MANNERS)):
            if name in QUIET:
                block[name] = measure_round(ROUND_S, REST_S)
                continue
            vm = next(guests)
            before = simulated.bytes_sent(vm)
            simulated.behave(vm, name)
            block[name] = measure_round(ROUND_S, 0)
            sent[name].append(prove_noisy(simulated, vm, name, before))
            simulated.behave(vm, "honest")
        rounds.append(block)
        say(f"noisy-1000: block {number + 1} of {BLOCKS}: " + ", ".join(f"{name} {value:.1f} ms" for name, value in block.items()))
    return rounds, sent


def case_of(rounds, sent, manners):
    found = changes(rounds, manners)
    return statistics.median(found), {
        "control_pct": round(statistics.median(changes(rounds, "quiet-again")), 2),
        "blocks_pct": [round(value, 1) for value in found],
        "p99_ms": {name: [round(block[name], 2) for block in rounds] for name in (*QUIET, manners)},
        "bytes_sent": sent[manners],
    }
