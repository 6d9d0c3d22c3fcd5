# SPDX-License-Identifier: Apache-2.0
"""Commands for a guest over the port org.acma.rig.0 (the guest's side is guest_init.sh)."""

import base64
import dataclasses
import itertools
import socket
import threading
import time

from .errors import RigError

PORT = "org.acma.rig.0"
# The guest's shell reads the port byte by byte into a line; longer scripts belong in a file of the initramfs.
_MAX_SCRIPT = 64 * 1024


@dataclasses.dataclass
class Result:
    status: int
    output: str


def connect_when_there(path, deadline):
    """A connection to a socket that its server may not have made yet."""
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > deadline:
                raise RigError(f"cannot connect to {path}: {error}") from error
            time.sleep(0.02)


class CommandChannel:
    """Runs shell scripts in the guest; several threads may have one running each."""

    def __init__(self, path, timeout):
        self._socket = connect_when_there(path, time.monotonic() + timeout)
        self._ids = itertools.count(1)
        self._results = {}
        self._changed = threading.Condition()
        self._closed = False
        self._ready = False
        self._reader = threading.Thread(target=self._read_all, daemon=True)
        self._reader.start()

    def wait_ready(self, timeout):
        self._wait(lambda: self._ready, timeout, "the guest did not start its command loop")

    def run(self, script, timeout):
        """Runs a script with busybox sh; returns its exit status and its output (stdout and stderr together)."""
        if len(script) > _MAX_SCRIPT:
            raise RigError(f"a script of {len(script)} bytes is too long for the command channel")
        identity = str(next(self._ids))
        line = f"{identity} {base64.b64encode(script.encode()).decode()}\n"
        with self._changed:
            self._socket.sendall(line.encode())
        self._wait(lambda: identity in self._results, timeout, f"no answer within {timeout} s to: {script}")
        return self._results.pop(identity)

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _wait(self, condition, timeout, message):
        with self._changed:
            self._changed.wait_for(lambda: self._closed or condition(), timeout)
            if not condition():
                raise RigError("the guest is gone" if self._closed else message)

    def _read_all(self):
        stream = self._socket.makefile("rb")
        try:
            for header in iter(stream.readline, b""):
                identity, status, length = header.decode("ascii", "replace").split()
                output = stream.read(int(length)).decode("utf-8", "replace")
                with self._changed:
                    if identity == "ready":
                        self._ready = True
                    else:
                        self._results[identity] = Result(int(status), output)
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()
