# SPDX-License-Identifier: Apache-2.0
"""Debian's udev and kmod for guests, from the cache (scripts/lib/udev.sh puts them there)."""

import os
import shutil
import subprocess

from .kernel import Kernel, cache_dir

# For Options.boot. It is systemd-udevd by the name that it is called.
START = "ln -s udevadm /usr/bin/systemd-udevd; systemd-udevd --daemon; udevadm trigger --type=all --action=add; udevadm settle"


def files(rules, more=()):
    """For Options.add: udev with these of Debian's rules, and with more (paths)."""
    udev = os.path.join(cache_dir(), "udev")
    paths = [os.path.join(udev, "rules.d", name) for name in rules] + list(more)
    return [os.path.join(udev, "udevadm"), *(f"{path}:/usr/lib/udev/rules.d/{os.path.basename(path)}" for path in paths)]


def modprobe():
    """For Options.add: the real one, which unlike busybox's obeys install rules."""
    return os.path.join(cache_dir(), "kmod", "kmod") + ":/sbin/modprobe"


def module_tree(series, directory, names, more=None):
    """For Options.add: /lib/modules as it is installed, of these modules of Debian's and more (path in it -> bytes).

    It is made in `directory`, with what depmod makes of it."""
    kernel = Kernel(series)
    top = os.path.join(directory, "lib", "modules", kernel.release)
    os.makedirs(top)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(os.path.join(kernel.directory, "modules", name), top)
    for path, content in [(kernel.path_in_tree(name), kernel.module(name)) for name in names] + list((more or {}).items()):
        os.makedirs(os.path.dirname(os.path.join(top, path)), exist_ok=True)
        with open(os.path.join(top, path), "wb") as file:
            file.write(content)
    kmod = os.path.join(cache_dir(), "kmod", "kmod")
    subprocess.run(["depmod", "-b", directory, kernel.release], executable=kmod, check=True)
    return os.path.join(directory, "lib") + ":/lib"
