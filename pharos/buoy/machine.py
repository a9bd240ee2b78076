"""How this machine is: what an operator wants to know before a disk is full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pharos.wire.reports import MachineReport
from pharos.wire.units import KIB

_MEMINFO: Final = Path("/proc/meminfo")


def read_machine(state: Path, *, meminfo: Path = _MEMINFO) -> MachineReport:
    """Return load, processors, memory and the disk of ``state``; what this system does not tell is 0."""
    memory = _read_memory(meminfo)
    try:
        disk = os.statvfs(state)
        size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    except OSError:
        size = free = 0
    minute, five, _ = os.getloadavg()
    return MachineReport(
        # Thousandths are what a report carries.
        load=round(minute, 3),
        load5=round(five, 3),
        processors=os.cpu_count() or 0,
        memory=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        disk=size,
        disk_free=free,
    )


def _read_memory(meminfo: Path) -> dict[str, int]:
    """Read proc_meminfo(5), whose numbers are in KiB."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdigit():
            found[name] = int(number[0]) * KIB
    return found
