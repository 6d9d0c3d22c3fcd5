#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The agent's unit file: its hardening leaves open what the agent writes, and nothing else of the kernel. And both units are
understood by systemd. Argument: the top of the sources."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

SOURCES = os.path.join(sys.argv[1], "guest-agent")
UNIT = os.path.join(SOURCES, "acma-agent.service")
CONTROLLER_UNIT = os.path.join(sys.argv[1], "host-controller", "acma-controller.service")

# Kernel files that the agent and the dead-man write.
WRITTEN = [
    "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds",
    "/sys/kernel/mm/damon/admin/kdamonds/0/state",
    "/sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/schemes/0/quotas/bytes",
    "/sys/module/damon_stat/parameters/enabled",
    "/proc/sys/vm/percpu_pagelist_high_fraction",
    "/proc/sys/vm/stat_refresh",
    "/proc/pressure/memory",
]
# systemd.exec(5), ProtectKernelTunables=; of these what exists everywhere.
READ_ONLY = ["/proc/sys", "/sys", "/proc/sysrq-trigger", "/proc/fs", "/proc/irq"]
# ProtectSystem=strict: everything but these.
NOT_STRICT = ["/dev", "/proc", "/sys"]


def settings(unit=UNIT):
    """Key -> values, in order; a key may come more than once."""
    found = {}
    with open(unit, encoding="utf-8") as file:
        for line in file:
            key, equals, value = line.strip().partition("=")
            if equals and not line.startswith("#"):
                found.setdefault(key, []).append(value)
    return found


def is_below(path, directory):
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def is_writable(path, unit):
    """The longest path that says something about it decides (systemd.exec(5): ReadWritePaths= nests)."""
    rules = {"/": unit.get("ProtectSystem") != ["strict"]}
    rules |= {name: True for name in NOT_STRICT}
    if unit.get("ProtectKernelTunables") == ["yes"]:
        rules |= {name: False for name in READ_ONLY}
    for value in unit.get("ReadWritePaths", []):
        rules |= {name.lstrip("-+"): True for name in value.split()}
    rules |= {f"/run/{name}": True for name in unit.get("RuntimeDirectory", [])}
    return rules[max((name for name in rules if is_below(path, name)), key=len)]


class UnitFile(unittest.TestCase):
    def test_lets_the_agent_write_what_it_writes(self):
        for path in WRITTEN + ["/run/acma-agent/damon", "/run/acma-agent/page-lists", "/run/acma-agent/status.sock"]:
            self.assertTrue(is_writable(path, settings()), path)

    def test_lets_it_write_nothing_else_of_the_kernel(self):
        others = ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/module/damon_lru_sort/parameters/enabled"]
        others += ["/proc/sys/vm/swappiness", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/etc/passwd"]
        for path in others:
            self.assertFalse(is_writable(path, settings()), path)

    def test_names_only_paths_that_may_be_missing(self):
        """An older kernel has no damon_stat; a path without "-" would keep the agent from starting there."""
        for value in settings()["ReadWritePaths"]:
            for name in value.split():
                self.assertTrue(name.startswith("-"), name)

    def test_covers_every_kernel_file_that_the_sources_name(self):
        """The defaults of what is written; a new one has to come into WRITTEN, and into the unit."""
        named = set()
        for header in ["reclaimer.h", "page_lists.h"]:
            with open(os.path.join(SOURCES, header), encoding="utf-8") as file:
                named |= set(re.findall(r'= "(/(?:proc|sys)/[^"]*)"', file.read()))
        only_read = {"/proc/iomem", "/proc/kpageflags", "/proc/zoneinfo"}
        for path in named - only_read:
            self.assertTrue(any(is_below(known, path) for known in WRITTEN), f"{path} is not in WRITTEN")

    def test_keeps_the_capabilities_that_the_agent_needs(self):
        kept = settings()["CapabilityBoundingSet"][0].split()
        self.assertEqual(sorted(kept), ["CAP_IPC_LOCK", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"])

    def analyze(self, unit, *command):
        """systemd-analyze COMMAND on a copy; neither program nor manual page need be installed here."""
        name = os.path.basename(unit)
        with tempfile.TemporaryDirectory(prefix="acma-unit-") as directory:
            copy = os.path.join(directory, name)
            with open(unit, encoding="utf-8") as source, open(copy, "w", encoding="utf-8") as target:
                target.write(re.sub(r"/usr/sbin/acma-\w+", "/bin/true", source.read()))
            done = subprocess.run(["systemd-analyze", *command, copy], capture_output=True, text=True, check=False)
        return done, [line for line in done.stderr.splitlines() if name in line or directory in line]

    def test_is_understood_by_systemd(self):
        for unit in [UNIT, CONTROLLER_UNIT]:
            done, about_it = self.analyze(unit, "verify", "--man=no", "--recursive-errors=no")
            self.assertEqual((done.returncode, about_it), (0, []), done.stderr)

    def test_leaves_little_open(self):
        """systemd's own score, from 0 (nothing) to 100 (all): what is left is what the programs need."""
        for unit in [UNIT, CONTROLLER_UNIT]:
            done, _ = self.analyze(unit, "security", "--offline=true", "--threshold=25")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_comes_back_however_often_it_ends(self):
        for unit in [UNIT, CONTROLLER_UNIT]:
            found = settings(unit)
            self.assertEqual((found["Restart"], found["StartLimitIntervalSec"]), (["always"], ["0"]))
            self.assertEqual((found["Type"], found["WatchdogSec"]), (["notify"], ["30"]))
        self.assertEqual(settings(CONTROLLER_UNIT)["RuntimeDirectoryPreserve"], ["yes"], "the lock of one a host lies there")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
