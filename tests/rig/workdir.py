# SPDX-License-Identifier: Apache-2.0
"""Directories for one run's sockets, logs and disks. They are gone with the process that made them."""

import atexit
import os
import re
import shutil
import tempfile

# On disk rather than on a tmpfs: swap images live here, and they must not compete for memory.
_BASE = os.environ.get("ACMA_RUN_DIR", "/var/tmp")
_PREFIX = "acma-rig-"
_NAME = re.compile(r"^acma-rig-(\d+)-")


def _remove_leftovers():
    """Removes directories of processes that died without cleaning up (SIGKILL)."""
    for name in os.listdir(_BASE):
        match = _NAME.match(name)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            shutil.rmtree(os.path.join(_BASE, name), ignore_errors=True)


def make(purpose="run"):
    """A new private directory; its path is short because AF_UNIX paths end at 107 bytes."""
    _remove_leftovers()
    path = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{purpose}-", dir=_BASE)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
