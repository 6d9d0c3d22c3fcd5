# SPDX-License-Identifier: Apache-2.0
"""Guest kernels in the cache (scripts/lib/kernels.sh puts them there) and their modules."""

import lzma
import os

from .errors import RigError


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "/root"), ".cache")
    return os.environ.get("ACMA_CACHE") or os.path.join(base, "acma")


def _key(name):
    """Module names and file names differ in dashes and underscores only."""
    return name.replace("-", "_")


class Kernel:
    """One unpacked Debian kernel: `series` is "6.12", "7.3" or the path of a directory with vmlinuz and modules/."""

    def __init__(self, series):
        self.series = series
        self.directory = series if "/" in series else os.path.join(cache_dir(), "kernels", series)
        self.vmlinuz = os.path.join(self.directory, "vmlinuz")
        if not os.path.exists(self.vmlinuz):
            raise RigError(f"no kernel {series} in {self.directory}: run scripts/test setup")
        with open(os.path.join(self.directory, "release"), encoding="ascii") as file:
            self.release = file.read().strip()
        self._files = {}
        modules = os.path.join(self.directory, "modules")
        for directory, _, names in os.walk(modules):
            for name in names:
                if ".ko" in name:
                    self._files[_key(name.split(".ko")[0])] = os.path.join(directory, name)
        with open(os.path.join(modules, "modules.builtin"), encoding="ascii") as file:
            self._builtin = {_key(os.path.basename(line.strip())[: -len(".ko")]) for line in file}

    def add_module(self, name, path):
        """One that is not Debian's."""
        if not os.path.exists(path):
            raise RigError(f"{path} is missing: scripts/test build makes it")
        self._files[_key(name)] = path

    def has_module(self, name):
        return _key(name) in self._files

    def module(self, name):
        """The bytes of a module, ready for insmod (busybox cannot decompress)."""
        path = self._files[_key(name)]
        if path.endswith(".xz"):
            with lzma.open(path) as file:
                return file.read()
        with open(path, "rb") as file:
            return file.read()

    def path_in_tree(self, name):
        """Where Debian's package has it under /lib/modules/RELEASE, but not compressed."""
        path = os.path.relpath(self._files[_key(name)], os.path.join(self.directory, "modules"))
        return path.removesuffix(".xz")

    def load_order(self, names):
        """[(name, bytes)] of the named modules and all they depend on, each after its dependencies."""
        done = {}

        def visit(name):
            key = _key(name)
            if key in done or key in self._builtin:
                return
            if key not in self._files:
                raise RigError(f"kernel {self.release} has no module {name}")
            content = self.module(key)
            done[key] = None
            for dependency in dependencies(content):
                visit(dependency)
            # Re-inserted to stand behind what it needs.
            del done[key]
            done[key] = content

        for name in names:
            visit(name)
        return list(done.items())


def dependencies(module):
    """Names in the module's "depends=" field (.modinfo: strings that end with a zero byte)."""
    start = module.find(b"\0depends=")
    if start < 0:
        return []
    start += len(b"\0depends=")
    return [name for name in module[start : module.index(b"\0", start)].decode().split(",") if name]
