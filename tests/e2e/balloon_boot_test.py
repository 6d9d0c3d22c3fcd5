# SPDX-License-Identifier: Apache-2.0
"""Which driver a guest boots with: the balloon shim where it is there and allowed, else the stock driver."""

import os
import tempfile

from tests.rig import udev
from tests.rig.guest import Options, shim_path
from tests.rig.kernel import Kernel
from tests.rig.qemu import Guest

from .harness import KERNELS, TOP, case, expect, wait_until

_MODPROBE_CONF = os.path.join(TOP, "kmod-balloon-shim", "modprobe.conf")
_RULES = ["50-udev-default.rules", "80-drivers.rules"]
_DEVICE = "device=$(dirname $(grep -lx 0x0005 /sys/bus/virtio/devices/*/device))"
_BY_HAND = f"{_DEVICE}; /sbin/modprobe $(cat $device/modalias) 2>&1"


def _shim(series):
    with open(shim_path(series), "rb") as file:
        return file.read()


def _built_for_another_kernel(shim):
    """Not by its release: with MODVERSIONS the kernel leaves that out."""
    expect(shim.count(b" SMP ") == 1, "nothing to change in the module's vermagic")
    return shim.replace(b" SMP ", b" UP1 ")


def _driver(kernel, loader, shim, cmdline=""):
    """(the driver that drives the balloon device after boot, what the kernel said)."""
    with tempfile.TemporaryDirectory(prefix="acma-") as directory:
        more = {} if shim is None else {"updates/dkms/acma_balloon.ko": shim}
        tree = udev.module_tree(kernel, directory, ["virtio_balloon"], more)
        add = [tree, udev.modprobe(), _MODPROBE_CONF + ":/etc/modprobe.d/acma-balloon.conf", *udev.files(_RULES)]
        boot = udev.START if loader == "udev" else _BY_HAND
        options = Options(kernel=kernel, memory_mib=512, smp=1, balloon_driver="", add=add, boot=boot, cmdline=cmdline)
        with Guest(options) as guest:
            driver = guest.run(f"{_DEVICE}; readlink $device/driver | sed 's|.*/||'").strip()
            loaded = guest.run("cut -d' ' -f1 /proc/modules").split()
            expect(loaded == [driver] * bool(driver), f"{loaded} are loaded, {driver} drives the device")
            if driver:  # and it does
                guest.qmp.command("balloon", value=400 << 20)
                wait_until(lambda: guest.qmp.command("query-balloon")["actual"] == 400 << 20, 30, f"{driver} does not follow the host")
            expect((guest.run("ls /dev/acma", check=False).status == 0) == (driver == "acma_balloon"), f"/dev/acma with {driver}")
            return driver, guest.run("dmesg")


# What is there of the shim -> (its module of a kernel, kernel command line, the driver that is expected, what the kernel says)
_STATES = {
    "there": (lambda shim: shim, "", "acma_balloon", ""),
    "missing": (lambda _: None, "", "virtio_balloon", ""),
    "cut off": (lambda shim: shim[: len(shim) // 2], "", "virtio_balloon", ""),
    "built for another kernel": (_built_for_another_kernel, "", "virtio_balloon", "version magic"),
    # As under Secure Boot, where lockdown has the same check refuse it.
    "not signed": (lambda shim: shim, "module.sig_enforce=1", "virtio_balloon", "sig"),
}
_HOW = [f"{kernel}, {loader}, {state}" for kernel in KERNELS for loader in ("udev", "modprobe") for state in _STATES]
_OFTEN = [
    "6.12, udev, there",
    "7.3, modprobe, there",
    "6.12, modprobe, missing",
    "7.3, udev, cut off",
    "6.12, modprobe, built for another kernel",
    "7.3, udev, not signed",
]


@case(each={"how": _OFTEN}, full_each=[how for how in _HOW if how not in _OFTEN])
def the_shim_drives_the_balloon_from_boot_and_the_stock_driver_where_it_cannot(how):
    kernel, loader, state = how.split(", ")
    module, cmdline, driver, said = _STATES[state]
    drives, dmesg = _driver(kernel, loader, module(_shim(kernel)), cmdline)
    expect(drives == driver, f"{drives or 'nothing'} drives the balloon\n{dmesg[-3000:]}")
    expect(said in dmesg, f"the kernel does not say why\n{dmesg[-3000:]}")
