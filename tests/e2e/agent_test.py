# SPDX-License-Identifier: Apache-2.0
"""acma-agent in real guests: it shrinks them, stops when it should, and says what it cannot do."""

import json
import socket
import time

from tests.rig.guest import Options
from tests.rig.qemu import Guest

from .harness import AGENT, DEADMAN, KERNELS, MIB, WORKLOAD, case, expect, wait_until

_KDAMONDS = "/sys/kernel/mm/damon/admin/kdamonds"
_CGROUPS = "/sys/fs/cgroup"
_PORT = "org.acma.agent.0"
_STANDALONE = '[policy]\nstandalone = true\npsi = "0.1%"\n'


def _options(kernel="6.12", **changes):
    settings = {
        "kernel": kernel,
        "memory_mib": 1024,
        "swap": "disk:1024",
        "add": [AGENT, DEADMAN, WORKLOAD],
        "files": {"etc/acma/agent.toml": _STANDALONE},
    }
    return Options(**{**settings, **changes})


def _start_agent(guest):
    guest.run('acma-agent run --verbose --deadman "$(command -v acma-deadman)" 2>>/tmp/agent.log & echo $! >/tmp/agent.pid')
    wait_until(lambda: guest.run("acma-agent status", check=False).status == 0, 30, lambda: guest.run("cat /tmp/agent.log"))


def _status(guest):
    return json.loads(guest.run("acma-agent status --json"))


def _problems(guest):
    return {problem["what"]: problem["message"] for problem in _status(guest)["problems"]}


def _fill(guest, mib=600, hot=100, zero_percent=0, options=""):
    """When the workload ends, /tmp/workload.end has its exit status."""
    workload = f"acma-workload touch --mib {mib} --hot-mib {hot} --zero-percent {zero_percent} --period-ms 200 {options}"
    guest.run(f"{{ {workload} >/tmp/workload.log; echo $? >/tmp/workload.end; }} &")
    wait_until(lambda: "rounds" in guest.run("cat /tmp/workload.log"), 120, "the workload did not fill its memory")


def _fill_more(guest, mib=150):
    """What was cold before may all be paged out by now: the agent takes it at 200 MB/s."""
    guest.run(f"acma-workload touch --mib {mib} --hot-mib 1 --period-ms 1000000000 >/tmp/more.log 2>&1 &")
    wait_until(lambda: "ready" in guest.run("cat /tmp/more.log"), 120, lambda: guest.run("cat /tmp/more.log"))


def _swapped_out(guest):
    return int(guest.run("grep '^pswpout ' /proc/vmstat").split()[1]) * 4096


def _swapped_in(guest):
    return int(guest.run("grep '^pswpin ' /proc/vmstat").split()[1]) * 4096


def _cpu_ticks(guest):
    """Of the agent, in hundredths of a second (proc_pid_stat(5): utime, stime)."""
    fields = guest.run("cat /proc/$(cat /tmp/agent.pid)/stat").split()
    return int(fields[13]) + int(fields[14])


def _peak_rss(guest):
    """The most that agent and dead-man ever had resident."""
    peaks = guest.run("for pid in $(pidof acma-agent acma-deadman); do awk '/VmHWM/{print $2}' /proc/$pid/status; done")
    return sum(int(kib) * 1024 for kib in peaks.split())


def _kdamond_state(guest):
    return guest.run(f"cat {_KDAMONDS}/0/state 2>/dev/null || echo none").strip()


def _write_damon(guest, file, value):
    """Writes beside the agent: the kernel answers EBUSY while another reads or writes there."""
    guest.run(f"i=0; until echo {value} >{_KDAMONDS}/{file}; do [ $i != 50 ] || exit 1; i=$((i+1)); sleep 0.1; done")


def _wait_for_page_out(guest, mib):
    before = _swapped_out(guest)
    wait_until(
        lambda: _swapped_out(guest) - before > mib * MIB,
        120,
        lambda: f"{mib} MiB were not paged out:\n" + guest.run("tail -20 /tmp/agent.log; acma-agent status"),
        every_s=0.2,
    )


@case(each={"kernel": KERNELS}, timeout_s=400)
def cold_memory_leaves_the_guest_and_the_host_sees_it(kernel):
    with Guest(_options(kernel)) as guest:
        _fill(guest)
        full = guest.host_bytes()
        _start_agent(guest)
        wait_until(
            lambda: guest.host_bytes() < full - 350 * MIB,
            200,
            lambda: f"host bytes {guest.host_bytes() >> 20} of {full >> 20} MiB\n" + guest.run("tail -20 /tmp/agent.log"),
        )
        status = _status(guest)
        expect(status["policy_source"] == "config" and status["policy"]["psi_bp"] == 10, str(status))
        expect(status["swap_out_total_bytes"] > 300 * MIB, str(status))
        expect(status["oom_kills_total"] == 0, str(status))
        lines = guest.run("tail -1 /tmp/workload.log")
        expect(json.loads(lines)["working_set_bytes"] == 100 * MIB, lines)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=300, alone=True)
