# SPDX-License-Identifier: Apache-2.0
"""Counts what `meson test` ran: each case of a GoogleTest program, and each other test as one.

meson_tally.py TESTLOG.JSON TALLY appends "PASSED FAILED SKIPPED" to TALLY and prints a line for each suite.
"""

import json
import re
import sys

# A finished case: "[       OK ] Suite.Name (3 ms)". The lists at the end of a run have no time.
_CASE = re.compile(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] .*\(\d+ ms\)$", re.MULTILINE)
_SKIPPED_TEST = 77


def count(test):
    """(passed, failed, skipped) of one entry of meson's log."""
    cases = _CASE.findall(test.get("stdout") or "")
    passed, failed, skipped = (cases.count(word) for word in ("OK", "FAILED", "SKIPPED"))
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    if test["result"] == "SKIP":
        return 0, 0, 1
    if not cases:
        return (1, 0, 0) if good else (0, 1, 0)
    # It crashed, timed out or was reported by a sanitizer, though no case failed.
    if not good and failed == 0:
        failed = 1
    return passed, failed, skipped


def main(log, tally):
    total = [0, 0, 0]
    try:
        with open(log, encoding="utf-8") as file:
            tests = [json.loads(line) for line in file if line.strip()]
    except OSError:
        tests = []
    for test in tests:
        total = [sum(pair) for pair in zip(total, count(test))]
    print(f"meson tests: {len(tests)} programs, {total[0]} passed, {total[1]} failed, {total[2]} skipped")
    with open(tally, "a", encoding="ascii") as file:
        file.write("{} {} {}\n".format(*total))
    return 1 if total[1] or not tests else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
