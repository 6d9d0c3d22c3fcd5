# SPDX-License-Identifier: Apache-2.0
"""acma-controller, libvirt and real guests with the agent: policies arrive, max-mem holds, deaths shrink nobody."""

import contextlib
import json

from tests.rig.controller import Controller, budget_setting
from tests.rig.guest import Options
from tests.rig.libvirt import Libvirt, Policy

from .harness import AGENT, BUILD, DEADMAN, MIB, WORKLOAD, case, expect, wait_until


class _Host(Controller):
    """A libvirt with a controller."""

    def __init__(self, libvirt, settings=""):
        super().__init__(libvirt, BUILD, settings)

    def usage(self, name):
        return json.loads(self.ctl("usage", name, "--json").stdout)["vms"][0]

    def wait_for(self, name, condition, what):
        def check():
            detail = self.show(name)
            return detail if detail and condition(detail) else None

        return wait_until(check, 60, lambda: f"{what}: {json.dumps(self.show(name))}\n{self.log()}")

    def actual(self, name):
        """What virsh says of the balloon: no word of ours."""
        lines = dict(line.split() for line in self.libvirt.virsh("dommemstat", name).splitlines())
        return int(lines["actual"]) << 10


_RUN_AGENT = 'acma-agent run --deadman "$(command -v acma-deadman)" 2>/tmp/agent.log &'


def _options(kernel="6.12"):
    return Options(kernel=kernel, memory_mib=768, swap="disk:512", add=[AGENT, DEADMAN, WORKLOAD])


@contextlib.contextmanager
def _host_with_guest(policy, kernel="6.12"):
    with Libvirt() as libvirt:
        host = _Host(libvirt)
        with libvirt.guest("vm1", _options(kernel), policy=policy) as guest:
            guest.run(_RUN_AGENT)
            yield host, guest


def _guest_status(guest):
    return json.loads(guest.run("acma-agent status --json"))


def _guest_policy(guest):
    status = _guest_status(guest)
    return status["policy"] if status["policy_source"] == "host" else None


