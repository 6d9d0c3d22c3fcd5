# SPDX-License-Identifier: Apache-2.0
"""Which driver a guest boots with: the balloon shim where it is there and allowed, else the stock driver. And how the agent's
unit comes by /dev/acma."""

import json
import os
import tempfile

from tests.rig import udev
from tests.rig.guest import Options, shim_path
from tests.rig.kernel import Kernel
from tests.rig.qemu import Guest

from .harness import AGENT, BLOCKS, DEADMAN, KERNELS, TOP, case, expect, wait_until

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


_UNITS = "/lib/systemd/system"
_AGENT_FILES = os.path.join(TOP, "guest-agent")
_ETC = {
    "etc/acma/agent.toml": '[policy]\nstandalone = true\npsi = "0.1%"\n',
    "etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/systemd/system/default.target": "[Unit]\nWants=acma-agent.service\n",
}


def _systemd():
    """For Options.add: the machine's systemd as process 1, and the agent installed."""
    programs = ["/lib/systemd/systemd:/sbin/init", "/bin/systemctl:/bin/systemctl"]
    if os.path.exists("/lib/systemd/systemd-executor"):  # since systemd 255
        programs.append("/lib/systemd/systemd-executor:/usr/lib/systemd/systemd-executor")
    units = [f"{_UNITS}/{name}:{_UNITS}/{name}" for name in ("basic.target", "sysinit.target", "shutdown.target")]
    agent = [
        AGENT + ":/usr/sbin/acma-agent",
        DEADMAN + ":/usr/libexec/acma-deadman",
        os.path.join(_AGENT_FILES, "acma-agent.service") + ":/etc/systemd/system/acma-agent.service",
    ]
    return programs + units + agent + udev.files(["50-udev-default.rules"], [os.path.join(_AGENT_FILES, "90-acma-agent.rules")])


def _attached(guest):
    return json.loads(guest.run("acma-blocks state"))["flags"] & 0x10 != 0


@case(each={"driver": ["that comes late"]}, full_each=["that goes and comes"])
def the_agents_unit_finds_a_driver(driver):
    add = [*_systemd(), BLOCKS, shim_path("6.12") + ":/root/acma_balloon.ko"]
    with Guest(Options(balloon_driver="", add=add, files=_ETC, boot=udev.START)) as guest:
        wait_until(lambda: guest.run("acma-agent status", check=False).status == 0, 60, lambda: guest.run("dmesg | tail -30"))
        unit = guest.run("cat /proc/$(pidof acma-agent)/cgroup; systemctl show -p DevicePolicy acma-agent.service")
        expect("acma-agent.service" in unit and "DevicePolicy=closed" in unit, unit)
        guest.run("insmod /root/acma_balloon.ko")
        why = "acma-agent status; systemctl show -p DeviceAllow acma-agent.service; ls -l /dev/acma"
        wait_until(lambda: _attached(guest), 45, lambda: guest.run(why))
        if driver == "that goes and comes":
            sys_driver = "/sys/bus/virtio/drivers/acma_balloon"
            device = guest.run(f"basename $(ls -d {sys_driver}/virtio*)").strip()
            guest.run(f"echo {device} >{sys_driver}/unbind; ! [ -e /dev/acma ]; echo {device} >{sys_driver}/bind")
            wait_until(lambda: _attached(guest), 45, lambda: guest.run(why))
        expect("no-shim" not in guest.run("acma-agent status"), guest.run("acma-agent status"))
