# SPDX-License-Identifier: Apache-2.0
"""Everything real: a private libvirtd, guests with agent and workload, the controller beside the daemon."""

import json
import os
import socket
import subprocess
import threading
import time

from tests.rig import workdir
from tests.rig.channel import connect_when_there
from tests.rig.controller import budget_setting
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.kernel import Kernel
from tests.rig.libvirt import Libvirt, Policy
from tests.rig.qemu import accelerator

from . import plan
from .record import Status

KERNEL = "6.12"
POLICY = Policy(min_mem="256MiB", max_mem=f"{plan.RAM_MIB}MiB", psi="0.1%")
PSI_TARGET_BP = 10
# What all VMs are promised, QEMU's own memory included: less than both of them with all of their max-mem.
BUDGET_MIB = 2816
_API_DIRECTORY = "/run/acma"  # systemd makes it elsewhere
_API = _API_DIRECTORY + "/controller.sock"
# The workload writes to a port of its own: asking for its output would wake a shell in the guest every time, and the
# memory that such a shell wants back counts as pressure.
_WORKLOAD_PORT = "org.acma.demo.0"
_AGENT_LOG = "/tmp/agent.log"
_POLL_S = 2
_ATTACH_S = 90
# libvirtd may be gone for this long (it may be restarted) before the run is given up.
_LIBVIRT_GONE_S = 15


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stage:
    """Starts everything; `close` ends it. What is started is also ended when this process dies (tests/rig)."""

    def __init__(self, build):
        self._build = build
        self._directory = workdir.make("demo")
        self._libvirt = None
        self._controller = None
        self._threads = []
        self._stop = threading.Event()
        self._failure = None
        self._connected_at = time.monotonic()
        self.guests = {}
        self.address = f"127.0.0.1:{_free_port()}"  # of the page, while it runs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._stop.set()
        if self._controller is not None:
            self._controller.terminate()
        if self._libvirt is not None:
            self._libvirt.close()
        for thread in self._threads:
            thread.join(10)
        workdir.remove(self._directory)

    # --- starting ---

    def accelerator(self):
        return accelerator("auto", KERNEL)

    def start_libvirt(self):
        self._libvirt = Libvirt()

    def start_guest(self, name, kind):
        """A domain with its policy in its metadata, and the agent running in it."""
        programs = ["guest-agent/acma-agent", "guest-agent/acma-deadman", "tests/workload/acma-workload"]
        options = Options(
            kernel=KERNEL,
            memory_mib=plan.RAM_MIB,
            swap=f"disk:{plan.RAM_MIB}",
            add=[self._stripped(program) for program in programs],
            channels=[_WORKLOAD_PORT],
            balloon_driver="shim",
            accel=kind,
        )
        guest = self._libvirt.guest(name, options, POLICY)
        self.guests[name] = guest
        guest.run(f"acma-agent run --deadman /usr/bin/acma-deadman >{_AGENT_LOG} 2>&1 &")

    def start_controller(self):
        # A configuration of its own: one that the machine has may have rules.
        config = os.path.join(self._directory, "controller.toml")
        with open(config, "w", encoding="ascii") as file:
            file.write(f'connect = "qemu:///system"\nlisten = "{self.address}"\n{budget_setting(BUDGET_MIB << 20)}')
        self._libvirt.run(["mkdir", "-p", _API_DIRECTORY])
        with open(self._path("controller.log"), "wb") as log:
            self._controller = self._libvirt.popen(
                [self._program("host-controller/acma-controller"), "--config", config],
                host_network=True,  # for a browser of this machine
                stdout=log,
                stderr=log,
            )

    def wait_for_agents(self):
        """Until every agent has its policy from the controller."""
        deadline = time.monotonic() + _ATTACH_S
        for name in self.guests:
            while not self._has_policy(name):
                self.check()
                if time.monotonic() > deadline:
                    raise DemoError(f"the agent of {name} has no policy from the controller\n{self.logs()}")
                time.sleep(0.5)

    def start_workloads(self, phases, records):
        """Starts the workloads, and everything that watches; returns the time that the run's seconds count from."""
        start = time.monotonic()
        for name, guest in self.guests.items():
            port = connect_when_there(guest.socket(_WORKLOAD_PORT), time.monotonic() + 10)
            port.settimeout(_POLL_S)
            argument = plan.workload_argument(phases, name, extra_s=600)
            # Little noise in each page, so that filling takes memory and not computing.
            command = f"acma-workload phases {argument} --period-ms 200 --zero-percent 98"
            guest.run(f"{command} >/dev/virtio-ports/{_WORKLOAD_PORT} &")
            self._watch(self._follow_workload, port, records[name], start)
        self._watch(self._follow_controller, records, start)
        return start

    def _has_policy(self, name):
        found = self._ask("show", name)
        status = found and found["agent"].get("status")
        return bool(status) and status["policy_source"] == "host"

    def _program(self, path):
        return os.path.join(self._build, path)

    def _path(self, name):
        return os.path.join(self._directory, name)

    def _stripped(self, program):
        """A copy without debugging symbols: the initramfs is memory of the guest that nothing can page out."""
        target = self._path(os.path.basename(program))
        if not os.path.exists(target):
            subprocess.run(["strip", "-o", target, self._program(program)], check=True)
        return target

    # --- watching ---

    def check(self):
        """Raises if something that has to run does not."""
        if self._failure:
            raise self._failure
        if self._controller is not None and self._controller.poll() is not None:
            raise DemoError(f"acma-controller ended with status {self._controller.returncode}\n{self.logs()}")

    def host_bytes(self, name):
        try:
            return self.guests[name].host_bytes()
        except OSError as error:
            raise DemoError(f"VM {name} is gone: {error}\n{self.guests[name].console_tail()}") from error

    def _watch(self, function, *arguments):
        def run():
            try:
                while not self._stop.is_set():
                    function(*arguments)
            except Exception as error:  # shown by the main thread, whatever it is
                if not self._stop.is_set():
                    self._failure = error

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _follow_workload(self, port, record, start):
        try:
            output = port.recv(65536)
        except TimeoutError:
            return
        if not output:
            raise DemoError(f"VM {record.name} is gone")
        record.add_workload_output(time.monotonic() - start, output.decode())

    def _follow_controller(self, records, start):
        self._check_libvirt()
        for name, record in records.items():
            found = self._ask("show", name)
            status = found and found["agent"].get("status")
            if status:
                record.add_status(_status(found, status, time.monotonic() - start))
        self._stop.wait(_POLL_S)

    def _check_libvirt(self):
        found = self._ask("list")
        now = time.monotonic()
        if found is None or found["host"]["libvirt_connected"]:
            self._connected_at = now
        elif now - self._connected_at > _LIBVIRT_GONE_S:
            raise DemoError(f"libvirtd is gone\n{self._libvirt.log()}")

    def _ask(self, *words):
        """The answer of acmactl as JSON; None if there is none."""
        done = self.acmactl(*words, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def acmactl(self, *words):
        command = [self._program("host-controller/acmactl"), "--socket", self._libvirt.path(_API), *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)

    def describe(self, kind):
        return f"Linux {Kernel(KERNEL).release}, {plan.RAM_MIB} MiB, " + ("KVM" if kind == "kvm" else "emulation (TCG)")

    def logs(self):
        """The end of what the controller and the agents said."""
        text = ""
        try:
            with open(self._path("controller.log"), encoding="utf-8", errors="replace") as file:
                text += "end of the controller's log:\n" + "".join(file.readlines()[-15:])
        except OSError:
            pass
        for name, guest in self.guests.items():
            try:
                text += f"end of the agent's log in {name}:\n" + guest.run(f"tail -n 10 {_AGENT_LOG}", timeout=10)
            except RigError as error:
                text += f"{error}\n"
        return text


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _status(found, status, now):
    return Status(
        at=now - found["agent"]["age_us"] / 1e6,
        psi_bp=status["psi_bp"],
        psi_stalled_us=status["psi_some_total_us"],
        oom_kills=status["oom_kills_total"],
        state=status["state"],
        reason=status["reason"],
        owned_bytes=status["owned_bytes"],
        taken_bytes=status["taken_total_bytes"],
        returned_bytes=status["returned_total_bytes"],
        scaling=status["scaling"],
        marks=[f"{mark['what']}: {mark['message']}" for mark in found["vm"]["marks"]],
    )
