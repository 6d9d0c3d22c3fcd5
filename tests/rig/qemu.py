# SPDX-License-Identifier: Apache-2.0
"""A guest without libvirt: kernel and initramfs in QEMU, a console log, a command channel, QMP."""

import json
import os
import shutil
import subprocess
import sys
import time

from . import hostmem, system
from .channel import PORT, CommandChannel, connect_when_there
from .errors import RigError
from .guest import BaseGuest, Options, build_initramfs, guest_cmdline, make_swap_image, swap_is_a_disk
from .kernel import Kernel, cache_dir

# Emulation may die at boot, once in hundreds, while devices are mapped: a vCPU's TLB still has a section number of the memory
# map before (QEMU 10.0, system/physmem.c), which may be that of another device. That says nothing about what is tested here,
# so such a guest boots once more. Guests that sleep map their devices again when they wake up: Options.one_thread.
_LOST_RACES = ("iotlb_to_section: Assertion", "msix_table_mmio_write: Assertion")


class Qmp:
    """The QEMU monitor, one command at a time."""

    def __init__(self, path, timeout):
        connection = connect_when_there(path, time.monotonic() + timeout)
        connection.settimeout(30)
        self._stream = connection.makefile("rwb")
        self._stream.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self._stream.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        self._stream.flush()
        for line in iter(self._stream.readline, b""):
            reply = json.loads(line)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RigError(f"QMP {name}: {reply['error'].get('desc')}")
        raise RigError(f"QMP {name}: QEMU closed the connection")

    def hmp(self, line):
        return self.command("human-monitor-command", **{"command-line": line})


