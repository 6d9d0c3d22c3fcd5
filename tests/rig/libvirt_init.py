# SPDX-License-Identifier: Apache-2.0
"""Process 1 of a private libvirt: own mounts, libvirtd, and reaping. Ends when its standard input does.

When it ends the kernel ends everything in its process namespace (libvirtd, guests, what a test started there), and
the mounts go with the mount namespace. So nothing is left behind, however the test dies.
"""

import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from tests.rig import system  # noqa: E402  (this file runs as a script)

_QEMU_CONF = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
seccomp_sandbox = 0
"""

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def make_writable(path, scratch):
    """Lays a layer in memory over a directory: what is written there is ours alone and gone with us."""
    name = path.strip("/").replace("/", "-")
    upper, work = os.path.join(scratch, name, "upper"), os.path.join(scratch, name, "work")
    os.makedirs(upper)
    os.makedirs(work)
    system.mount("overlay", path, "overlay", f"lowerdir={path},upperdir={upper},workdir={work}")


def mount_all():
    system.mount("tmpfs", "/run", "tmpfs")
    for path in ("/etc", "/var/lib", "/var/cache", "/var/log"):
        make_writable(path, "/run/rig")
    for path in ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"):
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)


def add_accounts():
    """libvirtd looks up its default accounts before it reads that it shall not use them; without Debian's
    libvirt-daemon-system they do not exist."""
    for path, line in (("/etc/passwd", "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n"),
                       ("/etc/group", "libvirt-qemu:x:64055:\n")):
        with open(path, "r+", encoding="utf-8") as file:
            if not any(row.startswith("libvirt-qemu:") for row in file):
                file.write(line)


def write_configuration(log):
    with open("/etc/libvirt/qemu.conf", "w", encoding="ascii") as file:
        file.write(_QEMU_CONF)
    with open("/etc/libvirt/libvirtd.conf", "w", encoding="ascii") as file:
        file.write(f'auth_unix_rw = "none"\nauth_unix_ro = "none"\nlog_outputs = "3:file:{log}"\n')
        file.write(f'host_uuid = "{uuid.uuid4()}"\n')  # no domain migrates to a host of the same


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = struct.unpack("16sH22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0)))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


class Init:
    def __init__(self, libvirtd, log):
        self._command = [libvirtd, "-f", "/etc/libvirt/libvirtd.conf", "-p", "/run/libvirtd.pid"]
        self._output = log + ".stderr"
        self._daemon = None

    def start_daemon(self):
        with open(self._output, "ab") as output:
            self._daemon = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output).pid

    def stop_daemon(self, number):
        if self._daemon is not None:
            os.kill(self._daemon, number)

    def reap(self):
        try:
            while True:
                pid = os.waitpid(-1, os.WNOHANG)[0]
                if pid == 0:
                    return
                if pid == self._daemon:
                    self._daemon = None
                    print("stopped", flush=True)
        except ChildProcessError:
            pass

    def serve(self):
        """Commands on standard input: start, term, kill (the daemon; guests stay)."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready = select.select([0, wake_read], [], [])[0]
            if wake_read in ready:
                os.read(wake_read, 4096)
                self.reap()
            if 0 in ready:
                words = os.read(0, 4096).decode().split()
                if not words:
                    return
                for word in words:
                    {
                        "start": self.start_daemon,
                        "term": lambda: self.stop_daemon(signal.SIGTERM),
                        "kill": lambda: self.stop_daemon(signal.SIGKILL),
                    }[word]()


def main(libvirtd, log):
    os.makedirs("/run", exist_ok=True)
    mount_all()
    add_accounts()
    write_configuration(log)
    loopback_up()
    print("ready", flush=True)
    Init(libvirtd, log).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