@case(each={"kernel": ["7.3"]}, full_each=["6.12"], timeout_s=300)
def a_policy_set_by_virsh_or_acmactl_reaches_the_guest_and_max_mem_holds(kernel):
    with _host_with_guest(Policy("256MiB", "512MiB", psi="1%"), kernel) as (host, guest):
        host.wait_for("vm1", lambda vm: vm["agent"]["connected"], "the agent is not connected")
        wait_until(lambda: (_guest_policy(guest) or {}).get("psi_bp") == 100, 30, host.log)
        wait_until(lambda: host.actual("vm1") == 512 * MIB, 60, lambda: f"balloon {host.actual('vm1') >> 20} MiB")
        guest.set_policy(Policy("256MiB", "640MiB"))
        wait_until(lambda: (_guest_policy(guest) or {}).get("max_mem_bytes") == 640 * MIB, 30, host.log)
        wait_until(lambda: host.actual("vm1") == 640 * MIB, 60, lambda: f"balloon {host.actual('vm1') >> 20} MiB")
        host.ctl("set", "vm1", "--psi", "0.5%")
        wait_until(lambda: (_guest_policy(guest) or {}).get("psi_bp") == 50, 30, host.log)
        metadata = host.libvirt.virsh("metadata", "vm1", "urn:acma:policy:1")
        expect('psi="0.5%"' in metadata.replace("'", '"') and "640MiB" in metadata, metadata)
        # What is wrong changes nothing and is named.
        for arguments, word in [(("--min-mem", "2GiB"), "min-mem"), (("--psi", "101%"), "100"), (("--max-mem", "512"), "unit")]:
            refused = host.ctl("set", "vm1", *arguments, check=False)
            expect(refused.returncode != 0 and word in refused.stderr, f"{arguments}: {refused}")
        guest.set_policy(Policy("700MiB", "300MiB"))
        detail = host.wait_for("vm1", lambda vm: any(m["what"] == "bad-policy" for m in vm["vm"]["marks"]), "no mark")
        expect(detail["vm"]["policy"]["max_mem_bytes"] == 640 * MIB, "the previous policy did not stay")
        measured = guest.host_bytes()
        expect(abs(detail["vm"]["host_bytes"] - measured) < 64 * MIB, f"host bytes: {detail['vm']['host_bytes']}, {measured}")
        # What is metered is what the host sees. Not from the start on: a guest that boots has little.
        first, last = host.usage("vm1"), {}

        def five_seconds_more():
            nonlocal last
            last = host.usage("vm1")
            return last["measured_us"] >= first["measured_us"] + 5e6

        wait_until(five_seconds_more, 60, host.log)
        used = (last["used_mib_seconds"] - first["used_mib_seconds"]) / ((last["measured_us"] - first["measured_us"]) / 1e6)
        expect(abs(used - guest.host_bytes() / MIB) < 64, f"{used:.0f} MiB metered, {guest.host_bytes() >> 20} held; {first}, {last}")


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=400)
def neither_the_controllers_nor_libvirtds_death_shrinks_a_guest(kernel):
    with _host_with_guest(Policy("256MiB", "640MiB"), kernel) as (host, guest):
        wait_until(lambda: host.actual("vm1") == 640 * MIB, 60, host.log)
        # In mid-run: the agent pages out what the workload has left, under the policy that it has.
        guest.run("acma-workload touch --mib 450 --hot-mib 100 --period-ms 200 >/tmp/workload.log &")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/workload.log"), 120, "the workload did not fill its memory")
        wait_until(lambda: _guest_status(guest)["swap_out_total_bytes"] > 20 * MIB, 120, lambda: guest.run("cat /tmp/agent.log"))
        policy = _guest_policy(guest)
        host.kill()
        expect(host.actual("vm1") == 640 * MIB, "the balloon moved")
        host.start()
        host.wait_for("vm1", lambda vm: vm["agent"]["connected"] and vm["vm"]["state"] == "managed", "not found again")
        expect(host.actual("vm1") == 640 * MIB, "the balloon moved")
        wait_until(lambda: host.usage("vm1")["missing_us"] > 500_000, 30, lambda: f"nothing is missing: {host.usage('vm1')}")
        # It is written every ten seconds: what was measured since, and the time without a controller, is lost.
        expect(host.usage("vm1")["measured_us"] > 0 and host.usage("vm1")["missing_us"] < 15_000_000, f"{host.usage('vm1')}")
        host.libvirt.restart_daemon(kill=True)
        expect(host.actual("vm1") == 640 * MIB, "the balloon moved")
        expect(_guest_policy(guest) == policy, f"{_guest_policy(guest)} instead of {policy}")
        rounds = json.loads(guest.run("tail -1 /tmp/workload.log"))
        expect(rounds["working_set_bytes"] == 100 * MIB and rounds["rounds"] > 0, "the workload does not run")
        expect(_guest_status(guest)["oom_kills_total"] == 0, "an OOM kill")
        host.ctl("set", "vm1", "--max-mem", "700MiB", check=False)

        def follows():
            host.ctl("set", "vm1", "--max-mem", "700MiB", check=False)
            return host.actual("vm1") == 700 * MIB

        wait_until(follows, 90, host.log, every_s=2)


class _Crowded:
    """A host whose VMs may have `budget` bytes together, and the two guests on it, which may have a GiB each."""

    def __init__(self, libvirt, budget, guests):
        self.host = _Host(libvirt, budget_setting(budget))
        self.guests = guests
        self.most_granted = 0

    def watch(self):
        """What is promised now; never more than there is."""
        found = self.host.overview()
        granted, budget = found["host"]["granted_bytes"], found["host"]["budget_bytes"]
        self.most_granted = max(self.most_granted, granted)
        return {vm["name"]: vm["balloon_target_bytes"] for vm in found["vms"]}, granted, budget

    def state(self):
        return f"{self.watch()} {[guest.run('cat /tmp/w.log; acma-agent status') for guest in self.guests]} {self.host.log()}"


def _works(guest):
    lines = guest.run("grep rounds /tmp/w.log", check=False).output.splitlines()
    return bool(lines) and json.loads(lines[-1])["rounds"] > 0


