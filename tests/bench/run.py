# SPDX-License-Identifier: Apache-2.0
"""scripts/bench: measures ours and its peers side by side in one run and prints a table."""

import argparse
import os
import random
import signal
import sys
import time

from tests.rig.errors import RigError

from . import agent, balloon, consolidation, controller, machine, peaks, policy, reclaim
from .report import Report
from .subject import Programs

_BENCHES = {
    "reclaim": reclaim,
    "agent": agent,
    "balloon": balloon,
    "consolidation": consolidation,
    "policy": policy,
    "peaks": peaks,
    "controller": controller,
}
_EPILOG = """
examples:
  scripts/bench reclaim --json reclaim.json       everything: 6.12 and 7.3, swap on disk and zram
  scripts/bench reclaim --kernel 7.3 --case disk --part stop
  scripts/bench reclaim --case 6.12/rotating      a swap disk of a guest without the agent's udev rules
  scripts/bench agent --json agent.json
  scripts/bench balloon --kernel 6.12 --case free
  scripts/bench consolidation --kernel 7.3
  scripts/bench policy --seed 1                   in the simulator, no guests; a case is a scenario
  scripts/bench peaks --kernel 6.12                three VMs with peaks in turn, where two fit
  scripts/bench controller --case vms noisy       on libvirt's test driver and simulated agents; case guests: on real ones
docs/benchmarks.md says what each figure is. The exit status is 0 when the bench ran, whatever it found. Close other work
on the machine before you believe a time: each case says how many cores others kept busy.
"""


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(_BENCHES))
    parser.add_argument("--json", metavar="FILE", help="write the figures and their samples there")
    parser.add_argument("--seed", type=int, help="of the order in which contestants run (default: another one each time)")
    parser.add_argument("--keep", metavar="DIR", help="keep all samples, the agent's logs and the guests' consoles there")
    parser.add_argument("--kernel", nargs="+", choices=["6.12", "7.3"], default=["6.12", "7.3"])
    parser.add_argument("--case", nargs="+", metavar="PART", help="only the case of this name, or those with this in it, such as disk")
    parser.add_argument("--part", nargs="+", help="of reclaim, only these: " + ", ".join(reclaim.PARTS))
    given = parser.parse_args(arguments)
    unknown = set(given.part or []) - set(_BENCHES[given.name].PARTS)
    if unknown:
        parser.error(f"{given.name} has no part {', '.join(sorted(unknown))}")
    names = [setup.name for setup in _BENCHES[given.name].setups(given.kernel)]
    if given.case and not any(part in name for part in given.case for name in names):
        parser.error(f"no case has {' or '.join(given.case)} in its name")
    if given.seed is None:
        given.seed = random.randrange(1 << 31)
    for path in (given.keep, given.json and os.path.dirname(os.path.abspath(given.json))):
        if path:
            os.makedirs(path, exist_ok=True)
    return given


def main(arguments):
    given = parse(arguments)
    bench = _BENCHES[given.name]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - start:6.0f} s] {text}", file=sys.stderr, flush=True)

    report = Report(given.name, machine.describe(given.seed), bench.METRICS)
    try:
        programs = None
        if getattr(bench, "GUESTS", True):
            report.machine["accel"] = machine.accel(given.kernel, bench.ICOUNT)
            programs = Programs()
        bench.run(given, programs, report, say)
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        # What was measured before an interruption is not lost.
        report.machine["load_at_end"] = os.getloadavg()[0]
        report.machine["took_s"] = round(time.monotonic() - start)
        if report.rows():
            report.table()
            if given.json:
                report.write(given.json)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
