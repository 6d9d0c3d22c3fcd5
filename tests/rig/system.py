# SPDX-License-Identifier: Apache-2.0
"""The few Linux calls that Python 3.11 has no names for."""

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent():
    """In a child before exec: no guest outlives the process that started it, however that dies."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def mount(source, target, kind, data=""):
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), 0, data.encode()), f"mount {kind} on {target}")


def enter_namespace(pid, name):
    descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, 0), f"setns {name}")
    finally:
        os.close(descriptor)