@case(each={"kernel": ["7.3"]}, full_each=["6.12"], timeout_s=600)
def memory_goes_to_the_guest_that_needs_it_and_never_more_than_there_is(kernel):
    options = Options(kernel=kernel, memory_mib=1024, balloon_driver="shim", swap="zram:512", add=[AGENT, DEADMAN, WORKLOAD])
    policy = Policy("256MiB", "1GiB", psi="0.5%")
    with Libvirt() as libvirt, libvirt.guest("vm1", options, policy=policy) as one, libvirt.guest("vm2", options, policy=policy) as two:
        crowded = _Crowded(libvirt, 1900 * MIB, [one, two])
        for guest in (one, two):
            guest.run(_RUN_AGENT)
        wait_until(lambda: crowded.watch()[1] <= crowded.watch()[2], 90, crowded.state)
        crowded.most_granted = 0
        for busy, idle in (("vm1", "vm2"), ("vm2", "vm1")):
            guest = crowded.guests[busy == "vm2"]
            guest.run("acma-workload touch --mib 650 --period-ms 200 >/tmp/w.log 2>&1 & echo $! >/tmp/w.pid")
            wait_until(lambda: _works(guest), 120, crowded.state)
            grants, _, budget = wait_until(lambda: (seen := crowded.watch())[0][busy] >= 780 * MIB and seen, 60, crowded.state)
            expect(grants[idle] < grants[busy], str(grants))
            expect(crowded.most_granted <= budget, f"promised {crowded.most_granted >> 20} MiB of {budget >> 20}")
            guest.run("kill $(cat /tmp/w.pid); rm /tmp/w.log")
        for guest in crowded.guests:
            expect(_guest_status(guest)["oom_kills_total"] == 0, "an OOM kill")
        crowded.host.ctl("reserve", "700MiB", "--domain", "vm3", "--wait", "60")
        _, granted, budget = crowded.watch()
        expect(granted + 700 * MIB <= budget, f"{granted >> 20} MiB are promised beside 700 reserved of {budget >> 20}")
        refused = crowded.host.ctl("reserve", "1700MiB", "--wait", "3", check=False)
        expect(refused.returncode == 1 and "missing" in refused.stderr, str(refused))
        expect("vm3" in crowded.host.ctl("reserve").stdout and "1700" not in crowded.host.ctl("reserve").stdout, "what was refused is reserved")
        paused = crowded.host.ctl("pause").stdout + crowded.host.ctl("list").stdout + crowded.host.ctl("resume").stdout
        expect(paused.startswith("paused") and "paused: nothing" in paused and paused.endswith("resumed\n"), paused)
        crowded.host.ctl("release", "vm2")
        wait_until(lambda: crowded.host.actual("vm2") == 1024 * MIB, 30, crowded.state)
        expect(crowded.host.show("vm2")["vm"]["state"] == "off", "it is not left alone")
        told = crowded.host.ctl("explain", "vm1").stdout
        expect("others" in told or "nobody else" in told, told)
        expect("standing: it may have" in told and "of the host's budget" in told, told)
        replayed = json.loads(crowded.host.ctl("replay", crowded.host.decisions_path, "--json").stdout)
        policies = {policy["policy"]: policy for policy in replayed["policies"]}
        expect(policies["acma"]["differences"] == 0 and replayed["broken_lines"] == 0, f"{replayed}")
        print(crowded.host.ctl("replay", crowded.host.decisions_path).stdout, told)
        least, most = (policies[name]["over_budget_max_bytes"] for name in ("recorded", "static"))
        expect(least < most, f"{replayed}")


