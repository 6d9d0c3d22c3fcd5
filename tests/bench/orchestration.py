# SPDX-License-Identifier: Apache-2.0
"""What one can do today without a driver of one's own, as one contestant: free page reporting, proactive reclaim of what DAMON finds
cold, periodic compaction, and unplugging virtio-mem."""

import dataclasses
import time

from tests.rig.errors import RigError

from .subject import Tuner, system_ram, tuner_script

MIB = 1 << 20

_COMPACT = "echo 1 >/proc/sys/vm/compact_memory"
_LOOP = "/tmp/compaction.pid"


class _Reclaim(Tuner):
    min_age_s = 5


@dataclasses.dataclass(frozen=True)
class Orchestration:
    """`unplug_mib` of the guest's `ram_mib` are a virtio-mem device, online as ZONE_MOVABLE, where unplugging works best."""

    ram_mib: int
    unplug_mib: int
    every_s: int = 5  # from one compaction to the next
    still_s: int = 20  # an unplug that got nowhere for so long has failed

    DEVICE = "/machine/peripheral/mem"
    BLOCK = 2 * MIB  # what the device unplugs at once, at least

    def apply(self, options):
        """Changes the options of a guest that is to be ours; memory_mib stays what the guest has when all is plugged."""
        boot_mib = self.ram_mib - self.unplug_mib
        options.memory_mib = self.ram_mib
        options.memory_args = ["-m", f"{boot_mib}M,maxmem={2 * self.ram_mib}M"]
        options.ram_block_mib = [boot_mib, self.unplug_mib]
        options.cmdline = " ".join(filter(None, [options.cmdline, "memhp_default_state=online_movable"]))
        options.balloon_driver = "stock"
        options.balloon_properties = "deflate-on-oom=on,free-page-reporting=on"
        options.modules = [*options.modules, "virtio_mem"]
        options.qemu_args = [
            *options.qemu_args,
            *("-object", f"memory-backend-ram,id=vm0,size={self.unplug_mib}M"),
            *("-device", f"virtio-mem-pci,id=mem,memdev=vm0,requested-size={self.unplug_mib}M"),
        ]
        return options

    def wait_plugged(self, guest, timeout_s=120):
        """The guest has all its memory."""
        deadline = time.monotonic() + timeout_s
        while self.size(guest) < self.unplug_mib * MIB:
            if time.monotonic() > deadline:
                raise RigError(f"the guest plugged only {self.size(guest) // MIB} of {self.unplug_mib} MiB\n{guest.console_tail()}")
            time.sleep(0.2)

    def start(self, guest):
        """From now on cold memory is reclaimed, as far as PSI stays below 0.1 %, and memory compacted."""
        ranges = system_ram(guest.run("sed 's/^ *//; s/System RAM (virtio_mem)/System RAM/' /proc/iomem"))
        tuner = "" if guest.options.kernel == "6.12" else "temporal"  # ramps up at once, but is not everywhere
        guest.run(self.script(ranges, tuner))

    def stop(self, guest):
        """Neither any more: for who counts what a take costs by itself."""
        guest.run(f"kill $(cat {_LOOP}); echo off >/sys/kernel/mm/damon/admin/kdamonds/0/state")

    def compact(self, guest):
        """Once, now."""
        guest.run(_COMPACT, timeout=300)

    def script(self, ranges, tuner):
        """The kernel's own DAMON_RECLAIM does nothing on 6.12 and knows one range of memory; this is the same scheme through sysfs."""
        return "\n".join(
            [
                tuner_script(_Reclaim("reclaim", psi_goal_us=1000, tuner=tuner), ranges),
                "echo 100 >/proc/sys/vm/compaction_proactiveness",
                f"while :; do {_COMPACT}; sleep {self.every_s}; done >/dev/null 2>&1 & echo $! >{_LOOP}",
            ]
        )

    def size(self, guest):
        return guest.qmp.command("qom-get", path=self.DEVICE, property="size")

    def _request(self, guest, size):
        guest.qmp.command("qom-set", path=self.DEVICE, property="requested-size", value=size)

    def take(self, guest, size):
        """Unplugs `size` bytes, or what can be had of them: how many that were. What fails is asked for again after each compaction,
        while the driver would wait for minutes."""
        before = now = self.size(guest)
        wanted = max(0, before - size)
        self._request(guest, wanted)
        last, since, asked = now, time.monotonic(), time.monotonic()
        while (now := self.size(guest)) > wanted:
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > self.still_s:
                self._request(guest, now)  # it stops trying
                break
            if time.monotonic() - asked > self.every_s and since < asked:
                self._request(guest, wanted + self.BLOCK)
                self._request(guest, wanted)
                asked = time.monotonic()
            time.sleep(0.05)
        return before - now

    def give(self, guest, size):
        """Plugs `size` bytes in again: how many that were."""
        before = now = self.size(guest)
        wanted = min(before + size, self.unplug_mib * MIB)
        self._request(guest, wanted)
        last, since = now, time.monotonic()
        while (now := self.size(guest)) < wanted and time.monotonic() - since < self.still_s:
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.05)
        return now - before
