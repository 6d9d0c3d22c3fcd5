# SPDX-License-Identifier: Apache-2.0
"""Host bytes of a guest: what its RAM really costs the host, read from the smaps of its QEMU process."""

import dataclasses
import re

from .errors import RigError

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$")
# What of a mapping occupies the host: in memory, in its swap, in its hugetlb pool (which Rss leaves out).
_COUNTED = ("Rss", "Swap", "Private_Hugetlb", "Shared_Hugetlb")


@dataclasses.dataclass
class HostMemory:
    ram_bytes: int  # host bytes of the guest
    ram_size_bytes: int  # size of the RAM mappings
    qemu_bytes: int  # everything else of the process


@dataclasses.dataclass
class Mapping:
    size: int
    name: str
    counted: int = 0


def parse_smaps(text):
    mappings = []
    for line in text.splitlines():
        match = _MAPPING.match(line)
        if match:
            start, end, _, name = match.groups()
            mappings.append(Mapping(int(end, 16) - int(start, 16), name))
        elif mappings:
            key, _, value = line.partition(":")
            if key in _COUNTED:
                mappings[-1].counted += int(value.split()[0]) * 1024
    return mappings


def split(mappings, ram_sizes):
    """Finds one mapping for each RAM block by its exact size; no size that a guest uses is shared with anything else."""
    rest = sorted(mappings, key=lambda mapping: mapping.counted)
    ram = []
    for size in ram_sizes:
        found = [mapping for mapping in rest if mapping.size == size]
        if not found:
            raise RigError(f"no mapping of {size} bytes in the QEMU process: is that a RAM block's size?")
        ram.append(found[-1])
        rest.remove(found[-1])
    return HostMemory(
        ram_bytes=sum(mapping.counted for mapping in ram),
        ram_size_bytes=sum(mapping.size for mapping in ram),
        qemu_bytes=sum(mapping.counted for mapping in rest),
    )


def read(pid, ram_sizes, proc="/proc"):
    """Host bytes of the guest whose QEMU is process `pid` and whose RAM blocks have these sizes in bytes."""
    with open(f"{proc}/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        return split(parse_smaps(file.read()), ram_sizes)