@case(timeout_s=300)
def nothing_is_taken_while_a_snapshot_copies_memory():
    options = Options(kernel="7.3", memory_mib=1024, balloon_driver="shim", add=[AGENT, DEADMAN, WORKLOAD])
    with Libvirt() as libvirt, libvirt.guest("vm1", options, policy=Policy("256MiB", "1GiB")) as guest:
        host = _Host(libvirt)
        guest.run(_RUN_AGENT)
        guest.run("acma-workload touch --mib 500 --hot-mib 10 --period-ms 100 >/tmp/workload.log &")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/workload.log"), 120, "the workload did not fill its memory")
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed", "not managed")
        libvirt.virsh("snapshot-create-as", "vm1", "s1", "--live", "--memspec", f"file={libvirt.directory}/memory,snapshot=external", timeout=120)

        def told():
            return [f"{entry['decision']} {entry['reason']}" for entry in json.loads(host.ctl("explain", "vm1", "--json").stdout)["entries"]]

        wait_until(lambda: any(line.startswith("unmark migrating") for line in told()), 20, lambda: f"{told()}\n{host.log()}")
        begun = next(i for i, line in enumerate(told()) if line.startswith("mark migrating"))
        modes = [line for line in told()[begun:] if line.startswith("agent-policy")]
        expect("mode observe" in modes[0], f"{told()}")
        wait_until(lambda: (_guest_policy(guest) or {}).get("mode") == "auto", 20, lambda: f"{told()}\n{host.log()}")


def _owned(guest):
    return _guest_status(guest)["owned_bytes"]


_COPY = {"pre-copy": (), "post-copy": ("--postcopy", "--postcopy-after-precopy")}


@case(each={"copy": ["pre-copy"]}, full_each=["post-copy"], timeout_s=400)
def what_is_owned_makes_no_hard_limit_after_migration_or_restore(copy):
    options = Options(kernel="6.12", memory_mib=1024, balloon_driver="shim", add=[AGENT, DEADMAN, WORKLOAD])
    with Libvirt() as source, Libvirt() as target, source.guest("vm1", options, policy=Policy("256MiB", "1GiB")) as guest:
        host = _Host(source)
        guest.run(_RUN_AGENT)
        workload = "acma-workload touch --mib 200 --hot-mib 100 --period-ms 100 --seconds 60 --verify 1"
        guest.run(f"{{ {workload} >/tmp/w.log; echo $? >/tmp/w.end; }} &")
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed" and vm["agent"]["connected"], "not managed")
        wait_until(lambda: _owned(guest) > 400 * MIB, 60, lambda: f"{_guest_status(guest)}\n{host.log()}")
        guest.migrate_to(target, *_COPY[copy])
        # A host without a controller: nothing has changed for the guest.
        expect(guest.memory_stats()["actual"] == 1024 << 10, f"{guest.memory_stats()}: what is owned has become a limit")
        expect(_owned(guest) > 300 * MIB, f"{_guest_status(guest)}")
        expect(_guest_policy(guest)["max_mem_bytes"] == 1024 * MIB, "the policy was lost")
        # A controller finds it there, with its policy, and the host holds no more than before.
        there = _Host(target)
        there.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed" and vm["agent"]["connected"], "not found")
        wait_until(lambda: (_guest_policy(guest) or {}).get("mode") == "auto", 30, there.log)
        guest.run("acma-workload spike --mib 500")  # grows where it is now
        guest.save_and_start()
        expect(there.actual("vm1") == 1024 * MIB, f"actual {there.actual('vm1')}: what is owned has become a limit")
        there.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed" and vm["agent"]["connected"], "not found again")
        wait_until(lambda: guest.run("cat /tmp/w.end", check=False).status == 0, 120, "the workload did not end")
        expect(guest.run("cat /tmp/w.end").strip() == "0", f"a wrong byte: {guest.run('cat /tmp/w.log')}")
        expect(_guest_status(guest)["oom_kills_total"] == 0, "an OOM kill")


@case(timeout_s=300)
def a_target_of_somebody_else_is_a_ceiling_and_repeated_ones_mean_observe():
    with _host_with_guest(Policy("256MiB", "768MiB")) as (host, _):
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed", "not managed")
        for mib in (600, 550, 500):
            host.libvirt.virsh("setmem", "vm1", f"{mib}M", "--live")
            wait_until(lambda target=mib: host.actual("vm1") == target * MIB, 60, host.log)
            wait_until(
                lambda target=mib: host.show("vm1")["vm"]["balloon_target_bytes"] == target * MIB,
                30,
                lambda: f"{json.dumps(host.show('vm1'))}\n{host.log()}",
            )
            # More than 2 s apart: quicker ones count as one.
            host.libvirt.run(["sleep", "3"])
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "observed", "not in observe")
        expect(host.actual("vm1") == 500 * MIB, "it was fought")