def page_out_stops_within_two_seconds_of_the_agents_death(kernel):
    with Guest(_options(kernel)) as guest:
        _fill(guest)
        _start_agent(guest)
        _wait_for_page_out(guest, 20)
        guest.run("kill -9 $(cat /tmp/agent.pid)")
        time.sleep(2)
        expect(_kdamond_state(guest) == "off", "the kdamond is still on")
        stopped = _swapped_out(guest)
        time.sleep(3)
        expect(_swapped_out(guest) == stopped, "page-out goes on")
        # And the next agent finds its own again, also when somebody ends it behind its back.
        _start_agent(guest)
        _fill_more(guest)
        _wait_for_page_out(guest, 20)
        _write_damon(guest, "0/state", "off")
        _fill_more(guest)
        _wait_for_page_out(guest, 20)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"], timeout_s=300, alone=True)
def page_out_stops_within_two_seconds_of_the_agents_hang_and_goes_on_after_it(kernel):
    with Guest(_options(kernel)) as guest:
        _fill(guest)
        _start_agent(guest)
        _wait_for_page_out(guest, 20)
        guest.run("kill -STOP $(cat /tmp/agent.pid)")
        time.sleep(2)
        expect(_kdamond_state(guest) == "off", "the kdamond is still on")
        guest.run("kill -CONT $(cat /tmp/agent.pid)")
        _fill_more(guest)
        _wait_for_page_out(guest, 20)


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=300)
def a_kdamond_that_outlived_agent_and_dead_man_is_taken_over(kernel):
    with Guest(_options(kernel)) as guest:
        _fill(guest)
        _start_agent(guest)
        _wait_for_page_out(guest, 10)
        guest.run("kill -9 $(pidof acma-deadman) $(cat /tmp/agent.pid)")
        expect(_kdamond_state(guest) == "on", "the kdamond did not survive: nothing to test")
        _start_agent(guest)
        expect("damon-busy" not in _problems(guest), str(_problems(guest)))
        _fill_more(guest)
        _wait_for_page_out(guest, 10)
        # It has read all that its predecessor left in DAMON's files.
        expect(_peak_rss(guest) <= 8 * MIB, f"agent and dead-man had {_peak_rss(guest) >> 10} KiB resident")


@case(each={"kernel": ["7.3"]}, full_each=["6.12"], timeout_s=300)
def agent_leaves_the_guest_as_it_was(kernel):
    stat = "cat /sys/module/damon_stat/parameters/enabled 2>/dev/null || echo none"
    with Guest(_options(kernel)) as guest:
        damon_stat = guest.run(stat)
        _fill(guest, 300, 50)
        _start_agent(guest)
        _wait_for_page_out(guest, 5)
        guest.run("kill $(cat /tmp/agent.pid)")
        wait_until(lambda: guest.run("pidof acma-agent acma-deadman", check=False).output == "", 10, "still there")
        expect(guest.run(f"cat {_KDAMONDS}/nr_kdamonds").strip() == "0", "its kdamond is still there")
        expect(guest.run(stat) == damon_stat, "DAMON_STAT is not as it was")
        expect(guest.run("ls /run/acma-agent").strip() == "", "files are left in /run/acma-agent")


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=300)
def pressure_stops_page_out_and_memory_comes_back(kernel):
    with Guest(_options(kernel)) as guest:
        _fill(guest, 700, 50, options="--seconds 40 --verify 1")
        _start_agent(guest)
        _wait_for_page_out(guest, 200)
        small = guest.host_bytes()
        # More than what can be free. At first it may not have it: it stalls, however fast this machine's swap is.
        guest.run(
            f"echo +memory >{_CGROUPS}/cgroup.subtree_control; mkdir {_CGROUPS}/more\n"
            f"echo 200M >{_CGROUPS}/more/memory.high; echo 0 >{_CGROUPS}/more/memory.swap.max\n"
            f"(echo 0 >{_CGROUPS}/more/cgroup.procs; exec acma-workload touch --mib 950 --hot-mib 100 --period-ms 200 >/tmp/more.log)"
            " & echo $! >/tmp/more.pid"
        )
        wait_until(lambda: _status(guest)["state"] == "holding", 60, lambda: guest.run("tail -20 /tmp/agent.log"), every_s=0.1)
        expect(_kdamond_state(guest) == "off", "page-out is on")
        guest.run(f"echo max >{_CGROUPS}/more/memory.swap.max; echo max >{_CGROUPS}/more/memory.high")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/more.log"), 120, "it did not get its memory")
        expect(guest.host_bytes() > small, f"host bytes {small >> 20} -> {guest.host_bytes() >> 20} MiB")
        log = guest.run("cat /tmp/agent.log")
        expect("the PSI trigger fired" in log, log[-3000:])
        guest.run("kill $(cat /tmp/more.pid)")
        # At its end the first one reads all that it ever wrote.
        wait_until(lambda: guest.run("cat /tmp/workload.end", check=False).status == 0, 120, "it did not get its memory back")
        expect(guest.run("cat /tmp/workload.end").strip() == "0", "memory lost its content")
        expect(_swapped_in(guest) > 150 * MIB, f"only {_swapped_in(guest) >> 20} MiB came back")
        expect(_status(guest)["oom_kills_total"] == 0, "an OOM kill")


