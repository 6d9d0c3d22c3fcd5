# SPDX-License-Identifier: Apache-2.0
"""The guest's whole user space as a cpio archive: busybox, /init, the modules of its kernel, and our programs."""

import os
import shutil
import stat
import subprocess

from .errors import RigError

_INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest_init.sh")
_DIRECTORIES = ("bin", "dev", "etc", "lib", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "usr/sbin", "var/lib")


class Initramfs:
    """Collects files, then writes them: `Initramfs().add_program(path).write(file)`."""

    def __init__(self):
        self._entries = {}
        for directory in _DIRECTORIES:
            self._add_directory(directory)
        self.add_bytes("init", _read(_INIT), 0o755)
        busybox = shutil.which("busybox", path="/bin:/usr/bin")
        if busybox is None:
            raise RigError("busybox is missing (package busybox-static)")
        self.add_bytes("bin/busybox", _read(busybox), 0o755)

    def add_bytes(self, destination, content, mode=0o644):
        destination = destination.strip("/")
        self._add_directory(os.path.dirname(destination))
        self._entries[destination] = (stat.S_IFREG | mode, content)
        return self

    def add_text(self, destination, text, mode=0o644):
        return self.add_bytes(destination, text.encode(), mode)

    def add(self, source, destination=None):
        """A file, a program (with its libraries) or a directory tree. Programs go to /usr/bin unless told otherwise."""
        if os.path.isdir(source):
            root = destination or "/" + os.path.basename(os.path.abspath(source))
            for directory, _, names in os.walk(source):
                for name in names:
                    path = os.path.join(directory, name)
                    self.add(path, os.path.join(root, os.path.relpath(path, source)))
            return self
        if not os.path.exists(source):
            raise RigError(f"{source} does not exist")
        content = _read(source)
        executable = os.access(source, os.X_OK)
        default = ("/usr/bin/" if executable else "/root/") + os.path.basename(source)
        self.add_bytes(destination or default, content, 0o755 if executable else 0o644)
        if content.startswith(b"\x7fELF") and executable:
            self._add_libraries(source)
        return self

    def add_modules(self, kernel, names):
        """Modules that /init loads, in an order that satisfies their dependencies."""
        order = kernel.load_order(names)
        for name, content in order:
            self.add_bytes(f"lib/modules/{name}.ko", content)
        return self.add_text("etc/modules", "".join(f"{name}\n" for name, _ in order))

    def write(self, path):
        """Uncompressed on purpose: under TCG the guest needs longer to decompress than QEMU to copy."""
        with open(path, "wb") as file:
            for inode, name in enumerate(sorted(self._entries), start=1):
                mode, content = self._entries[name]
                _write_entry(file, inode, name, mode, content)
            _write_entry(file, 0, "TRAILER!!!", 0, b"")
        return path

    def _add_directory(self, path):
        while path and path not in self._entries:
            self._entries[path] = (stat.S_IFDIR | 0o755, b"")
            path = os.path.dirname(path)

    def _add_libraries(self, program):
        output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for line in output.splitlines():
            for word in line.split():
                if word.startswith("/"):
                    if word.strip("/") not in self._entries:
                        self.add_bytes(word, _read(word), 0o755)
                    break
            else:
                if "not found" in line:
                    raise RigError(f"{program} needs a library that is not here: {line.strip()}")


def _write_entry(file, inode, name, mode, content):
    """One member in "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst)."""
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    file.write(header + b"\0" * (-len(header) % 4))
    file.write(content)
    file.write(b"\0" * (-len(content) % 4))


def _read(path):
    with open(path, "rb") as file:
        return file.read()
