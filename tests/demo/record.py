# SPDX-License-Identifier: Apache-2.0
"""What was seen of one VM over the run, and what follows from it: figures and a verdict. Pure."""

import dataclasses
import json

from .plan import RAM_MIB

MIB = 1 << 20
GIB = 1 << 30


@dataclasses.dataclass
class WorkloadPhase:
    guest_s: float  # its start, on the guest's clock
    need_bytes: int
    ready_us: int | None = None  # from its start until its working set was touched in full


@dataclasses.dataclass
class Status:
    """What the controller tells of the agent's last status."""

    at: float
    psi_bp: int
    psi_stalled_us: int
    oom_kills: int
    state: str
    reason: str
    marks: list
    owned_bytes: int = 0  # in blocks, by the balloon shim
    taken_bytes: int = 0  # in blocks, all ever
    returned_bytes: int = 0
    scaling: str = ""


@dataclasses.dataclass
class Record:
    name: str
    psi_target_bp: int
    planned: int  # number of phases of the workload
    ram_bytes: int = RAM_MIB * MIB
    host: list = dataclasses.field(default_factory=list)  # (seconds of the run, host bytes)
    statuses: list = dataclasses.field(default_factory=list)
    phases: list = dataclasses.field(default_factory=list)
    working_set_max_bytes: int = 0  # the largest that the workload really touched in full
    working_set_bytes: int = 0  # the same of its present phase
    ended: str = ""  # the workload's last word, if it ended before the run did
    _clock_offset: float | None = None
    _tail: str = ""

    # --- what comes in ---

    def add_host(self, at, host_bytes):
        self.host.append((at, host_bytes))

    def add_status(self, status):
        if not self.statuses or self.statuses[-1].psi_stalled_us <= status.psi_stalled_us:
            self.statuses.append(status)

    def add_workload_output(self, at, text):
        """The next part of the workload's output, read `at`; lines may be cut anywhere."""
        *lines, self._tail = (self._tail + text).split("\n")
        for line in (json.loads(line) for line in lines if line):
            # Our clock less the guest's: no line is read before it was written, so the least difference is the best.
            offset = at - line["t_us"] / 1e6
            self._clock_offset = offset if self._clock_offset is None else min(self._clock_offset, offset)
            self._add_line(line)

    def _add_line(self, line):
        if "phase_bytes" in line:
            self.phases.append(WorkloadPhase(line["t_us"] / 1e6, line["phase_bytes"]))
        elif "ready_us" in line:
            self.phases[-1].ready_us = line["ready_us"]
            self._touched(line["ready_bytes"])
        elif "working_set_bytes" in line:
            self._touched(line["working_set_bytes"])
        elif "done" in line:
            self.ended = "ended" if line["intact"] else "memory lost its content"

    def _touched(self, size):
        self.working_set_bytes = size
        self.working_set_max_bytes = max(self.working_set_max_bytes, size)

    # --- what follows ---

    @property
    def need_bytes(self):
        return self.phases[-1].need_bytes if self.phases else 0

    @property
    def host_bytes(self):
        return self.host[-1][1] if self.host else 0

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else None

    def starts(self):
        """When each phase of the workload began, in seconds of the run."""
        return [phase.guest_s + self._clock_offset for phase in self.phases]

    def host_between(self, start, end):
        return [size for at, size in self.host if start <= at < end]

    @property
    def ready_at(self):
        """When the workload first had what it needs: before that the guest is small because nothing ran in it."""
        for start, phase in zip(self.starts(), self.phases):
            if phase.ready_us is not None:
                return start + phase.ready_us / 1e6
        return float("inf")

    @property
    def host_min_bytes(self):
        return min(self.host_between(self.ready_at, float("inf")), default=0)

    @property
    def host_max_bytes(self):
        return max((size for _, size in self.host), default=0)

    @property
    def psi_bp(self):
        """Share of the run in which some task of the guest stalled on memory."""
        if len(self.statuses) < 2 or self.statuses[-1].at <= self.statuses[0].at:
            return None
        first, last = self.statuses[0], self.statuses[-1]
        return round((last.psi_stalled_us - first.psi_stalled_us) / (last.at - first.at) / 100)

    @property
    def oom_kills(self):
        return self.statuses[-1].oom_kills if self.statuses else None

    @property
    def taken_bytes(self):
        return self.statuses[-1].taken_bytes if self.statuses else 0

    @property
    def returned_bytes(self):
        return self.statuses[-1].returned_bytes if self.statuses else 0

    @property
    def saved_gib_min(self):
        """Integral of RAM minus host bytes: what a VM of fixed size would have held beside."""
        pairs = zip(self.host, self.host[1:])
        area = sum((b[0] - a[0]) * (2 * self.ram_bytes - a[1] - b[1]) / 2 for a, b in pairs)
        return area / GIB / 60

    def problems(self):
        """Why this VM did not do what it should; nothing if it did."""
        found = []
        if self.oom_kills is None:
            found.append("no status of its agent came through the controller")
        elif self.oom_kills > 0:
            found.append(f"{self.oom_kills} OOM kills")
        if not (self.taken_bytes and self.returned_bytes):
            found.append(f"blocks: {self.taken_bytes // MIB} MiB taken, {self.returned_bytes // MIB} MiB given back")
        if self.ended:
            found.append(f"its workload stopped before the end of the run: {self.ended}")
        if len(self.phases) < self.planned:
            found.append(f"its workload only came to phase {len(self.phases)} of {self.planned}")
        elif not all(self.host_between(*span) for span in self._spans()):
            found.append("its host bytes were not measured in every phase")
        else:
            found += self._move_problems()
        return [f"{self.name}: {problem}" for problem in found]

    def _spans(self):
        starts = self.starts()
        return list(zip(starts, starts[1:] + [float("inf")]))

    def _move_problems(self):
        """Whenever the need rose the host bytes had to rise to it, whenever it fell they had to fall before it rose
        again, both by at least half of the difference."""
        found = []
        before = None  # need, lowest and highest host bytes of the phase before
        for number, (phase, span) in enumerate(zip(self.phases, self._spans()), 1):
            need, seen = phase.need_bytes, self.host_between(*span)
            low, high = min(seen), max(seen)
            if phase.ready_us is None:
                found.append(f"phase {number}: its workload did not get the {need // MIB} MiB that it needs")
            elif high < need:
                found.append(f"phase {number}: {need // MIB} MiB are needed, but host bytes only rose to {high // MIB} MiB")
            elif before and need > before[0] and high - before[1] < (need - before[0]) // 2:
                found.append(f"phase {number}: host bytes were at {before[1] // MIB} MiB before {need // MIB} MiB were needed")
            if before and need < before[0]:
                lowest = self._low_while_small(number)
                if before[2] - lowest < (before[0] - need) // 2:
                    found.append(
                        f"phase {number}: only {need // MIB} MiB are needed, but host bytes only fell from"
                        f" {before[2] // MIB} to {lowest // MIB} MiB"
                    )
            before = (need, low, high)
        if len({phase.need_bytes for phase in self.phases}) < 2:
            found.append("its workload needed the same all the time")
        return found

    def _low_while_small(self, number):
        """The lowest host bytes from phase `number` on for as long as no more is needed than in it."""
        need = self.phases[number - 1].need_bytes
        low = self.host_max_bytes
        for phase, span in list(zip(self.phases, self._spans()))[number - 1 :]:
            if phase.need_bytes > need:
                break
            low = min(low, min(self.host_between(*span)))
        return low

    def document(self):
        """The VM in the JSON file."""
        return {
            "name": self.name,
            "ram_bytes": self.ram_bytes,
            "working_set_max_bytes": self.working_set_max_bytes,
            "working_set_bytes": self.working_set_bytes,
            "host_min_bytes": self.host_min_bytes,
            "host_max_bytes": self.host_max_bytes,
            "host_bytes": self.host_bytes,
            "psi_bp": self.psi_bp,
            "psi_target_bp": self.psi_target_bp,
            "oom_kills": self.oom_kills,
            "taken_bytes": self.taken_bytes,
            "returned_bytes": self.returned_bytes,
            "phases": [{"need_bytes": phase.need_bytes, "need_to_memory_us": phase.ready_us} for phase in self.phases],
            "saved_gib_min": round(self.saved_gib_min, 3),
        }


def document(records, seconds, problems, **more):
    """The JSON file: the same figures as the summary, units in the names."""
    return {
        "vms": [record.document() for record in records],
        "saved_gib_min": round(sum(record.saved_gib_min for record in records), 3),
        "static_gib_min": round(sum(record.ram_bytes for record in records) / GIB * seconds / 60, 3),
        "seconds": seconds,
        "moved": not problems,
        "problems": problems,
        **more,
    }
