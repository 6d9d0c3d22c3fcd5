# SPDX-License-Identifier: Apache-2.0
"""Guests without an agent of ours, under the same policies."""

import json
import os
import re

from tests.rig.guest import Options
from tests.rig.kernel import cache_dir
from tests.rig.libvirt import Libvirt, Policy

from .controller_test import _Host
from .harness import MIB, WORKLOAD, case, expect, wait_until


def _plain(xml):
    """A domain as others make it: no channel of ours, no statistics."""
    return re.sub(r"<channel type='unix'><target type='virtio' name=.org.acma.agent.0./></channel>|<stats period='1'/>", "", xml)


def _vmstat(guest, key):
    return int(guest.run(f"grep '^{key} ' /proc/vmstat").split()[1])


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=300)
def a_guest_without_an_agent_shrinks_when_idle_and_grows_with_its_work(kernel):
    options = Options(kernel=kernel, memory_mib=1024, swap="disk:512", add=[WORKLOAD])
    with Libvirt() as libvirt, libvirt.guest("vm1", options, policy=Policy("256MiB", "1GiB"), xml=_plain) as guest:
        host = _Host(libvirt)

        def state():
            return f"{guest.memory_stats()} {json.dumps(host.show('vm1'))}\n{host.log()}"

        wait_until(lambda: host.actual("vm1") <= 800 * MIB, 120, state)
        expect(host.show("vm1")["statistics"]["usable_bytes"] > 100 * MIB, state())
        expect("<stats" not in libvirt.virsh("dumpxml", "vm1", "--inactive"), "the period is not live only")
        guest.run("acma-workload touch --mib 650 --period-ms 100 --seconds 8 --verify 1 >/tmp/w.log; echo $? >/tmp/w.end", timeout=90)
        expect(guest.run("cat /tmp/w.end").strip() == "0", guest.run("cat /tmp/w.log"))
        expect(_vmstat(guest, "oom_kill") == 0, "an OOM kill")
        told = host.ctl("explain", "vm1").stdout
        expect("its guest uses" in told and " grow: " in told and " shrink: " in told, told)
        grown = [entry["numbers"]["to_bytes"] for entry in json.loads(host.ctl("explain", "vm1", "--json").stdout)["entries"] if entry["decision"] == "grow"]
        expect(max(grown) >= 850 * MIB, f"{grown}")


_FLAVOR = "<nova:instance xmlns:nova='urn:nova'><nova:flavor name='m1.small'/></nova:instance>"
_RULE = """[[rule]]
metadata = { namespace = "urn:nova", path = "instance/flavor/@name", value = "m1.*" }
min-mem = "256MiB"
max-mem = "384MiB"
mode = "auto"
"""


@case(timeout_s=200)
def a_rule_by_another_tools_metadata_holds_and_a_paused_guest_is_left_alone():
    def flavored(xml):
        return _plain(xml).replace("<metadata>", f"<metadata>{_FLAVOR}")

    with Libvirt() as libvirt, libvirt.guest("vm1", Options(memory_mib=512), xml=flavored) as guest:
        libvirt.virsh("suspend", "vm1")
        host = _Host(libvirt, _RULE)
        found = host.wait_for("vm1", lambda vm: any(mark["what"] == "paused" for mark in vm["vm"]["marks"]), "no mark")
        expect(found["vm"]["policy_source"] == "rule instance/flavor/@name=m1.*", json.dumps(found))
        expect(found["vm"]["state"] == "observed" and found["vm"]["balloon_target_bytes"] == 512 * MIB, json.dumps(found))
        libvirt.virsh("resume", "vm1")
        wait_until(lambda: host.actual("vm1") == 384 * MIB, 60, host.log)
        guest.run("true")


@case(timeout_s=200)
def the_stock_guest_agent_is_asked_for_pressure_where_the_operator_says_so():
    port = "org.qemu.guest_agent.0"
    options = Options(memory_mib=512, add=[os.path.join(cache_dir(), "qemu-ga", "qemu-ga")])

    def with_port(xml):
        return _plain(xml).replace("<serial", f"<channel type='unix'><target type='virtio' name='{port}'/></channel><serial", 1)

    with Libvirt() as libvirt, libvirt.guest("vm1", options, policy=Policy("256MiB", "512MiB"), xml=with_port) as guest:
        guest.run(f"mkdir -p /var/run; qemu-ga -m virtio-serial -p /dev/virtio-ports/{port} -d -f /run/qga.pid -t /run")
        host = _Host(libvirt, 'qemu-ga = ["vm*"]\n')
        host.wait_for("vm1", lambda vm: "psi_bp" in vm["vm"], "no pressure is known")
        opened = guest.run("ls /proc/$(cat /run/qga.pid)/fd -l | grep -c /proc/ || true").strip()
        expect(opened == "0", f"{opened} files are open")
        guest.run("kill $(cat /run/qga.pid)")
        host.wait_for("vm1", lambda vm: any(mark["what"] == "no-guest-agent" for mark in vm["vm"]["marks"]), "no mark")
