# SPDX-License-Identifier: Apache-2.0
"""acma-controller beside a private libvirt, and acmactl to ask it.

    with Libvirt() as libvirt, Controller(libvirt, "build", 'host-reserve = "1GiB"\n') as controller:
        controller.show("vm1"); controller.ctl("reserve", "1GiB")
"""

import http.client
import json
import os
import socket
import subprocess
import time

from .errors import RigError

_SOCKET = "/run/acma-rig.sock"
_LOG_TAIL = 3000
_ANSWERS_WITHIN_S = 20


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Controller:
    """Started with the object. It ends with its libvirt at the latest, so that only who wants another one needs `close`.
    `records`: it writes a decision log."""

    def __init__(self, libvirt, build, settings="", records=True):
        self.libvirt = libvirt
        self.log_path = os.path.join(libvirt.directory, "controller.log")
        self.decisions_path = os.path.join(libvirt.directory, "decisions.jsonl")
        self._programs = os.path.join(build, "host-controller")
        self._config = os.path.join(libvirt.directory, "controller.toml")
        self._process = None
        with open(self._config, "w", encoding="utf-8") as config:
            log = f'decision-log = "{self.decisions_path}"\n' if records else ""
            config.write(f'usage-database = "{libvirt.directory}/usage.db"\n{log}{settings}')
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def start(self):
        command = [os.path.join(self._programs, "acma-controller"), "--config", self._config, "--socket", _SOCKET]
        with open(self.log_path, "ab") as log:
            self._process = self.libvirt.popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _ANSWERS_WITHIN_S
        while self.ctl("list", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RigError(f"the controller does not answer\n{self.log()}")
            time.sleep(0.05)

    def kill(self):
        """SIGKILL."""
        self.libvirt.run(["sh", "-c", f"kill -9 {self.pid}"])  # procps need not be there
        self._process.wait()
        self._process = None

    @property
    def pid(self):
        """As its own process namespace counts."""
        return int(self.libvirt.run(["pidof", "acma-controller"]).stdout.split()[0])

    @property
    def outer_pid(self):
        """As this machine counts: it is the child of what entered the namespaces."""
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def log(self):
        """The end of it."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-_LOG_TAIL:]

    def ctl(self, *words, check=True):
        """acmactl: its CompletedProcess (text)."""
        command = [os.path.join(self._programs, "acmactl"), "--socket", self.libvirt.path(_SOCKET), *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode != 0:
            raise RigError(f"acmactl {' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}{self.log()}")
        return done

    def metrics(self):
        """The text of /metrics."""
        connection = UnixConnection(self.libvirt.path(_SOCKET))
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def show(self, name):
        """What is known of a VM; None while nothing is."""
        done = self.ctl("show", name, "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def decisions(self):
        """What the arbiter was told and said so far (docs/protocol.md, "Decision log")."""
        with open(self.decisions_path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]  # the last one may be half written

    def overview(self):
        """The host and all VMs, as `acmactl list` knows them."""
        return json.loads(self.ctl("list", "--json").stdout)


def overpromises(decision):
    """Whether more is promised than there is, and more than before. That alone is wrong: a VM that is started has all its RAM, and
    QEMUs grow, whatever the controller does. What a VM has not given up yet still counts."""
    host = decision["host"]
    before, after = (
        sum(vm["own_bytes"] + max(vm[grant], vm["holds_bytes"]) for vm in decision["vms"]) for grant in ("grant_bytes", "granted_bytes")
    )
    return after > max(before, host["budget_bytes"] - host["reserved_bytes"])


def budget_setting(budget_bytes):
    """The setting with which all VMs together may have so much of this machine's memory."""
    with open("/proc/meminfo", encoding="ascii") as file:
        total_kib = int(file.readline().split()[1])
    return f'host-reserve = "{total_kib - (budget_bytes >> 10)}KiB"\n'
