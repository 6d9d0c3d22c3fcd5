# SPDX-License-Identifier: Apache-2.0
"""What guests of raw QEMU and of libvirt have in common: how they are described, built and talked to."""

import dataclasses
import os

from . import workdir
from .channel import CommandChannel
from .errors import RigError
from .initramfs import Initramfs
from .kernel import Kernel

MIB = 1 << 20


@dataclasses.dataclass
class Options:
    kernel: str = "6.12"
    memory_mib: int = 1024
    smp: int = 2
    swap: str = ""  # "", "disk:MIB", "rotating:MIB" or "zram:MIB[:ALGORITHM]"
    add: list = dataclasses.field(default_factory=list)  # "PATH" or "PATH:DESTINATION"
    modules: list = dataclasses.field(default_factory=list)  # on top of those that the options imply
    cmdline: str = ""
    balloon: bool = True  # the stock device with free page reporting and deflate-on-oom
    balloon_driver: str = "stock"  # "stock" (virtio_balloon), "shim" (acma_balloon, built by scripts/test build) or ""
    balloon_properties: str = "free-page-reporting=on,deflate-on-oom=on"  # of the device
    channels: list = dataclasses.field(default_factory=list)  # more virtio ports, each a socket in the work directory
    files: dict = dataclasses.field(default_factory=dict)  # destination -> text
    boot: str = ""  # a shell script that runs before the first command
    accel: str = os.environ.get("ACMA_ACCEL", "auto")  # "tcg", "kvm" or "auto": kvm if it really boots this kernel
    cpu: str = "max"  # QEMU's model and flags, where the guest is emulated
    icount: bool = False  # guest time is the instruction count; needs smp == 1
    one_thread: bool = False  # an emulated guest's vCPUs take turns, so that they do not race with changes of the memory map
    memory_args: list = dataclasses.field(default_factory=list)  # replaces -m, for NUMA or hugetlb
    ram_block_mib: list = dataclasses.field(default_factory=list)  # sizes of the blocks that memory_args makes
    machine: str = ""  # more machine properties, such as "hmat=on"
    qemu_args: list = dataclasses.field(default_factory=list)
    boot_timeout_s: int = 120  # a boot takes 2-4 s under TCG when the machine is idle


_BALLOON_DRIVERS = {"stock": "virtio_balloon", "shim": "acma_balloon"}


def shim_path(series):
    """The balloon shim for this kernel, as scripts/lib/module.sh builds it."""
    build = os.environ.get("ACMA_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
    return os.path.join(os.path.abspath(build), "kmod", series, "acma_balloon.ko")


def swap_parts(swap):
    """("disk"|"rotating"|"zram"|"", MiB, algorithm). Rotating: a virtio disk as it is in a guest without the agent's udev rules."""
    if not swap or swap == "none":
        return "", 0, ""
    kind, _, rest = swap.partition(":")
    size, _, algorithm = rest.partition(":")
    if kind not in ("disk", "rotating", "zram") or not size.isdigit() or int(size) == 0:
        raise RigError(f"swap is disk:MIB, rotating:MIB, zram:MIB[:ALGORITHM] or none, not '{swap}'")
    return kind, int(size), algorithm or "lz4"


def swap_is_a_disk(options):
    return swap_parts(options.swap)[0] in ("disk", "rotating")


def guest_modules(options):
    kind = swap_parts(options.swap)[0]
    modules = list(options.modules)
    if options.balloon_driver:
        modules.insert(0, _BALLOON_DRIVERS[options.balloon_driver])
    if swap_is_a_disk(options):
        modules.append("virtio_blk")
    if kind == "zram":
        # 6.12 has lz4 behind the crypto API as modules that zram does not name as dependencies.
        modules += [name for name in ("lz4", "lz4hc") if Kernel(options.kernel).has_module(name)] + ["zram"]
    return modules


def guest_cmdline(options):
    kind, size, algorithm = swap_parts(options.swap)
    # no_timer_check: an emulated guest whose host is busy for some ticks at boot would panic (arch/x86/kernel/apic/io_apic.c,
    # "IO-APIC + timer doesn't work"); under KVM the kernel leaves that check out by itself.
    words = ["console=ttyS0", "quiet", "panic=1", "no_timer_check"]
    if options.icount:
        words.append("nokaslr")
    if swap_is_a_disk(options):
        words.append(f"acma.swap={kind}")
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
    kernel = Kernel(options.kernel)
    if options.balloon_driver == "shim":
        kernel.add_module("acma_balloon", shim_path(options.kernel))
    archive.add_modules(kernel, guest_modules(options))
    return archive.write(path)


def make_swap_image(options, path):
    """A sparse file of the asked size; the guest writes the swap header."""
    with open(path, "wb") as file:
        file.truncate(swap_parts(options.swap)[1] * MIB)
    return path


class BaseGuest:
    """A guest with a console log and a command channel. Subclasses start it, and know its QEMU process."""

    def __init__(self, options, purpose):
        self.options = options
        self.directory = workdir.make(purpose)
        self.console_path = os.path.join(self.directory, "console.log")
        self._commands = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the guest and removes its files; nothing happens the second time."""
        if self._commands is not None:
            self._commands.close()
            self._commands = None
        self._stop()
        workdir.remove(self.directory)

    def host_memory(self):
        """hostmem.HostMemory: host bytes of the guest, and QEMU's own memory apart."""
        raise NotImplementedError

    def _stop(self):
        raise NotImplementedError

    def host_bytes(self):
        return self.host_memory().ram_bytes

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

    def console(self):
        with open(self.console_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def console_tail(self, lines=20):
        if not os.path.exists(self.console_path):
            return ""
        return "end of the guest's console:\n" + "\n".join(self.console().splitlines()[-lines:])

    def socket(self, name):
        """Path of the host's end of a port ("qmp", or a name from Options.channels)."""
        return os.path.join(self.directory, name + ".sock")

    def ram_block_sizes(self):
        return [size * MIB for size in self.options.ram_block_mib or [self.options.memory_mib]]

    def _wait_for_boot(self, command_socket):
        self._commands = CommandChannel(command_socket, 10)
        self._commands.wait_ready(self.options.boot_timeout_s)

    def _ended_before_init(self):
        """Nothing of ours had run. Seen under TCG on a loaded machine: an oops at the nop of a static key (sched_clock_cpu), which
        another CPU may just have been patching; and a boot that stands still."""
        return os.path.exists(self.console_path) and "guest: init runs" not in self.console()
