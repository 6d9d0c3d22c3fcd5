# SPDX-License-Identifier: Apache-2.0
"""What a settled guest needs, from its own /proc: the yardstick of idle_over_needed_pct. Pure."""

import re

KIB = 1024
MIB = 1 << 20
PAGE = 4096
# Free page reporting leaves a zone alone that has no more free pages than its low watermark and 32 blocks of 2 MiB
# (mm/page_reporting.c: page_reporting_process_zone, PAGE_REPORTING_CAPACITY, pageblock_order).
_REPORTING_CAPACITY_BYTES = 32 * 2 * MIB
# Beside the definition: shown, not counted.
_APART = ("MemFree", "Cached", "Shmem", "AnonPages", "SwapCached", "Mlocked", "VmallocUsed", "SecPageTables", "AnonHugePages")


def parse_meminfo(text):
    """{name: bytes}"""
    return {
        name: int(kib) * KIB for name, kib in re.findall(r"^(\w+(?:\(\w+\))?):\s+(\d+) kB$", text, re.MULTILINE)
    }


def parse_zones(text):
    """[(name, low watermark in bytes, managed bytes, free bytes)] of the zones that have pages."""
    zones = []
    for part in re.split(r"^Node ", text, flags=re.MULTILINE)[1:]:
        name = re.match(r"(\d+), zone\s+(\w+)", part)
        numbers = {key: int(value) * PAGE for key, value in re.findall(r"^\s+(?:pages )?(free|low|managed)\s+(\d+)$", part, re.MULTILINE)}
        if numbers.get("managed"):
            zones.append((f"node{name[1]}/{name[2]}", numbers["low"], numbers["managed"], numbers["free"]))
    return zones


def reporting_floor(zones):
    """{zone: bytes that free page reporting may leave with the guest}: never more than the zone has."""
    return {name: min(managed, low + _REPORTING_CAPACITY_BYTES) for name, low, managed, _ in zones}


def account(ram_bytes, hot_bytes, agent_rss_bytes, compressed_bytes, meminfo_text, zoneinfo_text):
    """{"needed_bytes": sum, "needed": {what: bytes}, "floor": {zone: bytes}, "apart": {what: bytes}}"""
    info = parse_meminfo(meminfo_text)
    floor = reporting_floor(parse_zones(zoneinfo_text))
    needed = {
        "hot_set": hot_bytes,
        "slab": info["Slab"],
        "page_tables": info["PageTables"],
        "kernel_stacks": info["KernelStack"],
        "per_cpu": info["Percpu"],
        "boot_reserved": ram_bytes - info["MemTotal"],
        "agent_rss": agent_rss_bytes,
        "compressed_swap": compressed_bytes,
        "reporting_floor": sum(floor.values()),
    }
    return {
        "needed_bytes": sum(needed.values()),
        "needed": needed,
        "floor": floor,
        "apart": {name: info[name] for name in _APART if name in info},
    }
