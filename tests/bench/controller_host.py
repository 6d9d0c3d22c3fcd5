# SPDX-License-Identifier: Apache-2.0
"""A simulated host for the bench `controller`: libvirt's test driver, agents on unix sockets, the real acma-controller."""

import http.client
import json
import os
import subprocess
import time

from tests.rig import workdir
from tests.rig.controller import UnixConnection
from tests.rig.errors import RigError

from .subject import BUILD

MIB = 1 << 20
RAM = 256 * MIB
MIN_MEM = 64 * MIB
BUDGET_EACH = 160 * MIB  # less than all want at their peaks, so that memory has to move
START_S = 180


def uuid_of(index):
    return f"00000000-0000-4000-8000-{index:012d}"


def node_xml(directory, count):
    """The test driver's node with `count` running domains, each with a policy and an agent's channel."""
    domains = "".join(
        f"""<domain type='test'><name>vm{i}</name><uuid>{uuid_of(i)}</uuid>
<metadata><acma:policy xmlns:acma='urn:acma:policy:1' min-mem='{MIN_MEM >> 20}MiB' max-mem='{RAM >> 20}MiB' psi='0.1%'/></metadata>
<memory unit='KiB'>{RAM >> 10}</memory><currentMemory unit='KiB'>{RAM >> 10}</currentMemory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os><devices>
<channel type='unix'><source mode='bind' path='{directory}/{i}.sock'/><target type='virtio' name='org.acma.agent.0'/></channel>
<memballoon model='virtio'/></devices></domain>
"""
        for i in range(count)
    )
    return f"<node>{domains}</node>\n"


def meminfo(count):
    """What the controller reads of its host: the budget is fifteen sixteenths of it."""
    total = count * BUDGET_EACH * 16 // 15 >> 10
    return f"MemTotal: {total} kB\nMemFree: {total // 2} kB\nMemAvailable: {total // 2} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"


def cpu_s(pid):
    """CPU seconds of a process and its threads, to the nanosecond: utime and stime count in hundredths."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def memory(pid):
    """{name: bytes} of /proc/PID/smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        lines = [line.split() for line in file.readlines()[1:]]
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}


class SimulatedHost:
    """`count` VMs under a controller. With `processes`, a stand-in for each VM's QEMU runs, for the controller to measure.
    `wrapper(directory)` goes in front of the controller's command."""

    def __init__(self, count, processes=False, wrapper=lambda _: []):
        self.count = count
        self.directory = workdir.make("scale")
        self.agents = self.controller = self._connection = None
        try:
            self._start_agents(processes)
            self._start_controller(wrapper(self.directory))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in (self.controller, self.agents):
            if process is not None:
                process.kill()
                process.wait()
        if self.agents is not None:
            self.agents.stdin.close()
            self.agents.stdout.close()
        workdir.remove(self.directory)

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _write(self, name, text):
        with open(self._path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def _start_agents(self, processes):
        command = [os.path.join(BUILD, "tests/bench/acma-agents"), self.directory, str(self.count), str(RAM)]
        self.agents = subprocess.Popen(
            command + (["--processes"] if processes else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.agents.stdout.readline() != "ready\n":
            raise RigError("the simulated agents did not start")

    def _start_controller(self, wrapper):
        self._write("node.xml", node_xml(self.directory, self.count))
        self._write("meminfo", meminfo(self.count))
        self._write("controller.toml", f'usage-database = "{self._path("usage.db")}"\n')
        program = [os.path.join(BUILD, "host-controller/acma-controller"), "--config", self._path("controller.toml")]
        program += ["--connect", f"test://{self._path('node.xml')}", "--socket", self._path("c.sock")]
        # In a mount namespace of its own this host has as much memory as so many VMs need.
        inside = 'mount --bind "$0" /proc/meminfo && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", inside, self._path("meminfo"), *wrapper, *program]
        with open(self._path("log"), "ab") as log:
            self.controller = subprocess.Popen(command, stderr=log)
        deadline = time.monotonic() + START_S
        while self._agents_up() < self.count:
            if time.monotonic() > deadline or self.controller.poll() is not None:
                raise RigError(f"{self._agents_up()} of {self.count} agents are connected: {self.log()[-2000:]}")
            time.sleep(0.5)

    def log(self):
        with open(self._path("log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def _agents_up(self):
        try:
            return sum(value == 1 for (name, _), value in self.metrics().items() if name == "acma_domain_agent_up")
        except (OSError, http.client.HTTPException):
            return 0

    def request(self, method, target, body=None):
        connection = UnixConnection(self._path("c.sock"))
        try:
            connection.request(method, target, body=body)
            response = connection.getresponse()
            content = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise RigError(f"{method} {target}: {response.status} {content}")
        return content

    def metrics(self):
        """{(name, labels as text): value}"""
        found = {}
        for line in self.request("GET", "/metrics").splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name, _, labels = name.partition("{")
                found[name, labels.rstrip("}")] = float(value)
        return found

    def set_policy(self, index, **change):
        self.request("POST", f"/v1/vms/{uuid_of(index)}/policy", json.dumps(change))

    def _tell_agents(self, line):
        self.agents.stdin.write(line + "\n")
        self.agents.stdin.flush()
        answer = self.agents.stdout.readline().split()
        if answer[:1] != ["done"]:
            raise RigError("the simulated agents ended")
        return answer[1:]

    def behave(self, vm, manners):
        """From now on."""
        self._tell_agents(f"behave {vm} {manners}")

    def bytes_sent(self, vm):
        """By the guest, since it was started."""
        return int(self._tell_agents(f"sent {vm}")[0])

    def asked(self):
        """What the agents were asked: [(seconds of CLOCK_MONOTONIC, VM, "s"|"p", max-mem of a policy)]."""
        self._tell_agents("flush")
        with open(self._path("asked"), encoding="ascii") as file:
            # It goes on meanwhile: the last line may be half written.
            rows = [line.split() for line in file if line.endswith("\n")]
        return [(int(row[0]) / 1e6, int(row[1]), row[2], int(row[3]) if len(row) > 3 else None) for row in rows]
