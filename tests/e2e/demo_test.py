# SPDX-License-Identifier: Apache-2.0
"""scripts/demo as a user runs it: what it writes, and that nothing of it is left when it is interrupted."""

import json
import os
import signal
import subprocess
import tempfile
import time

from .harness import TOP, case, expect, wait_until

_DEMO = os.path.join(TOP, "scripts", "demo")


def _guests():
    """QEMU's processes: pid -> command line."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue  # it has ended
        if b"qemu-system" in line.split(b"\0")[0]:
            found[pid] = line
    return found


@case(full=True, timeout_s=900, alone=True)
def demo_writes_its_figures_and_its_picture():
    with tempfile.TemporaryDirectory(prefix="acma-test-") as directory:
        figures, picture = os.path.join(directory, "demo.json"), os.path.join(directory, "demo.png")
        done = subprocess.run(
            [_DEMO, "--json", figures, "--plot", picture],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        expect(done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:])
        with open(picture, "rb") as file:
            expect(file.read(8) == b"\x89PNG\r\n\x1a\n", "no picture")
        with open(figures, encoding="utf-8") as file:
            document = json.load(file)
    expect(document["moved"] and document["saved_gib_min"] > 0, json.dumps(document))
    expect(len(document["vms"]) >= 2, json.dumps(document))
    for vm in document["vms"]:
        expect(vm["host_min_bytes"] < vm["host_max_bytes"] and vm["oom_kills"] == 0, json.dumps(vm))


@case(full=True, timeout_s=400, alone=True)
def demo_leaves_nothing_when_it_is_interrupted():
    before = _guests()
    demo = subprocess.Popen(
        [_DEMO, "--seconds", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_until(lambda: set(_guests()) - set(before), 200, "no guest was started")
        time.sleep(5)
        demo.send_signal(signal.SIGINT)
        output = demo.communicate(timeout=60)[0]
    finally:
        demo.kill()
    expect(demo.returncode == 128 + signal.SIGINT and "everything is cleaned up" in output, output[-2000:])
    expect(not set(_guests()) - set(before), "a guest is left")
