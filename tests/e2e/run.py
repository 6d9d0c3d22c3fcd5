# SPDX-License-Identifier: Apache-2.0
"""Runs the tests in tests/e2e/*_test.py: one line each, and a tally. A NAME is a part of a test's name."""

import argparse
import concurrent.futures
import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
import traceback

from . import harness

SKIPPED = 77
LANE_BYTES = 4 << 30


def collect():
    cases = []
    directory = os.path.dirname(os.path.abspath(__file__))
    for module in sorted(info.name for info in pkgutil.iter_modules([directory])):
        if module.endswith("_test"):
            content = vars(importlib.import_module(f"tests.e2e.{module}"))
            for value in content.values():
                cases += getattr(value, "e2e_cases", [])
    return cases


def run_here(case):
    """In a test's own process: 0, 1 or SKIPPED."""
    # Turns the runner's SIGTERM into an exception, so that guests are closed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A shell starts what is in the background (scripts/test &) with SIGINT ignored, which tests of interruptions inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        case.function(**case.arguments)
        return 0
    except harness.Skip as skip:
        print(f"skipped: {skip}")
        return SKIPPED
    except Exception:  # whatever went wrong, the test failed
        traceback.print_exc()
        return 1


class Processes:
    """The test processes that run now; `end_all` takes them along."""

    def __init__(self):
        self._lock = threading.Lock()
        self._running = set()
        self._over = False

    def start(self, command):
        with self._lock:
            if self._over:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
            self._running.add(process)
        return process

    def ended(self, process):
        with self._lock:
            self._running.discard(process)

    def end_all(self):
        with self._lock:
            self._over = True
            for process in self._running:
                process.terminate()


def run_apart(case, processes):
    """Runs one case in a process of its own; (output, exit status)."""
    process = processes.start([sys.executable, "-m", "tests.e2e.run", "--one", case.name])
    try:
        return process.communicate(timeout=case.timeout_s)[0], process.returncode
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            output = process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
        return output + f"\nnot finished within {case.timeout_s} s\n", 1
    finally:
        processes.ended(process)


def qemu_starts():
    """Where QEMU starts every test can run, so that a skip hides something."""
    try:
        command = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"]
        return subprocess.run(command, input=b"quit\n", capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def lanes():
    """How many tests run side by side: a guest that works keeps about one processor busy, and a test has up to three guests."""
    with open("/proc/meminfo", encoding="ascii") as file:
        available = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    return max(1, min(len(os.sched_getaffinity(0)), available // LANE_BYTES))


class Tally:
    def __init__(self, verbose):
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
        self._verbose = verbose
        self._skip_is_failure = qemu_starts()
        self._lock = threading.Lock()

    def add(self, case, output, status, seconds):
        result = {0: "PASS", SKIPPED: "SKIP"}.get(status, "FAIL")
        if result == "SKIP" and self._skip_is_failure:
            output += "QEMU starts here, so a skip counts as a failure\n"
            result = "FAIL"
        text = f"{result} {case.name} ({seconds:.1f} s)\n"
        if result != "PASS" or self._verbose:
            text += "".join(f"    {line}\n" for line in output.splitlines())
        with self._lock:
            self.counts[result] += 1
            print(text, end="", flush=True)


def run_all(cases, verbose):
    """In lanes; then, one by one, those that judge by the clock."""
    tally = Tally(verbose)
    processes = Processes()

    def run_one(case):
        start = time.monotonic()
        output, status = run_apart(case, processes)
        tally.add(case, output, status, time.monotonic() - start)

    for some, width in [([case for case in cases if not case.alone], lanes()), ([case for case in cases if case.alone], 1)]:
        with concurrent.futures.ThreadPoolExecutor(width) as pool:
            try:
                for future in [pool.submit(run_one, case) for case in some]:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                processes.end_all()
                raise
    counts = tally.counts
    print(f"e2e: {counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return counts


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/test e2e", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--full", action="store_true", help="also the long ones")
    parser.add_argument("--verbose", action="store_true", help="print what passing tests print")
    parser.add_argument("--tally", help="append 'PASSED FAILED SKIPPED' to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    cases = collect()
    if given.one:
        return run_here(next(case for case in cases if case.name == given.one))
    chosen = [
        case
        for case in cases
        if (any(name in case.name for name in given.names) if given.names else given.full or not case.full)
    ]
    if given.list:
        print("\n".join(case.name for case in chosen))
        return 0
    if not chosen:
        print(f"no test has a name with {' or '.join(given.names)} in it", file=sys.stderr)
        return 2
    counts = run_all(chosen, given.verbose)
    if given.tally:
        with open(given.tally, "a", encoding="ascii") as file:
            file.write(f"{counts['PASS']} {counts['FAIL']} {counts['SKIP']}\n")
    return 0 if counts["FAIL"] == 0 else 1


if __name__ == "__main__":
    # scripts/test ends its parts with SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