class Guest(BaseGuest):
    """A running guest. `with Guest(Options(...)) as guest: guest.run("uname -r")`"""

    def __init__(self, options, incoming=False):
        """With `incoming` it is empty and waits for take_over(), for which it needs the options of the other."""
        super().__init__(options, "qemu")
        self._incoming = incoming
        self._process = None
        self._qmp = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self):
        return self._process.pid

    @property
    def qmp(self):
        if self._qmp is None:
            self._qmp = Qmp(self.socket("qmp"), 10)
        return self._qmp

    def host_memory(self):
        return hostmem.read(self.pid, self.ram_block_sizes())

    def _stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self):
        initramfs = build_initramfs(self.options, os.path.join(self.directory, "initramfs"))
        try:
            self._boot(initramfs)
        except RigError as error:
            if not any(race in str(error) for race in _LOST_RACES) and not self._ended_before_init():
                raise
            print(f"the guest is booted again: {error}", file=sys.stderr)
            self._stop()
            self._boot(initramfs)

    def _boot(self, initramfs):
        log_path = os.path.join(self.directory, "qemu.log")
        with open(log_path, "wb") as log:
            self._process = subprocess.Popen(
                self._command(initramfs), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=system.die_with_parent
            )
        if self._incoming:
            return
        try:
            self._wait_for_boot(self.socket(PORT))
        except RigError as error:
            with open(log_path, encoding="utf-8", errors="replace") as log:
                raise RigError(f"{error}\n{log.read()}{self.console_tail()}") from error

    def take_over(self, source, postcopy=False, timeout=300):
        """Live migration from `source`, whose guest goes on here; the source's QEMU stays, without one."""
        uri = "unix:" + os.path.join(self.directory, "migration.sock")
        if postcopy:
            for side in (self, source):
                capability = [{"capability": "postcopy-ram", "state": True}]
                side.qmp.command("migrate-set-capabilities", capabilities=capability)
        self.qmp.command("migrate-incoming", uri=uri)
        source.qmp.command("migrate", uri=uri)
        if postcopy:
            source.qmp.command("migrate-start-postcopy")
        deadline = time.monotonic() + timeout
        while (status := source.qmp.command("query-migrate"))["status"] != "completed":
            if status["status"] in ("failed", "cancelled") or time.monotonic() > deadline:
                raise RigError(f"migration: {status}")
            time.sleep(0.1)
        self._adopt()

    def load(self, path, timeout=300):
        """Goes on with the guest that save() wrote."""
        self.qmp.command("migrate-incoming", uri=f"file:{path}")
        deadline = time.monotonic() + timeout
        while self.qmp.command("query-status")["status"] != "running":
            if time.monotonic() > deadline:
                raise RigError(f"restore: {self.qmp.command('query-status')}")
            time.sleep(0.1)
        self._adopt()

    def save(self, path, timeout=300):
        """Writes the guest to a file; it does not run any more."""
        self.qmp.command("migrate", uri=f"file:{path}")
        deadline = time.monotonic() + timeout
        while (status := self.qmp.command("query-migrate"))["status"] != "completed":
            if status["status"] == "failed" or time.monotonic() > deadline:
                raise RigError(f"save: {status}")
            time.sleep(0.1)

    def _adopt(self):
        """The guest is ready since it booted elsewhere."""
        self._commands = CommandChannel(self.socket(PORT), 10)

    def _command(self, initramfs):
        options = self.options
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise RigError("qemu-system-x86_64 is missing (scripts/test setup installs it)")
        accel = "tcg" if options.icount else accelerator(options.accel, options.kernel)
        threads = ",thread=single" if accel == "tcg" and options.one_thread else ""
        machine = ",".join(part for part in ("q35", options.machine) if part)
        command = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-machine", machine, "-accel", accel + threads, "-cpu", "host" if accel == "kvm" else options.cpu]
        command += ["-smp", str(options.smp)]
        command += options.memory_args or ["-m", str(options.memory_mib)]
        command += ["-kernel", Kernel(options.kernel).vmlinuz, "-initrd", initramfs, "-append", guest_cmdline(options)]
        command += ["-serial", f"file:{self.console_path}"]
        command += ["-qmp", f"unix:{self.socket('qmp')},server=on,wait=off"]
        command += ["-device", "virtio-serial-pci"]
        for number, port in enumerate([PORT] + options.channels):
            command += ["-chardev", f"socket,id=port{number},path={self.socket(port)},server=on,wait=off"]
            command += ["-device", f"virtserialport,chardev=port{number},name={port}"]
        if options.balloon:
            command += ["-device", ",".join(filter(None, ["virtio-balloon-pci,id=balloon", options.balloon_properties]))]
        if swap_is_a_disk(options):
            image = make_swap_image(options, os.path.join(self.directory, "swap.img"))
            command += ["-drive", f"file={image},format=raw,if=none,id=swap,cache=unsafe,discard=unmap"]
            command += ["-device", "virtio-blk-pci,drive=swap,serial=swap"]
        if self._incoming:
            command += ["-incoming", "defer"]
        if options.icount:
            command += ["-icount", "shift=0,sleep=off", "-rtc", "clock=vm,base=2025-01-01"]
        return command + options.qemu_args


def accelerator(wanted, kernel):
    if wanted != "auto":
        return wanted
    return "kvm" if kvm_boots(kernel) else "tcg"


def kvm_boots(kernel):
    """Whether KVM boots this kernel here: /dev/kvm may exist and still run no stock kernel. Asked once per host boot."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        answer = os.path.join(cache_dir(), "kvm", file.read().strip() + "-" + Kernel(kernel).release)
    if not os.path.exists(answer):
        try:
            with Guest(Options(kernel=kernel, memory_mib=256, smp=1, accel="kvm", boot_timeout_s=10)) as guest:
                works = guest.run("uname -r").strip() == Kernel(kernel).release
        except RigError:
            works = False
        os.makedirs(os.path.dirname(answer), exist_ok=True)
        with open(answer, "w", encoding="ascii") as file:
            file.write("yes" if works else "no")
    with open(answer, encoding="ascii") as file:
        return file.read() == "yes"
