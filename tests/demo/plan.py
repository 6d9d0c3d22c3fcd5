# SPDX-License-Identifier: Apache-2.0
"""What the guests need, and when: the need moves from one to the other and back, then nobody needs much. Pure."""

import dataclasses

NAMES = ("left", "right")
RAM_MIB = 1536
BIG_MIB = 900
SMALL_MIB = 200
# A phase has to be long enough for what is no longer needed to get cold and be paged out (30 MB/s under emulation).
GOOD_PHASE_S = 40
LEAST_SECONDS = 30
_FULL_PHASE_S = 50


@dataclasses.dataclass(frozen=True)
class Phase:
    seconds: int
    needs: dict  # name -> MiB


def phases_of(seconds):
    """The run's phases: as many exchanges as there is time for, then one phase in which all are small."""
    exchanges = max(1, (seconds // _FULL_PHASE_S - 1) // 2)
    count = 2 * exchanges + 1
    lengths = [seconds * (i + 1) // count - seconds * i // count for i in range(count)]
    phases = []
    for number, length in enumerate(lengths):
        busy = NAMES[number % 2] if number < count - 1 else None
        phases.append(Phase(length, {name: BIG_MIB if name == busy else SMALL_MIB for name in NAMES}))
    return phases


def workload_argument(phases, name, extra_s):
    """`acma-workload phases` of one guest. The last phase lasts longer than the run: what ends frees its memory, and
    that would count as if page-out had done it."""
    lengths = [phase.seconds for phase in phases]
    lengths[-1] += extra_s
    return ",".join(f"{phase.needs[name]}:{length}" for phase, length in zip(phases, lengths))


def phase_at(phases, second):
    """The number of the phase (from 0) that runs `second` seconds after the start."""
    for number, phase in enumerate(phases):
        second -= phase.seconds
        if second < 0:
            return number
    return len(phases) - 1
