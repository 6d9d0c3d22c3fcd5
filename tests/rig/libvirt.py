# SPDX-License-Identifier: Apache-2.0
"""A real libvirtd of our own in its own mount, process and network namespaces, and guests that it runs.

    with Libvirt() as libvirt:
        with libvirt.guest("vm1", Options(memory_mib=1024), policy=Policy("512MiB", "1GiB")) as guest:
            guest.run("free -m"); libvirt.virsh("dommemstat", "vm1"); guest.host_bytes()
        controller = libvirt.popen(["build/host-controller/acma-controller"])

Several may run at once; none is seen by, or changes, a libvirt of the machine itself.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
import uuid as uuid_module
from xml.sax.saxutils import escape, quoteattr

from . import hostmem, system, workdir
from .channel import PORT, CommandChannel
from .errors import RigError
from .guest import BaseGuest, Options, build_initramfs, guest_cmdline, make_swap_image, swap_is_a_disk
from .kernel import Kernel
from .qemu import accelerator

AGENT_PORT = "org.acma.agent.0"
POLICY_NAMESPACE = "urn:acma:policy:1"
_HERE = os.path.dirname(os.path.abspath(__file__))
_START_TIMEOUT_S = 60


@dataclasses.dataclass
class Policy:
    """An acma:policy element; empty attributes are left out."""

    min_mem: str = ""
    max_mem: str = ""
    psi: str = ""
    shares: str = ""
    mode: str = ""

    def attributes(self):
        pairs = [(field.name.replace("_", "-"), getattr(self, field.name)) for field in dataclasses.fields(self)]
        return "".join(f" {name}={quoteattr(value)}" for name, value in pairs if value)

    def metadata(self):
        return f"<acma:policy xmlns:acma={quoteattr(POLICY_NAMESPACE)}{self.attributes()}/>"


@dataclasses.dataclass
class Paths:
    """Files of one domain, and what this machine offers."""

    initramfs: str
    console: str
    sockets: dict  # virtio port -> the host's end, where that is not libvirt's to choose
    swap_image: str
    kind: str  # "kvm" or "qemu" (TCG)


def _channel(name, path=""):
    source = f"<source mode='bind' path={quoteattr(path)}/>" if path else ""
    return f"<channel type='unix'>{source}<target type='virtio' name={quoteattr(name)}/></channel>"


def _swap_disk(image):
    return (
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe' discard='unmap'/>"
        f"<source file={quoteattr(image)}/><target dev='vda' bus='virtio'/><serial>swap</serial></disk>"
    )


def domain_xml(name, uuid, options, policy, paths, stats_period_s=1):
    """The domain as XML: direct kernel boot, agent channel, balloon with statistics and free page reporting."""
    cpu = "host-passthrough" if paths.kind == "kvm" else "maximum"
    channels = [_channel(AGENT_PORT)] + [_channel(name, path) for name, path in paths.sockets.items()]
    balloon = (
        f"<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='{stats_period_s}'/></memballoon>"
        if options.balloon
        else "<memballoon model='none'/>"
    )
    return f"""<domain type='{paths.kind}'>
  <name>{escape(name)}</name>
  <uuid>{uuid}</uuid>
  <metadata>{policy.metadata() if policy else ""}</metadata>
  <memory unit='MiB'>{options.memory_mib}</memory>
  <vcpu>{options.smp}</vcpu>
  <cpu mode='{cpu}'/>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{escape(Kernel(options.kernel).vmlinuz)}</kernel>
    <initrd>{escape(paths.initramfs)}</initrd>
    <cmdline>{escape(guest_cmdline(options))}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <serial type='file'><source path={quoteattr(paths.console)}/></serial>
    {"".join(channels)}
    {_swap_disk(paths.swap_image) if paths.swap_image else ""}
    {balloon}
  </devices>
