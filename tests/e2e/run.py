# SPDX-License-Identifier: Apache-2.0
"""Runs the tests in tests/e2e/*_test.py: one line each, and a tally. A NAME is a part of a test's name."""

import argparse
import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback

from . import harness

SKIPPED = 77


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
    try:
        case.function(**case.arguments)
        return 0
    except harness.Skip as skip:
        print(f"skipped: {skip}")
        return SKIPPED
    except Exception:  # whatever went wrong, the test failed
        traceback.print_exc()
        return 1


def run_apart(case):
    """Runs one case in a process of its own; (exit status, output)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.run", "--one", case.name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A shell starts what is in the background (scripts/test &) with SIGINT ignored, which tests of interruptions inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
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
    except BaseException:
        process.terminate()
        process.wait()
        raise


def qemu_starts():
    """Where QEMU starts every test can run, so that a skip hides something."""
    try:
        command = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"]
        return subprocess.run(command, input=b"quit\n", capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run_all(cases, verbose):
    counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    skip_is_failure = qemu_starts()
    for case in cases:
        start = time.monotonic()
        output, status = run_apart(case)
        result = {0: "PASS", SKIPPED: "SKIP"}.get(status, "FAIL")
        if result == "SKIP" and skip_is_failure:
            output += "QEMU starts here, so a skip counts as a failure\n"
            result = "FAIL"
        counts[result] += 1
        print(f"{result} {case.name} ({time.monotonic() - start:.1f} s)", flush=True)
        if result != "PASS" or verbose:
            print("".join(f"    {line}\n" for line in output.splitlines()), end="", flush=True)
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
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
