# SPDX-License-Identifier: Apache-2.0
"""The agent's udev rules, obeyed by Debian's udev in a guest."""

import os

from tests.rig import udev
from tests.rig.guest import Options
from tests.rig.qemu import Guest

from .harness import TOP, case, expect

# What a Debian guest has, as far as disks and ports need it.
_OF_DEBIAN = ["50-udev-default.rules", "60-block.rules", "60-persistent-storage.rules"]
_ROTATES = "/sys/block/vda/queue/rotational"


def _options(**changes):
    return Options(add=udev.files(_OF_DEBIAN, [os.path.join(TOP, "guest-agent", "90-acma-agent.rules")]), boot=udev.START, **changes)


@case()
def the_channel_starts_the_agents_unit():
    with Guest(_options(channels=["org.acma.agent.0", "org.example.0"])) as guest:
        ports = guest.run("for port in /sys/class/virtio-ports/*; do udevadm info $port; echo; done").split("\n\n")
        (agents,) = [port for port in ports if "org.acma.agent.0" in port]
        expect("SYSTEMD_WANTS=acma-agent.service" in agents and "TAGS=:systemd:" in agents, agents)
        expect("acma-agent.service" not in "".join(port for port in ports if port != agents), str(ports))


@case()
def only_swap_on_a_virtio_disk_is_said_not_to_rotate():
    with Guest(_options(swap="rotating:256")) as guest:

        def rotates_after(commands):
            return guest.run(f"{commands}\nudevadm settle; cat {_ROTATES}").split()[-1]

        wipe = f"dd if=/dev/zero of=/dev/vda bs=4096 count=2 2>/dev/null; udevadm settle; echo 1 >{_ROTATES}"
        expect(rotates_after("true") == "0", "swap that was there at boot rotates")
        expect(rotates_after(f"swapoff /dev/vda; {wipe}; udevadm trigger") == "1", "a disk without swap does not rotate")
        expect(rotates_after("mkswap /dev/vda") == "0", "swap that was made later rotates")
        partition = "printf 'o\\nn\\np\\n1\\n\\n\\nw\\n' | fdisk /dev/vda >/dev/null"
        expect(rotates_after(f"{wipe}; {partition}") == "1", "a disk with an empty partition does not rotate")
        expect(rotates_after("mkswap /dev/vda1") == "0", "swap on a partition rotates")