</domain>
"""


class Libvirt:
    """The daemon. `virsh`, `run` and `popen` act inside its namespaces."""

    def __init__(self):
        self.directory = workdir.make("virt")
        self.log_path = os.path.join(self.directory, "libvirtd.log")
        self._guests = []
        self._unshare = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the daemon, every guest and everything else in its namespaces."""
        for guest in list(self._guests):
            guest.close(destroy=False)
        if self._unshare is not None:
            self._unshare.stdin.close()
            try:
                self._unshare.wait(10)
            except subprocess.TimeoutExpired:
                self._unshare.kill()
                self._unshare.wait()
            self._unshare = None
        workdir.remove(self.directory)

    def guest(self, name, options=None, policy=None, uuid=None, xml=None):
        """Defines and starts a domain, and waits until it takes commands. `xml` may rewrite the domain's XML."""
        return LibvirtGuest(self, name, options or Options(), policy, uuid or str(uuid_module.uuid4()), xml)

    def virsh(self, *arguments, timeout=60):
        return self.run(["virsh", "-q", "-c", "qemu:///system", *arguments], timeout=timeout).stdout

    def run(self, command, timeout=60, check=True, **kwargs):
        """Runs a command inside to its end; its CompletedProcess (text)."""
        done = subprocess.run(
            self._inside(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **kwargs,
        )
        if check and done.returncode != 0:
            raise RigError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, command, host_network=False, **kwargs):
        """Starts a command inside, perhaps with the machine's own network; signals go through, and it ends when this process does."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self._inside(command, host_network), preexec_fn=system.die_with_parent, **kwargs)

    @property
    def uri(self):
        """Of this daemon from outside its namespaces."""
        return f"qemu+unix:///system?socket={self.path('/run/libvirt/libvirt-sock')}"

    def path(self, inside):
        """A path of the private mount namespace as it can be opened from here."""
        return f"/proc/{self.init_pid}/root{inside}"

    def restart_daemon(self, kill=False):
        """Stops libvirtd (with SIGKILL if asked) and starts it again; its guests go on."""
        self._tell("kill" if kill else "term")
        self._expect("stopped")
        self._tell("start")
        self._wait_until_it_answers()

    def start_daemon(self):
        self._tell("start")
        self._wait_until_it_answers()

    def forget(self, guest):
        if guest in self._guests:
            self._guests.remove(guest)

    def remember(self, guest):
        self._guests.append(guest)

    def _inside(self, command, host_network=False):
        network = ["--host-network"] if host_network else []
        return ["/usr/bin/python3", os.path.join(_HERE, "enter.py"), *network, str(self.init_pid), *command]

    def _start(self):
        daemon = shutil.which("libvirtd", path="/usr/sbin:/usr/bin")
        if daemon is None:
            raise RigError("libvirtd is missing (scripts/test setup installs it)")
        if os.geteuid() != 0:
            raise RigError("a private libvirt needs root (for its namespaces)")
        command = ["unshare", "-m", "-n", "-p", "--fork", "--mount-proc", "--kill-child"]
        command += ["/usr/bin/python3", os.path.join(_HERE, "libvirt_init.py"), daemon, self.log_path]
        self._unshare = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=system.die_with_parent,
            start_new_session=True,  # a terminal's Ctrl-C is for us alone, who end it in order
        )
        self._expect("ready")
        pid = self._unshare.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            self.init_pid = int(file.read().split()[0])
        self.start_daemon()

    def _tell(self, word):
        self._unshare.stdin.write(word + "\n")
        self._unshare.stdin.flush()

    def _expect(self, word):
        line = self._unshare.stdout.readline().strip()
        if line != word:
            raise RigError(f"the private libvirt said '{line}' instead of '{word}'\n{self.log()}")

    def _wait_until_it_answers(self):
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.run(["virsh", "-q", "-c", "qemu:///system", "list"], check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RigError(f"libvirtd does not answer\n{self.log()}")
            time.sleep(0.1)

    def log(self):
        text = ""
        for path in (self.log_path, self.log_path + ".stderr"):
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text += file.read()
        return text


class LibvirtGuest(BaseGuest):
    def __init__(self, libvirt, name, options, policy, uuid, rewrite):
        super().__init__(options, "dom")
        self.name = name
        self.uuid = uuid
        self._libvirt = libvirt
        self._destroy = False
        self._port = self.socket(PORT)
        libvirt.remember(self)
        try:
            self._start(policy, rewrite)
        except RigError as error:
            tail = self.console_tail()
            self.close()
            raise RigError(f"{error}\n{tail}") from error
        except BaseException:
            self.close()
            raise

    @property
    def pid(self):
        """The QEMU process as its own process namespace counts."""
        with open(self._libvirt.path(f"/run/libvirt/qemu/{self.name}.pid"), encoding="ascii") as file:
            return int(file.read())

    def host_memory(self):
        return hostmem.read(self.pid, self.ram_block_sizes(), proc=self._libvirt.path("/proc"))

    def virsh(self, verb, *arguments):
        """virsh VERB THIS-DOMAIN ARGUMENTS..."""
        return self._libvirt.virsh(verb, self.name, *arguments)

    def memory_stats(self):
        """virsh dommemstat as a dictionary (KiB)."""
        return {key: int(value) for key, value in (line.split() for line in self.virsh("dommemstat").splitlines() if line)}

    def set_policy(self, policy):
        """Replaces the policy of the running domain as an operator would, with virsh metadata."""
        self.virsh("metadata", POLICY_NAMESPACE, "--live", "--key", "acma", "--set", f"<policy{policy.attributes()}/>")

    def migrate_to(self, libvirt, *flags, timeout=120):
        """virsh migrate, to another private libvirt; the guest goes on there, and so does this object."""
        # The QEMU that is left removes its sockets when it ends, also where the other has made the same anew.
        port = self.socket(PORT) + f".{libvirt.init_pid}"
        definition = os.path.join(self.directory, "moved.xml")
        with open(definition, "w", encoding="utf-8") as file:
            file.write(self.virsh("dumpxml", "--migratable").replace(self._port, port))
        self._port = port
        command = ["virsh", "-q", "-c", self._libvirt.uri, "migrate", "--live", "--persistent", "--undefinesource", *flags]
        command += [self.name, "--desturi", libvirt.uri, "--migrateuri", f"unix://{self.directory}/migration.sock"]
        command += ["--xml", definition, "--persistent-xml", definition]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise RigError(f"{' '.join(command)}: {done.stderr}\n{self._libvirt.log()}\n{libvirt.log()}")
        self._libvirt.forget(self)
        self._libvirt = libvirt
        libvirt.remember(self)
        self._commands.close()
        self._commands = CommandChannel(self._port, 10)

    def save_and_start(self):
        """Its memory goes into a file, its QEMU ends, and another goes on from there."""
        self._commands.close()
        self.virsh("managedsave")
        self.virsh("start")
        self._commands = CommandChannel(self._port, 10)

    def close(self, destroy=True):
        self._destroy = self._destroy and destroy
        super().close()
        self._libvirt.forget(self)

    def _start(self, policy, rewrite):
        options = self.options
        paths = Paths(
            initramfs=build_initramfs(options, os.path.join(self.directory, "initramfs")),
            console=self.console_path,
            sockets={name: self.socket(name) for name in [PORT, *options.channels]},
            swap_image=make_swap_image(options, os.path.join(self.directory, "swap.img")) if swap_is_a_disk(options) else "",
            kind="kvm" if accelerator(options.accel, options.kernel) == "kvm" else "qemu",
        )
        text = domain_xml(self.name, self.uuid, options, policy, paths)
        definition = os.path.join(self.directory, "domain.xml")
        with open(definition, "w", encoding="utf-8") as file:
            file.write(rewrite(text) if rewrite else text)
        self._libvirt.virsh("define", definition)
        self._destroy = True
        self.virsh("start")
        try:
            self._wait_for_boot(self._port)
        except RigError as error:
            if not self._ended_before_init():
                raise
            print(f"{self.name} is booted again: {error}", file=sys.stderr)
            self._libvirt.run(["virsh", "-q", "-c", "qemu:///system", "destroy", self.name], check=False)  # it may have ended by itself
            self.virsh("start")
            self._wait_for_boot(self._port)

    def _stop(self):
        if not self._destroy:
            return
        self._destroy = False
        for verb in ("destroy", "undefine"):
            try:
                self._libvirt.virsh(verb, self.name)
            except (RigError, subprocess.TimeoutExpired) as error:
                print(f"{verb} {self.name}: {error}", file=sys.stderr)
