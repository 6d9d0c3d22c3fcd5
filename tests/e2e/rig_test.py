# SPDX-License-Identifier: Apache-2.0
"""The ground that every other test stands on: guests boot, their memory is measured rightly, nothing is left behind."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys

from tests.rig import hostmem
from tests.rig.guest import Options
from tests.rig.kernel import Kernel
from tests.rig.libvirt import Libvirt, Policy
from tests.rig.qemu import Guest

from .harness import KERNELS, MIB, TOP, WORKLOAD, case, expect, wait_until

_DAMON = "/sys/kernel/mm/damon/admin/kdamonds"


@case(each={"kernel": KERNELS})
def guest_boots_with_psi_and_the_damon_of_its_kernel(kernel):
    with Guest(Options(kernel=kernel)) as guest:
        expect(guest.run("uname -r").strip() == Kernel(kernel).release, "another kernel runs")
        expect("some avg10" in guest.run("cat /proc/pressure/memory"), "no PSI")
        guest.run(f"echo 1 > {_DAMON}/nr_kdamonds; echo 1 > {_DAMON}/0/contexts/nr_contexts")
        files = guest.run(f"cd {_DAMON}/0; find contexts -type d; ls")
        # Since Linux 6.15 and 6.17.
        expect(("intervals_goal" in files) == (kernel != "6.12"), f"monitoring interval goals:\n{files}")
        expect(("refresh_ms" in files) == (kernel != "6.12"), f"refresh_ms:\n{files}")


@case()
def answers_of_commands_that_run_at_once_do_not_mix():
    with Guest(Options(memory_mib=256)) as guest, concurrent.futures.ThreadPoolExecutor(4) as pool:
        script = "head -c 300000 /dev/zero | tr '\\0' "
        outputs = list(pool.map(guest.run, [script + letter for letter in "abcd"]))
        expect(outputs == [letter * 300_000 for letter in "abcd"], "the answers of commands are mixed up")


@case(each={"kernel": ["7.3"]}, full_each=["6.12"])
def damon_of_a_debian_kernel_is_taken_at_boot_only_by_damon_stat(kernel):
    with Guest(Options(kernel=kernel)) as guest:
        enabled = guest.run("cat /sys/module/damon_stat/parameters/enabled 2>/dev/null || echo none").strip()
        expect(enabled == ("none" if kernel == "6.12" else "Y"), f"damon_stat.enabled is {enabled}")
        guest.run(
            f"cd {_DAMON}; echo 1 > nr_kdamonds; cd 0; echo 1 > contexts/nr_contexts; cd contexts/0\n"
            "echo paddr > operations; echo 1 > targets/nr_targets; cd targets/0/regions; echo 1 > nr_regions\n"
            "echo 1048576 > 0/start; echo 1000000000 > 0/end"
        )
        turn_on = guest.run(f"echo on > {_DAMON}/0/state", check=False)
        expect((turn_on.status == 0) == (kernel == "6.12"), f"on: {turn_on}")
        if kernel != "6.12":
            expect("busy" in turn_on.output.lower(), turn_on.output)
            guest.run(f"echo N > /sys/module/damon_stat/parameters/enabled; echo on > {_DAMON}/0/state")


@case(each={"swap": ["disk:512"]}, full_each=["zram:256"])
def workload_keeps_its_content_through_swap(swap):
    with Guest(Options(memory_mib=256, swap=swap, add=[WORKLOAD])) as guest:
        output = guest.run("acma-workload touch --mib 280 --hot-mib 30 --seconds 10 --zero-percent 60 --verify 1", 150)
        lines = [json.loads(line) for line in output.splitlines()]
        expect(lines[-1] == {"t_us": lines[-1]["t_us"], "done": True, "intact": True}, output)
        expect(any(line.get("rounds", 0) > 0 for line in lines), f"no throughput lines: {output}")
        swapped = guest.run("grep pswpout /proc/vmstat")
        expect(int(swapped.split()[1]) * 4096 > 40 * MIB, f"nothing was swapped: {swapped}")


@case()
def workload_tells_how_long_a_spike_took():
    with Guest(Options(memory_mib=768, add=[WORKLOAD])) as guest:
        line = json.loads(guest.run("acma-workload spike --mib 256"))
        expect(line["spike_bytes"] == 256 * MIB and line["spike_us"] > 1000, str(line))


@case()
def host_bytes_follow_what_the_guest_touches():
    with Guest(Options(memory_mib=1024, add=[WORKLOAD])) as guest:
        before = guest.host_memory()
        guest.run("acma-workload touch --mib 400 --hot-mib 1 >/tmp/workload.log &")
        wait_until(lambda: "rounds" in guest.run("cat /tmp/workload.log"), 60, "the workload did not fill its memory")
        after = guest.host_memory()
        grown = after.ram_bytes - before.ram_bytes
        # The guest may have had some of it populated already, and needs page tables.
        expect(330 * MIB < grown < 430 * MIB, f"host bytes grew by {grown >> 20} MiB for 400 MiB: {before}, {after}")
        expect(after.ram_size_bytes == 1024 * MIB and after.qemu_bytes > 20 * MIB, str(after))


@case()
def host_bytes_are_read_from_the_ram_mapping_alone():
    text = (
        "7f0000000000-7f0040000000 rw-p 00000000 00:00 0 \n"
        "Rss:  2048 kB\nSwap:  1024 kB\nPrivate_Hugetlb:  512 kB\nShared_Hugetlb:  256 kB\n"
        "7f0050000000-7f0050100000 rw-p 00000000 00:00 0 [heap]\nRss:  64 kB\nSwap:  0 kB\n"
    )
    memory = hostmem.split(hostmem.parse_smaps(text), [1 << 30])
    expect(memory == hostmem.HostMemory((2048 + 1024 + 512 + 256) << 10, 1 << 30, 64 << 10), str(memory))


@case(each={"kernel": ["6.12"]}, full_each=["7.3"])
def memory_that_a_libvirt_guest_frees_goes_back_to_the_host(kernel):
    with Libvirt() as libvirt, libvirt.guest(
        "freed", Options(kernel=kernel, memory_mib=768, add=[WORKLOAD]), Policy("128MiB", "768MiB")
    ) as guest:
        guest.run("acma-workload touch --mib 200 --seconds 1")  # ends, and so frees them
        peak = guest.host_bytes()
        wait_until(
            lambda: guest.host_bytes() < peak - 150 * MIB,
            60,
            lambda: f"host bytes went from {peak >> 20} to {guest.host_bytes() >> 20} MiB only",
        )
        expect(guest.memory_stats()["actual"] == 768 * 1024, "free page reporting must not show in the balloon")


@case()
def libvirt_sees_the_policy_and_the_agent_channel():
    with Libvirt() as libvirt, libvirt.guest("seen", Options(memory_mib=512), Policy("128MiB", "512MiB", psi="0.1%")) as guest:
        expect('min-mem="128MiB"' in guest.virsh("metadata", "urn:acma:policy:1"), "no policy")
        guest.set_policy(Policy("256MiB", "512MiB", mode="observe"))
        expect('mode="observe"' in guest.virsh("metadata", "urn:acma:policy:1"), "the policy was not replaced")
        expect("org.acma.agent.0" in guest.run("ls /dev/virtio-ports"), "no agent port in the guest")
        guest.virsh("setmem", "384M", "--live")
        wait_until(lambda: guest.memory_stats()["actual"] == 384 * 1024, 30, lambda: str(guest.memory_stats()))
        libvirt.restart_daemon(kill=True)
        expect(guest.run("echo here").strip() == "here" and "running" in libvirt.virsh("list"), "the guest is gone")


_LEAVE_BEHIND = """
import sys, time
from tests.rig.libvirt import Libvirt
from tests.rig.guest import Options
from tests.rig.qemu import Guest
libvirt = Libvirt()
first = libvirt.guest("left", Options(memory_mib=256))
second = Guest(Options(memory_mib=256))
other = libvirt.popen(["sleep", "1000"])
print("up", flush=True)
time.sleep(1000)
"""


def _processes_with(text):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if text.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass  # it ended meanwhile
    return found


@case(each={"end": ["SIGKILL", "SIGINT"]}, full_each=["SIGTERM"])
def no_guest_daemon_or_mount_outlives_its_test(end):
    test = subprocess.Popen(
        [sys.executable, "-c", _LEAVE_BEHIND], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        expect(test.stdout.readline().strip() == "up", "the guests did not start")
        # Work directories are named by the process that made them, and every command line has one.
        mark = f"acma-rig-{test.pid}-"
        expect(len(_processes_with(mark)) >= 4, f"expected unshare, libvirtd and two QEMU: {_processes_with(mark)}")
    finally:
        test.send_signal(getattr(signal, end))
        test.wait(20)
    wait_until(lambda: not _processes_with(mark), 10, lambda: f"still there: {_processes_with(mark)}")
    with open("/proc/self/mounts", encoding="utf-8") as file:
        expect("/run/rig" not in file.read(), "a mount of the private libvirt is seen outside")