def _marks(vm):
    return {mark["what"] for mark in vm["vm"]["marks"]}


@case(timeout_s=400)
def guests_that_flood_lie_or_fall_silent_are_marked_and_the_others_are_served():
    bad = Options(memory_mib=512, smp=1, add=[AGENT, DEADMAN])
    with _host_with_guest(Policy("256MiB", "640MiB")) as (host, good), contextlib.ExitStack() as guests:
        flood, liar = (guests.enter_context(host.libvirt.guest(name, bad, policy=Policy("256MiB", "384MiB"))) for name in ("flood", "liar"))
        flood.run("yes '{\"return\": {\"mem_total_bytes\": -1}}' >/dev/virtio-ports/org.acma.agent.0 &")
        # An honest agent on a falsified /proc: 8 EiB of memory, of which more is free.
        liar.run("sed -e 's/^MemTotal.*/MemTotal: 9007199254740991 kB/' -e 's/^MemFree.*/MemFree: 9007199254740992 kB/' /proc/meminfo >/tmp/lie")
        liar.run("mount --bind /tmp/lie /proc/meminfo")
        liar.run(_RUN_AGENT)
        host.wait_for("flood", lambda vm: "flooding" in _marks(vm), "no mark")
        found = host.wait_for("liar", lambda vm: "lying" in _marks(vm), "no mark")
        expect(found["vm"]["state"] == "marked" and found["vm"]["ram_bytes"] == 512 * MIB, json.dumps(found))
        # Their policies hold all the same: the balloon is libvirt's and needs no word of the guest.
        wait_until(lambda: host.actual("liar") == 384 * MIB, 60, host.log)
        # The good one is heard every second and gets a new policy at once.
        expect(host.show("vm1")["agent"]["age_us"] < 5_000_000, json.dumps(host.show("vm1")))
        host.ctl("set", "vm1", "--psi", "0.7%")
        wait_until(lambda: (_guest_policy(good) or {}).get("psi_bp") == 70, 10, host.log)
        good.run("kill -STOP $(pidof acma-agent)")
        host.wait_for("vm1", lambda vm: _marks(vm) & {"silent", "stale"}, "no mark")
        good.run("kill -CONT $(pidof acma-agent)")
        host.wait_for("vm1", lambda vm: vm["vm"]["state"] == "managed", "not forgiven")


@case()
def virsh_speaks_to_the_agent_on_the_port_of_qemu_ga():
    with Libvirt() as libvirt:
        options = _options()
        options.files["etc/acma/agent.toml"] = '[channel]\nname = "org.qemu.guest_agent.0"\n'
        with libvirt.guest("vm1", options, xml=lambda xml: xml.replace("org.acma.agent.0", "org.qemu.guest_agent.0")) as guest:
            guest.run(_RUN_AGENT)

            def answer(request):
                return json.loads(libvirt.virsh("qemu-agent-command", "vm1", json.dumps(request)))["return"]

            connected = "name='org.qemu.guest_agent.0' state='connected'"
            wait_until(lambda: connected in libvirt.virsh("dumpxml", "vm1"), 60, "not connected")
            expect(answer({"execute": "guest-ping"}) == {}, "ping")
            commands = {command["name"] for command in answer({"execute": "guest-info"})["supported_commands"]}
            expect({"acma-set-policy", "acma-get-status"} <= commands, str(commands))
            policy = {"min_mem_bytes": 256 * MIB, "max_mem_bytes": 768 * MIB, "psi_bp": 30, "mode": "auto"}
            wanted = {**policy, "grant_bytes": 768 * MIB, "generation": 1}
            expect(answer({"execute": "acma-set-policy", "arguments": wanted})["generation"] == 1, "the policy was not taken")
            status = answer({"execute": "acma-get-status"})
            expect(policy.items() <= status["policy"].items() and status["policy_source"] == "host", str(status))
