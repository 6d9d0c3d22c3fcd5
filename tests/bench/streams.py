# SPDX-License-Identifier: Apache-2.0
"""What a guest program prints, as it prints it: one JSON object a line over a virtio port of its own."""

import json
import threading
import time

from tests.rig.channel import connect_when_there


class Stream:
    """Collects the lines of one port. `lines()` is a copy of all so far; each has the host's time in "host_s"."""

    def __init__(self, path, record=None):
        self._socket = connect_when_there(path, time.monotonic() + 10)
        self._lines = []
        self._lock = threading.Lock()
        self._record = record  # a file that gets everything as it came, or None
        threading.Thread(target=self._read, daemon=True).start()

    def lines(self):
        with self._lock:
            return list(self._lines)

    def last(self):
        with self._lock:
            return self._lines[-1] if self._lines else None

    def close(self):
        self._socket.close()

    def _read(self):
        try:
            for text in self._socket.makefile("rb"):
                self._take(text.decode("utf-8", "replace"))
        except (OSError, ValueError):
            pass  # the guest is gone, or we closed it

    def _take(self, text):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            line = {"text": text.rstrip()}  # a program's error message
        line["host_s"] = time.monotonic()
        with self._lock:
            self._lines.append(line)
            if self._record:
                self._record.write(text)
                self._record.flush()
