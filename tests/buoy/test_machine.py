"""A node says how its machine is, as far as the machine says it."""

from __future__ import annotations

import os
from pathlib import Path

from pharos.buoy.machine import read_machine


def test_memory_and_disk_are_read(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\nHugePages_Total:  x\n")
    machine = read_machine(tmp_path, meminfo=meminfo)
    assert (machine.memory, machine.memory_available) == (2048 * 1024, 1024 * 1024)
    assert 0 < machine.disk_free <= machine.disk
    assert min(machine.load, machine.load5) >= 0
    assert machine.processors == os.cpu_count()


def test_what_a_system_does_not_tell_is_nothing(tmp_path: Path) -> None:
    machine = read_machine(tmp_path / "nowhere", meminfo=tmp_path / "none")
    assert (machine.memory, machine.disk) == (0, 0)
