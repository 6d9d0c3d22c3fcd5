# SPDX-License-Identifier: Apache-2.0
"""A host full of pretended VMs: domains of libvirt's test driver, whose agents answer over real unix sockets. The
controller that manages them is real; no QEMU runs and no memory is used."""

import asyncio
import dataclasses
import json
import math
import os
import threading
import time
import uuid
from xml.sax.saxutils import escape, quoteattr

MIB = 1 << 20


@dataclasses.dataclass
class Vm:
    name: str
    ram_mib: int = 2048
    policy: dict = None  # attributes of <acma:policy>, or none
    agent: bool = True
    psi_bp: int = 0
    reason: str = "settled: little is cold"
    used_mib: int = 700  # in use, on average
    swing_mib: int = 0  # and by how much that goes up and down
    period_s: float = 60

    def __post_init__(self):
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, self.name))


_COMMANDS = ["guest-sync-delimited", "guest-sync", "guest-ping", "guest-info", "acma-set-policy", "acma-get-status"]


class _Agent:
    def __init__(self, vm, start):
        self._vm = vm
        self._start = start
        self._sequence = 0
        self._order = {"min_mem_bytes": 0, "max_mem_bytes": 0, "psi_bp": 10, "shares": 1000, "mode": "off"}
        self._grant = 0
        self._generation = 0

    async def serve(self, reader, writer):
        try:
            while True:
                line = (await reader.readline()).strip(b"\xff\r\n")
                if not line:
                    if reader.at_eof():
                        break
                    continue
                request = json.loads(line)
                sentinel = b"\xff" if request["execute"] == "guest-sync-delimited" else b""
                answer = {"return": self._answer(request)}
                if "id" in request:
                    answer["id"] = request["id"]
                writer.write(sentinel + json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, json.JSONDecodeError):
            pass
        writer.close()

    def _answer(self, request):
        command, arguments = request["execute"], request.get("arguments", {})
        if command.startswith("guest-sync"):
            return arguments["id"]
        if command == "guest-info":
            commands = [{"name": name, "enabled": True, "success-response": True} for name in _COMMANDS]
            return {"version": "0.1.0", "supported_commands": commands,
                    "acma": {"protocol": 1, "capabilities": ["policy-1", "status-1"]}}
        if command == "acma-set-policy":
            self._generation = arguments.pop("generation")
            self._grant = arguments.pop("grant_bytes")
            self._order = {"shares": 1000, **arguments}
            return {"generation": self._generation, "policy": self._order, "grant_bytes": self._grant}
        return self._status() if command == "acma-get-status" else {}

    def _status(self):
        vm, now = self._vm, time.monotonic() - self._start
        self._sequence += 1
        total = vm.ram_mib * MIB
        used = vm.used_mib + vm.swing_mib * math.sin(2 * math.pi * now / vm.period_s)
        used = min(int(used) * MIB, total - 64 * MIB)
        given = self._grant or total
        voluntary = max(0, min(given - used - 128 * MIB, given - self._order["min_mem_bytes"]))
        free = max(0, given - voluntary - used)
        ripple = 1 + 0.6 * math.sin(now / 3) + 0.3 * math.sin(now)
        return {
            "agent_version": "0.1.0", "sequence": self._sequence, "uptime_us": int(now * 1e6) + 1_000_000, "state": "settled",
            "reason": vm.reason, "policy": self._order if self._generation else {**self._order, "psi_bp": 10},
            "policy_source": "host" if self._generation else "none", "policy_generation": self._generation,
            "mem_total_bytes": total, "mem_free_bytes": free, "mem_available_bytes": free,
            "swap_total_bytes": total, "swap_free_bytes": total, "swap_in_total_bytes": 0, "swap_out_total_bytes": 0,
            "refault_total_bytes": 0, "oom_kills_total": 0, "psi_some_total_us": 0,
            "psi_bp": max(0, min(10_000, int(vm.psi_bp * ripple))), "quota_bytes_per_s": 0, "reclaimed_total_bytes": 0,
            "working_set_bytes": used // 2, "owned_bytes": total - given + voluntary, "voluntary_bytes": voluntary, "problems": [],
        }


class Host:
    """with Host([Vm("web"), ...]) as host: the controller's --connect is host.uri, until the end."""

    def __init__(self, directory, vms):
        self.vms = vms
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._servers = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        path = os.path.join(directory, "host.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("<node>" + "".join(self._domain(vm) for vm in vms) + "</node>")
        self.uri = f"test://{path}"

    def __enter__(self):
        self._thread.start()
        start = time.monotonic()
        for vm in self.vms:
            if vm.agent:
                server = asyncio.start_unix_server(_Agent(vm, start).serve, self._socket(vm))
                self._servers.append(asyncio.run_coroutine_threadsafe(server, self._loop).result(30))
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _hang_up(self):
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _socket(self, vm):
        return os.path.join(self._directory, f"{vm.uuid[:13]}.sock")

    def _domain(self, vm):
        policy = "".join(f" {name}={quoteattr(value)}" for name, value in (vm.policy or {}).items())
        metadata = f'<metadata><acma:policy xmlns:acma="urn:acma:policy:1"{policy}/></metadata>' if vm.policy else ""
        channel = (f"<channel type='unix'><source mode='bind' path={quoteattr(self._socket(vm))}/>"
                   "<target type='virtio' name='org.acma.agent.0'/></channel>")
        return (f"<domain type='test'><name>{escape(vm.name)}</name><uuid>{vm.uuid}</uuid>{metadata}"
                f"<memory unit='MiB'>{vm.ram_mib}</memory><os><type>hvm</type></os>"
                f"<devices>{channel}<memballoon model='virtio'/></devices></domain>")
