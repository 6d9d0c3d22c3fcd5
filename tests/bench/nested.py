# SPDX-License-Identifier: Apache-2.0
"""A guest in huge pages, without any of this machine's: an outer guest has some, and runs QEMU itself, with an inner guest in them.

Emulation in emulation takes five minutes to boot. So the inner guest boots out here, in common memory, and is saved; in there it
goes on."""

import base64
import gzip
import json
import re
import shutil
import struct
import time

from tests.rig.channel import PORT, CommandChannel
from tests.rig.errors import RigError
from tests.rig.guest import Options
from tests.rig.kernel import Kernel
from tests.rig.qemu import Guest

MIB = 1 << 20
PAGE = 4096
HUGE = 2 * MIB

_QEMU = "qemu-system-x86_64"
# What it wants beside its libraries, where Debian puts it.
_FIRMWARE = ["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/kvmvapic.bin"]
_KERNEL = "/root/vmlinuz"
_INNER_PORT = "org.acma.bench.inner"
_QMP = 4444  # TCP ports in the outer guest
_COMMANDS = 4445
_SLOW_S = 300


def prepared(options):
    """Options of a guest that can be saved and go on inside."""
    size = f"{options.memory_mib}M"
    options.smp = 1
    options.accel = "tcg"
    options.machine = "memory-backend=ram"
    options.qemu_args = [*options.qemu_args, "-object", f"memory-backend-memfd,id=ram,size={size}"]
    return options


class Outer(Guest):
    """A guest with `pages` huge pages of 2 MiB, in which saved guests (paths here) can go on, one after another."""

    def __init__(self, kernel, pages, memory_mib, saved):
        options = Options(
            kernel=kernel,
            memory_mib=memory_mib,
            balloon=False,
            balloon_driver="",
            channels=[_INNER_PORT],
            modules=["virtio_blk"],
            cmdline=f"hugepages={pages} init_on_alloc=0 mitigations=off",
            add=[shutil.which(_QEMU), *(f"{path}:{path}" for path in _FIRMWARE), f"{Kernel(kernel).vmlinuz}:{_KERNEL}"],
        )
        for number, path in enumerate(saved):
            options.qemu_args += ["-drive", f"file={path},format=raw,if=none,id=saved{number},readonly=on"]
            options.qemu_args += ["-device", f"virtio-blk-pci,drive=saved{number},serial=saved{number}"]
        super().__init__(options)

    def free_huge_pages(self):
        """Those that nobody has, nor has been promised."""
        text = self.run("cat /proc/meminfo", timeout=_SLOW_S)
        of = lambda name: int(re.search(rf"^HugePages_{name}:\s+(\d+)", text, re.MULTILINE)[1])
        return of("Free") - of("Rsvd")


class Inner:
    """The saved guest of that number goes on in the outer guest's huge pages; all of its memory is there when it does."""

    def __init__(self, outer, number, options):
        self.outer = outer
        self.size = options.memory_mib * MIB
        # The same devices in the same order as Guest gave it.
        command = [
            *(_QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "q35,memory-backend=ram", "-accel", "tcg,tb-size=96", "-cpu", "max", "-smp", "1", "-m", options.memory_mib),
            *("-kernel", _KERNEL, "-serial", "file:/tmp/console", "-qmp", f"tcp:127.0.0.1:{_QMP},server=on,wait=off"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=port0,host=127.0.0.1,port={_COMMANDS},server=on,wait=off"),
            *("-device", f"virtserialport,chardev=port0,name={PORT}"),
            *("-device", ",".join(filter(None, ["virtio-balloon-pci,id=balloon", options.balloon_properties]))),
            *("-object", f"memory-backend-memfd,id=ram,size={options.memory_mib}M,hugetlb=on,hugetlbsize=2M,prealloc=on"),
            *("-incoming", "'exec:cat $disk'"),
        ]
        self._commands = CommandChannel(outer.socket(_INNER_PORT), 10)
        outer.run(
            f"disk=/dev/$(grep -lx saved{number} /sys/block/vd*/serial | cut -d / -f 4); export disk; cd /tmp\n"
            f"{' '.join(str(word) for word in command)} >qemu.log 2>&1 & echo $! >/tmp/qemu.pid\n"
            # From our socket through the outer guest to the inner one's port, both ways.
            f"until nc 127.0.0.1 {_COMMANDS} <>/dev/virtio-ports/{_INNER_PORT} >&0; do usleep 200000; done 2>/dev/null &",
            timeout=_SLOW_S,
        )
        self._pid = int(outer.run("cat /tmp/qemu.pid", timeout=_SLOW_S))
        deadline = time.monotonic() + _SLOW_S
        while (state := self._state()) != "running":
            if time.monotonic() > deadline:
                raise RigError(f"the inner guest is {state}\n" + outer.run("cat /tmp/qemu.log", timeout=_SLOW_S))
            time.sleep(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.outer.run(f"kill -9 {self._pid}; while [ -e /proc/{self._pid} ]; do usleep 100000; done", timeout=_SLOW_S)
        self._commands.close()

    def _state(self):
        try:
            return self.qmp("query-status")["status"]
        except RigError as error:
            return str(error)

    def run(self, script, timeout=_SLOW_S):
        result = self._commands.run(script, timeout)
        if result.status != 0:
            raise RigError(f"exit status {result.status} in the inner guest from: {script}\n{result.output}")
        return result.output

    def qmp(self, name, **arguments):
        """One command to the inner QEMU's monitor."""
        lines = [json.dumps({"execute": "qmp_capabilities"}), json.dumps({"execute": name, "arguments": arguments, "id": "wanted"})]
        script = f"{{ printf '%s\\n' {' '.join(_quoted(line) for line in lines)}; sleep 1; }} | nc 127.0.0.1 {_QMP}"
        for line in self.outer.run(script, timeout=_SLOW_S).splitlines():
            reply = json.loads(line)
            if reply.get("id") == "wanted":
                if "error" in reply:
                    raise RigError(f"QMP {name}: {reply['error'].get('desc')}")
                return reply["return"]
        raise RigError(f"QMP {name}: no answer")

    def present(self):
        """Which 2 MiB of its memory the outer guest has a page for: [bool] by guest address. Below 2 GiB memory is one piece."""
        maps = self.outer.run(f"cat /proc/{self._pid}/maps", timeout=_SLOW_S)
        start = ram_mapping(maps, self.size)
        number = self.size // HUGE
        script = (
            f"dd if=/proc/{self._pid}/pagemap bs={8 * HUGE // PAGE} skip={start // HUGE} count={number} of=/tmp/pagemap 2>/dev/null\n"
            "gzip -c /tmp/pagemap | base64"
        )
        return present_pages(gzip.decompress(base64.b64decode(self.outer.run(script, timeout=_SLOW_S))))


def _quoted(text):
    return "'" + text + "'"


def ram_mapping(maps, size):
    """Where the mapping of that many bytes begins, by /proc/PID/maps."""
    for line in maps.splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        if end - start == size and "memfd" in line:
            return start
    raise RigError(f"QEMU has no mapping of {size} bytes:\n{maps}")


def present_pages(pagemap):
    """One for each 2 MiB: bit 63 of its first entry (Documentation/admin-guide/mm/pagemap.rst)."""
    step = 8 * HUGE // PAGE
    return [bool(struct.unpack_from("<Q", pagemap, at)[0] >> 63) for at in range(0, len(pagemap), step)]
