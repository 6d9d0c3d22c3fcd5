# SPDX-License-Identifier: Apache-2.0
"""User instructions of a program, counted by valgrind: they repeat where CPU time does not, and need no counters of the CPU."""

import glob
import os
import shutil
import subprocess

from tests.rig.errors import RigError


def missing():
    """Why none can be counted, or an empty text."""
    return "" if shutil.which("valgrind") and shutil.which("callgrind_control") else "valgrind is not installed"


def wrapper(directory):
    """In front of a command. Nothing is counted before start()."""
    return ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory}/callgrind"]


def _control(pid, *arguments):
    done = subprocess.run(["callgrind_control", *arguments, str(pid)], capture_output=True, text=True, check=False)
    if "OK" not in done.stdout:
        raise RigError(f"callgrind_control {' '.join(arguments)}: {done.stdout}{done.stderr}")


def start(pid):
    _control(pid, "--instr=on")


def stop(pid, directory, function):
    """(all instructions since start(), those in this function and what it calls)"""
    _control(pid, "--instr=off")
    _control(pid, "--dump")
    texts = [
        subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", path], capture_output=True, text=True, check=True).stdout
        for path in glob.glob(os.path.join(directory, "callgrind.*"))
        if os.path.getsize(path)
    ]
    return tuple(sum(_figure(text, words) for text in texts) for words in ("PROGRAM TOTALS", function))


def _figure(annotated, words):
    """The first column of the first line with these words; 0 where there is none."""
    found = next((line for line in annotated.splitlines() if words in line), "0")
    return int(found.split()[0].replace(",", ""))
