# SPDX-License-Identifier: Apache-2.0
"""A guest without libvirt: kernel and initramfs in QEMU, a console log, a command channel, QMP."""

import ctypes
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time

from . import hostmem, workdir
from .channel import PORT, CommandChannel, connect_when_there
from .errors import RigError
from .initramfs import Initramfs
from .kernel import Kernel, cache_dir

MIB = 1 << 20
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass
class Options:
    kernel: str = "6.12"
    memory_mib: int = 1024
    smp: int = 2
    swap: str = ""  # "", "disk:MIB" or "zram:MIB[:ALGORITHM]"
    add: list = dataclasses.field(default_factory=list)  # "PATH" or "PATH:DESTINATION"
    modules: list = dataclasses.field(default_factory=list)  # on top of those that the options imply
    cmdline: str = ""
    balloon: bool = True  # the stock device with free page reporting and deflate-on-oom
    balloon_driver: bool = True  # load the stock virtio_balloon in the guest
    channels: list = dataclasses.field(default_factory=list)  # more virtio ports, each a socket in the work directory
    files: dict = dataclasses.field(default_factory=dict)  # destination -> text
    boot: str = ""  # a shell script that runs before the first command
    accel: str = "tcg"  # "tcg", "kvm" or "auto" (kvm if it really boots this kernel)
    icount: bool = False  # guest time is the instruction count; needs smp == 1
    memory_args: list = dataclasses.field(default_factory=list)  # replaces -m, for NUMA or hugetlb
    ram_block_mib: list = dataclasses.field(default_factory=list)  # sizes of the blocks that memory_args makes
    machine: str = ""  # more machine properties, such as "hmat=on"
    qemu_args: list = dataclasses.field(default_factory=list)
    boot_timeout_s: int = 120  # a boot takes 2-4 s under TCG when the machine is idle


def swap_parts(swap):
    """("disk"|"zram"|"", MiB, algorithm)"""
    if not swap or swap == "none":
        return "", 0, ""
    kind, _, rest = swap.partition(":")
    size, _, algorithm = rest.partition(":")
    if kind not in ("disk", "zram") or not size.isdigit():
        raise RigError(f"swap is disk:MIB, zram:MIB[:ALGORITHM] or none, not '{swap}'")
    return kind, int(size), algorithm or "lz4"


def guest_modules(options):
    kind = swap_parts(options.swap)[0]
    modules = list(options.modules)
    if options.balloon_driver:
        modules.insert(0, "virtio_balloon")
    if kind == "disk":
        modules.append("virtio_blk")
    if kind == "zram":
        # 6.12 has lz4 behind the crypto API as modules that zram does not name as dependencies.
        modules += [name for name in ("lz4", "lz4hc") if Kernel(options.kernel).has_module(name)] + ["zram"]
    return modules


def guest_cmdline(options):
    kind, size, algorithm = swap_parts(options.swap)
    words = ["console=ttyS0", "quiet", "panic=1"]
    if options.icount:
        words.append("nokaslr")
    if kind == "disk":
        words.append("acma.swap=disk")
    if kind == "zram":
        words.append(f"acma.swap=zram:{size}M:{algorithm}")
    return " ".join(words + ([options.cmdline] if options.cmdline else []))


def build_initramfs(options, path):
    """The initramfs that these options describe, written to `path`."""
    archive = Initramfs()
    for item in options.add:
        source, _, destination = item.partition(":")
        archive.add(source, destination or None)
    for destination, text in options.files.items():
        archive.add_text(destination, text)
    if options.boot:
        archive.add_text("etc/boot", "#!/bin/sh\n" + options.boot + "\n", 0o755)
    archive.add_modules(Kernel(options.kernel), guest_modules(options))
    return archive.write(path)


def make_swap_image(options, path):
    """A sparse file of the asked size; the guest writes the swap header."""
    with open(path, "wb") as file:
        file.truncate(swap_parts(options.swap)[1] * MIB)
    return path


def die_with_parent():
    """In a child before exec: no guest outlives the process that started it, however that dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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


class Guest:
    """A running guest. `with Guest(Options(...)) as guest: guest.run("uname -r")`"""

    def __init__(self, options):
        self.options = options
        self.directory = workdir.make("qemu")
        self.console_path = os.path.join(self.directory, "console.log")
        self._process = None
        self._commands = None
        self._qmp = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self._process.pid

    @property
    def qmp(self):
        if self._qmp is None:
            self._qmp = Qmp(self.socket("qmp"), 10)
        return self._qmp

    def socket(self, name):
        """Path of the host's end of a port ("qmp", or a name from Options.channels)."""
        return os.path.join(self.directory, name + ".sock")

    def run(self, script, timeout=60, check=True):
        """Output of a shell script in the guest; with check=False its Result with the exit status."""
        try:
            result = self._commands.run(script, timeout)
        except RigError as error:
            raise RigError(f"{error}\n{self.console_tail()}") from error
        if not check:
            return result
        if result.status != 0:
            raise RigError(f"exit status {result.status} in the guest from: {script}\n{result.output}")
        return result.output

    def host_memory(self):
        return hostmem.read(self.pid, [size * MIB for size in self._ram_blocks()])

    def host_bytes(self):
        return self.host_memory().ram_bytes

    def console(self):
        with open(self.console_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def console_tail(self, lines=20):
        if not os.path.exists(self.console_path):
            return ""
        return "end of the guest's console:\n" + "\n".join(self.console().splitlines()[-lines:])

    def close(self):
        if self._commands is not None:
            self._commands.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        workdir.remove(self.directory)

    def _ram_blocks(self):
        return self.options.ram_block_mib or [self.options.memory_mib]

    def _start(self):
        initramfs = build_initramfs(self.options, os.path.join(self.directory, "initramfs"))
        log_path = os.path.join(self.directory, "qemu.log")
        with open(log_path, "wb") as log:
            self._process = subprocess.Popen(
                self._command(initramfs), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        try:
            self._commands = CommandChannel(self.socket(PORT), 10)
            self._commands.wait_ready(self.options.boot_timeout_s)
        except RigError as error:
            with open(log_path, encoding="utf-8", errors="replace") as log:
                raise RigError(f"{error}\n{log.read()}{self.console_tail()}") from error

    def _command(self, initramfs):
        options = self.options
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise RigError("qemu-system-x86_64 is missing (scripts/test setup installs it)")
        accel = accelerator(options.accel, options.kernel)
        machine = ",".join(part for part in ("q35", options.machine) if part)
        command = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-machine", machine, "-accel", accel, "-cpu", "host" if accel == "kvm" else "max"]
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
            command += ["-device", "virtio-balloon-pci,id=balloon,free-page-reporting=on,deflate-on-oom=on"]
        if swap_parts(options.swap)[0] == "disk":
            image = make_swap_image(options, os.path.join(self.directory, "swap.img"))
            command += ["-drive", f"file={image},format=raw,if=none,id=swap,cache=unsafe,discard=unmap"]
            command += ["-device", "virtio-blk-pci,drive=swap,serial=swap"]
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
            with Guest(Options(kernel=kernel, memory_mib=256, smp=1, accel="kvm", boot_timeout_s=15)) as guest:
                works = guest.run("uname -r").strip() == Kernel(kernel).release
        except RigError:
            works = False
        os.makedirs(os.path.dirname(answer), exist_ok=True)
        with open(answer, "w", encoding="ascii") as file:
            file.write("yes" if works else "no")
    with open(answer, encoding="ascii") as file:
        return file.read() == "yes"
