# SPDX-License-Identifier: Apache-2.0
"""Run by scripts/demo, which has parsed the options: python3 -m tests.demo SECONDS PLOT [JSON]"""

import json
import os
import signal
import subprocess
import sys
import time

from tests.rig import workdir
from tests.rig.errors import RigError

from . import plan, plot, stage
from .progress import step
from .record import Record, document
from .screen import Screen, summary

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Interrupted(Exception):
    def __init__(self, number):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


def raise_on_signals():
    """The first signal ends the run through the ordinary way out; later ones must not disturb that."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number, _):
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for number in numbers:
        signal.signal(number, interrupt)


def set_up(on):
    """Everything up to agents that have their policies; returns the accelerator."""
    with step("looking how guests run best here"):
        kind = on.accelerator()
    with step("starting a private libvirtd (own mounts, processes and network; nothing of it outlives this run)"):
        on.start_libvirt()
    for name in plan.NAMES:
        with step(f"booting VM {name}: {on.describe(kind)}"):
            on.start_guest(name, kind)
    promised, wanted = stage.BUDGET_MIB / 1024, len(plan.NAMES) * plan.RAM_MIB / 1024
    with step(f"starting acma-controller, which may promise {promised:.1f} GiB where the VMs' max-mem is {wanted:.1f} GiB together; each agent gets the policy of its VM's metadata"):
        on.start_controller()
        on.wait_for_agents()
    print(f"   the page: http://{on.address}/ (as long as this runs)")
    return kind


def watch(on, phases, records, seconds):
    """The run itself: measures the host bytes each second and shows everything."""
    screen = Screen(phases, seconds)
    start = on.start_workloads(phases, records)
    tick = start
    while (now := time.monotonic() - start) < seconds:
        on.check()
        for name, record in records.items():
            record.add_host(time.monotonic() - start, on.host_bytes(name))
        screen.draw(records.values(), plan.phase_at(phases, now), now)
        tick += 1
        time.sleep(max(0.0, tick - time.monotonic()))


def show_controller(on):
    for words in (["list"], ["explain", plan.NAMES[0]]):
        done = on.acmactl(*words)
        print(f"\n$ acmactl {' '.join(words)}\n{done.stdout}{done.stderr}", end="")


def draw(records, seconds, output):
    """What went wrong, if anything did."""
    directory = workdir.make("plot")
    try:
        plot.draw(records, seconds, directory, output)
        print(f"plot: {output}")
        return []
    except (OSError, subprocess.SubprocessError) as error:
        return [f"no plot: {error} {getattr(error, 'stderr', '') or ''}"]
    finally:
        workdir.remove(directory)


def run(seconds, plot_path, json_path):
    phases = plan.phases_of(seconds)
    records = {name: Record(name, stage.PSI_TARGET_BP, len(phases)) for name in plan.NAMES}
    with stage.Stage(os.environ.get("ACMA_BUILD", os.path.join(TOP, "build"))) as on:
        kind = set_up(on)
        if kind != "kvm" and phases[0].seconds < plan.GOOD_PHASE_S:
            print(f"   phases of {phases[0].seconds} s are short for emulated guests: they may not get small in time")
        print("")
        watch(on, phases, records, seconds)
        show_controller(on)
    found = list(records.values())
    problems = [problem for record in found for problem in record.problems()]
    print("\n" + "\n".join(summary(found, seconds)))
    problems += draw(found, seconds, plot_path)
    if json_path:
        with open(json_path, "w", encoding="utf-8") as file:
            json.dump(document(found, seconds, problems, accelerator=kind, plot=plot_path), file, indent=2)
            file.write("\n")
    for problem in problems:
        print(f"FAILED: {problem}")
    if not problems:
        print("memory followed the work: OK")
    return 1 if problems else 0


def main(arguments):
    raise_on_signals()
    seconds, plot_path, json_path = int(arguments[0]), arguments[1], arguments[2] if len(arguments) > 2 else ""
    try:
        return run(seconds, plot_path, json_path)
    except Interrupted as interrupted:
        print(f"\n{interrupted}: everything is cleaned up", file=sys.stderr)
        return 128 + interrupted.number
    except (stage.DemoError, RigError, OSError, subprocess.SubprocessError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
