# SPDX-License-Identifier: Apache-2.0
"""The run as text: a table that redraws on a terminal, plain lines elsewhere, and the summary."""

import shutil
import sys
import textwrap

MIB = 1 << 20
GIB = 1 << 30
_BAR = 20  # so that a row fits into 80 columns
_LINE_EVERY_S = 5


def percent(basis_points):
    return "-" if basis_points is None else f"{basis_points / 100:.2f}%"


def bar(size, need, ram):
    """Host bytes as '#', what the workload needs as '|', of all the RAM."""
    filled = min(_BAR, round(size * _BAR / ram))
    cells = ["#" if cell < filled else "." for cell in range(_BAR)]
    if need:
        cells[min(_BAR - 1, need * _BAR // ram)] = "|"
    return "[" + "".join(cells) + "]"


def wrapped(row, width):
    """A row as lines of a terminal; those after the first are indented as sentences below a VM are."""
    return textwrap.wrap(row, width, subsequent_indent=" " * 7, drop_whitespace=True) or [""]


def blocks(status):
    return f"{status.owned_bytes // MIB} MiB owned in blocks"


def totals(records):
    held = sum(record.host_bytes for record in records)
    ram = sum(record.ram_bytes for record in records)
    saved = sum(record.saved_gib_min for record in records)
    return f"together {held / GIB:.2f} of {ram / GIB:.2f} GiB; {saved:.2f} GiB-minutes saved against static VMs"


def heading(phases, number, at, seconds):
    needs = ", ".join(f"{name} needs {need} MiB" for name, need in phases[number].needs.items())
    return f"{min(at, seconds):3.0f} of {seconds} s, phase {number + 1} of {len(phases)}: {needs}"


def table(records):
    rows = [f"{'VM':6} {'host bytes (# held, | needed)':{_BAR + 2}} {'held':>9} {'needed':>9} {'PSI':>7} {'target':>7}  state"]
    for record in records:
        status = record.status
        rows.append(
            f"{record.name:6} {bar(record.host_bytes, record.need_bytes, record.ram_bytes)}"
            f" {record.host_bytes // MIB:5d} MiB {record.need_bytes // MIB:5d} MiB"
            f" {percent(status.psi_bp if status else None):>7} {percent(record.psi_target_bp):>7}"
            f"  {status.state if status else '-'}"
        )
        rows.append(f"       {status.reason if status else 'no status yet'}")
        if status and status.scaling:
            rows.append(f"       {blocks(status)}: {status.scaling}")
        rows += [f"       mark {mark}" for mark in (status.marks if status else [])]
    return rows


def line(record, at):
    status = record.status
    text = f"{at:5.0f} s  {record.name:6} host {record.host_bytes // MIB} MiB, needs {record.need_bytes // MIB} MiB"
    if status:
        text += f", PSI {percent(status.psi_bp)} of {percent(record.psi_target_bp)}, {status.state}: {status.reason}; {blocks(status)}"
        text += "".join(f"; mark {mark}" for mark in status.marks)
    return text


class Screen:
    """Shows the run while it goes on; `draw` is called about once a second."""

    def __init__(self, phases, seconds, out=None):
        self._phases = phases
        self._seconds = seconds
        self._out = out or sys.stdout
        self._redraws = self._out.isatty()
        self._drawn = 0
        self._next_line = 0.0
        self._heading = None

    def draw(self, records, number, at):
        if self._redraws:
            self._redraw(records, number, at)
        else:
            self._log(records, number, at)

    def _redraw(self, records, number, at):
        columns = shutil.get_terminal_size().columns
        rows = [heading(self._phases, number, at, self._seconds), "", *table(records), "", totals(records)]
        rows = [part for row in rows for part in wrapped(row, columns - 1)]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        # Only what we drew is overwritten: the scrollback stays.
        self._out.write("\r" + up + "\x1b[J" + "".join(row + "\n" for row in rows))
        self._out.flush()
        self._drawn = len(rows)

    def _log(self, records, number, at):
        if number != self._heading:
            self._heading = number
            self._next_line = 0.0
            print("   " + heading(self._phases, number, at, self._seconds), file=self._out)
        if at >= self._next_line:
            self._next_line = at + _LINE_EVERY_S
            for record in records:
                print(line(record, at), file=self._out)
            self._out.flush()


def summary(records, seconds):
    """The end of the run as lines of text."""
    lines = [
        f"{'VM':6} {'working set, MiB':>18} {'host bytes, MiB':>23} {'PSI':>7} {'target':>7} {'OOM kills':>10}",
        f"{'':6} {'max':>9} {'now':>8} {'lowest':>9} {'highest':>8}{'now':>5}",
    ]
    for record in records:
        lines.append(
            f"{record.name:6} {record.working_set_max_bytes // MIB:9d} {record.working_set_bytes // MIB:8d}"
            f" {record.host_min_bytes // MIB:9d} {record.host_max_bytes // MIB:8d}{record.host_bytes // MIB:5d}"
            f" {percent(record.psi_bp):>7} {percent(record.psi_target_bp):>7}"
            f" {'-' if record.oom_kills is None else record.oom_kills:>10}"
        )
    lines.append("")
    for record in records:
        times = ", ".join(
            f"{phase.need_bytes // MIB} MiB in "
            + ("-" if phase.ready_us is None else f"{phase.ready_us / 1e6:.2f} s")
            for phase in record.phases
        )
        lines.append(f"{record.name}: from need to memory (touched in full): {times}")
        lines.append(
            f"{record.name}: {record.taken_bytes // MIB} MiB taken in blocks of 2 MiB, {record.returned_bytes // MIB} MiB given back"
        )
    static = sum(record.ram_bytes for record in records) / GIB * seconds / 60
    saved = sum(record.saved_gib_min for record in records)
    lines.append(f"saved {saved:.2f} GiB-minutes of the {static:.2f} that static VMs would have held ({saved * 100 / static:.0f} %)")
    return lines
