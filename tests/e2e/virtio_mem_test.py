# SPDX-License-Identifier: Apache-2.0
"""max-mem as the size of a domain's virtio-mem device, with a real guest that plugs and unplugs."""

import json
import re

from tests.rig.guest import Options
from tests.rig.libvirt import Libvirt, Policy

from .controller_test import _Host
from .harness import MIB, case, expect, wait_until

_BOOT_MIB, _DEVICE_MIB = 512, 1024


def _with_device(xml):
    """Boot memory and a device beside it that has all plugged; what is unplugged is all that comes back to the host."""
    total = _BOOT_MIB + _DEVICE_MIB
    memory = f"<maxMemory slots='2' unit='MiB'>{2 * total}</maxMemory><memory unit='MiB'>{total}</memory>"
    numa = f"<numa><cell id='0' cpus='0' memory='{_BOOT_MIB}' unit='MiB'/></numa>"
    device = (
        f"<memory model='virtio-mem'><target><size unit='MiB'>{_DEVICE_MIB}</size><node>0</node><block unit='MiB'>2</block>"
        f"<requested unit='MiB'>{_DEVICE_MIB}</requested></target></memory>"
    )
    xml = re.sub(r"<memory unit='MiB'>\d+</memory>", memory, xml)
    xml = re.sub(r"<cpu mode='([a-z-]+)'/>", rf"<cpu mode='\1'>{numa}</cpu>", xml)
    return xml.replace("freePageReporting='on'", "").replace("<serial", device + "<serial", 1)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=400)
def max_mem_plugs_and_unplugs_virtio_mem_and_a_foreign_request_is_a_ceiling(kernel):
    options = Options(
        kernel=kernel, memory_mib=_BOOT_MIB, modules=["virtio_mem"], cmdline="memhp_default_state=online_movable", ram_block_mib=[_BOOT_MIB, _DEVICE_MIB]
    )
    policy = Policy("256MiB", f"{_BOOT_MIB + _DEVICE_MIB}MiB")
    with Libvirt() as libvirt, libvirt.guest("vm1", options, policy=policy, xml=_with_device) as guest:
        host = _Host(libvirt)

        def vm():
            return (host.show("vm1") or {"vm": {}})["vm"]

        def state():
            return f"{json.dumps(vm())}\n{host.log()}"

        def plugged(mib):
            wait_until(lambda: vm().get("virtio_mem_bytes") == mib * MIB, 90, state)

        plugged(_DEVICE_MIB)
        guest.run("mkdir -p /tmp/fill; mount -t tmpfs -o size=1000m tmpfs /tmp/fill; dd if=/dev/zero of=/tmp/fill/f bs=1M count=800; rm /tmp/fill/f", timeout=120)
        filled = guest.host_bytes()
        expect(filled > 750 * MIB, f"the guest holds {filled // MIB} MiB")

        host.ctl("set", "vm1", "--max-mem", f"{_BOOT_MIB + 256}MiB")
        plugged(256)
        wait_until(lambda: guest.host_bytes() < filled - 400 * MIB, 30, lambda: f"{filled // MIB} -> {guest.host_bytes() // MIB} MiB\n{state()}")
        told = host.ctl("explain", "vm1").stdout
        expect(told.count(" unplug: max-mem is 768 MiB, its boot memory 512 MiB") == 3, told)
        expect("virtio-mem" in libvirt.virsh("dumpxml", "vm1", "--inactive"), "the device is gone")
        expect("<requested unit='KiB'>1048576<" in libvirt.virsh("dumpxml", "vm1", "--inactive"), "the change is not live only")

        host.kill()
        host.start()
        plugged(256)
        host.ctl("set", "vm1", "--max-mem", f"{_BOOT_MIB + _DEVICE_MIB}MiB")
        plugged(_DEVICE_MIB)
        expect(not any(mark["what"] == "foreign-virtio-mem" for mark in vm()["marks"]), state())

        libvirt.virsh("update-memory-device", "vm1", "--alias", "virtiomem0", "--requested-size", "512MiB", "--live")
        host.wait_for("vm1", lambda seen: any(mark["what"] == "foreign-virtio-mem" for mark in seen["vm"]["marks"]), "no mark")
        plugged(512)
        host.ctl("set", "vm1", "--shares", "2000")
        plugged(512)
        host.ctl("release", "vm1")
        plugged(512)
        expect(int(guest.run("grep ^oom_kill /proc/vmstat").split()[1]) == 0, "an OOM kill")