@case(each={"kernel": []}, full_each=KERNELS, timeout_s=400)
def cold_memory_goes_to_zram_too(kernel):
    with Guest(_options(kernel, swap="zram:1024")) as guest:
        _fill(guest, zero_percent=90)
        full = guest.host_bytes()
        _start_agent(guest)
        _wait_for_page_out(guest, 300)
        wait_until(lambda: guest.host_bytes() < full - 250 * MIB, 200, lambda: guest.run("tail -20 /tmp/agent.log"))
        expect(_status(guest)["oom_kills_total"] == 0, "an OOM kill")


@case()
def agent_without_damon_says_what_still_works():
    with Guest(_options()) as guest:
        guest.run("mount -t tmpfs none /sys/kernel/mm/damon")
        _start_agent(guest)
        message = _problems(guest)["no-damon"]
        expect("CONFIG_DAMON_SYSFS" in message and "status and the host's balloon work" in message, message)
        expect(_status(guest)["state"] == "degraded", str(_status(guest)))


@case()
def agent_without_swap_says_what_still_works():
    with Guest(_options()) as guest:
        swap = guest.run("awk 'NR == 2 {print $1}' /proc/swaps; ").strip()
        guest.run(f"swapoff {swap}")
        _start_agent(guest)
        expect("clean file pages" in _problems(guest)["no-swap"], str(_problems(guest)))
        expect("no virtio-serial channel" in _problems(guest)["no-channel"], str(_problems(guest)))
        guest.run(f"swapon {swap}")
        wait_until(lambda: "no-swap" not in _problems(guest), 10, lambda: str(_problems(guest)))


@case()
def agent_without_psi_pages_out_nothing_and_says_so():
    with Guest(_options(cmdline="psi=0")) as guest:
        _start_agent(guest)
        expect("psi=1" in _problems(guest)["no-psi"], str(_problems(guest)))
        expect(_status(guest)["state"] == "degraded", str(_status(guest)))
        expect(guest.run(f"cat {_KDAMONDS}/nr_kdamonds").strip() == "0", "it used DAMON")


@case()
def agent_without_permission_says_so():
    with Guest(_options(files={"etc/acma/agent.toml": _STANDALONE, "etc/passwd": "root:x:0:0::/:/bin/sh\nu:x:1000:1000::/:/bin/sh\n"})) as guest:
        guest.run("mkdir -p /run/acma-agent && chmod 777 /run/acma-agent; cp /etc/acma/agent.toml /tmp; chmod 644 /tmp/agent.toml")
        output = guest.run(
            "su u -c 'timeout 5 acma-agent --config /tmp/agent.toml run --deadman /usr/bin/acma-deadman' 2>&1", check=False
        ).output
        expect("no-permission: " in output and "status and the host's balloon work" in output, output)
        expect("no-trigger: " in output, output)


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def agent_never_touches_somebody_elses_damon(kernel):
    with Guest(_options(kernel)) as guest:
        guest.run(
            f"[ -e /sys/module/damon_stat ] && echo N > /sys/module/damon_stat/parameters/enabled; cd {_KDAMONDS};"
            "echo 1 > nr_kdamonds; cd 0; echo 1 > contexts/nr_contexts; cd contexts/0\n"
            "echo paddr > operations; echo 1 > targets/nr_targets; cd targets/0/regions; echo 1 > nr_regions\n"
            f"echo 1048576 > 0/start; echo 1000000000 > 0/end; echo on > {_KDAMONDS}/0/state"
        )
        before = guest.run(f"cd {_KDAMONDS}/0 && cat pid contexts/0/targets/0/regions/0/end")
        _start_agent(guest)
        message = _problems(guest)["damon-busy"]
        expect("kdamond 0" in message and "echo off" in message, message)
        guest.run("kill $(cat /tmp/agent.pid); sleep 1")
        expect(guest.run(f"cd {_KDAMONDS}/0 && cat pid contexts/0/targets/0/regions/0/end") == before, "it was changed")
        _start_agent(guest)
        expect(_status(guest)["state"] == "degraded", str(_status(guest)))
        _write_damon(guest, "0/state", "off")
        _write_damon(guest, "nr_kdamonds", 0)
        wait_until(lambda: _status(guest)["state"] == "ramping", 60, lambda: str(_status(guest)))
        expect("damon-busy" not in _problems(guest), str(_problems(guest)))


