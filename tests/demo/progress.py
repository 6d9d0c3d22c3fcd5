# SPDX-License-Identifier: Apache-2.0
"""Says what is being done, and for how long already where it takes long."""

import contextlib
import threading
import time

_SAY_EVERY_S = 10


@contextlib.contextmanager
def step(what):
    print(f"== {what}", flush=True)
    start = time.monotonic()
    done = threading.Event()

    def remind():
        while not done.wait(_SAY_EVERY_S):
            print(f"   still {what}: {time.monotonic() - start:.0f} s", flush=True)

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