class _Host:
    """The host's end of the agent's channel, byte by byte."""

    def __init__(self, guest):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(guest.socket(_PORT))
        self._bytes = b""

    def send(self, data):
        self._socket.sendall(data)

    def line(self):
        while b"\n" not in self._bytes:
            got = self._socket.recv(65536)
            expect(got, "the channel was closed")
            self._bytes += got
        line, _, self._bytes = self._bytes.partition(b"\n")
        return line

    def sync(self, number):
        """Discards everything up to the answer of this sync, as a client does after any trouble."""
        self.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' % number)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            line = self.line()
            if line.rpartition(b"\xff")[2] == b'{"return":%d}' % number:
                return
        raise AssertionError("no answer to a sync")

    def ask(self, text):
        self.send(text.encode() + b"\n")
        return json.loads(self.line())


@case(alone=True)
def agent_answers_garbage_with_errors_and_goes_on():
    with Guest(_options(channels=[_PORT])) as guest:
        _start_agent(guest)
        expect("no-channel" not in _problems(guest), str(_problems(guest)))
        # One agent in a guest: two would switch each other's page-out off.
        second = guest.run("acma-agent run 2>&1", check=False, timeout=60)
        expect(second.status == 1 and "another acma-agent" in second.output, str(second))
        host = _Host(guest)
        # An emulated guest counts what the machine takes from it as its own, so the quietest of three looks counts.
        ticks = []
        for _ in range(3):
            before = _cpu_ticks(guest)
            time.sleep(2)
            ticks.append(_cpu_ticks(guest) - before)
        expect(min(ticks) < 50, f"a host that says nothing keeps the agent busy: {ticks} of 200 ticks each")
        host.sync(1)
        expect("CommandNotFound" in json.dumps(host.ask('{"execute":"guest-shutdown"}')), "an unknown command")
        expect("error" in host.ask("this is not JSON"), "garbage")
        expect("error" in host.ask("[" * 200 + "]" * 200), "deep JSON")
        expect("error" in host.ask('{"execute":"acma-set-policy","arguments":{"min_mem_bytes":-1}}'), "a negative size")
        expect("error" in host.ask('{"execute":"acma-get-status","arguments":{"z":1}}'), "an unknown argument")
        host.send(b"x" * 80_000)  # over the limit of a line; more than 128 KiB would be read slowly
        host.sync(2)
        host.send(bytes(range(256)) * 40)
        host.sync(3)
        expect(host.ask('{"execute":"guest-ping","id":7}') == {"return": {}, "id": 7}, "a ping")
        expect(guest.run("kill -0 $(cat /tmp/agent.pid); echo alive").strip() == "alive", "the agent died")


@case()
def host_sets_the_policy_and_agent_toml_can_only_make_it_gentler():
    with Guest(_options(channels=[_PORT], files={"etc/acma/agent.toml": '[policy]\npsi = "0.05%"\n'})) as guest:
        _start_agent(guest)
        expect(_status(guest)["policy_source"] == "none", "a policy before the host spoke")
        expect(guest.run(f"cat {_KDAMONDS}/nr_kdamonds").strip() == "0", "page-out without a policy")
        host = _Host(guest)
        host.sync(1)
        wanted = {"min_mem_bytes": 256 * MIB, "max_mem_bytes": 1024 * MIB, "psi_bp": 10, "mode": "auto"}
        arguments = json.dumps({**wanted, "grant_bytes": 1024 * MIB, "generation": 5})
        reply = host.ask('{"execute":"acma-set-policy","arguments":' + arguments + "}")
        expect(reply["return"]["generation"] == 5, str(reply))
        status = _status(guest)
        expect(status["policy_source"] == "host" and status["policy"]["psi_bp"] == 5, str(status))
        expect(status["policy"]["min_mem_bytes"] == 256 * MIB, str(status))
