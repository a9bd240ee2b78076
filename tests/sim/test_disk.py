"""A disk that loses what was not synced, and nothing else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pharos.wire.files import write_atomic
from pharos.wire.world import inhabiting
from tests.sim.world import DiskWorld


@pytest.mark.parametrize("seed", range(20))
def test_what_was_written_atomically_survives(tmp_path: Path, seed: int) -> None:
    machine, path = DiskWorld(random.Random(seed)), tmp_path / "file"
    path.write_bytes(b"before")
    with inhabiting(machine):
        write_atomic(path, b"after")
    machine.disk.lose_power()
    assert path.read_bytes() == b"after"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_what_was_not_synced_is_lost_by_some_seed_and_whole_by_another(tmp_path: Path) -> None:
    found = set()
    for seed in range(40):
        machine, path = DiskWorld(random.Random(seed)), tmp_path / "file"
        path.write_bytes(b"before")
        descriptor = machine.disk.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        machine.disk.write(descriptor, b"after")
        machine.disk.close(descriptor)
        machine.disk.replace(tmp_path / "new", path)
        machine.disk.lose_power()
        found.add(path.read_bytes())
    # The name came to the disk, and of the octets some, all or none; or nothing of all that.
    assert {b"before", b"", b"after"} <= found
    assert found <= {b"before", *(b"after"[:end] for end in range(6))}


def test_a_line_that_was_appended_and_synced_survives_and_the_next_may_be_torn(tmp_path: Path) -> None:
    found = set()
    for seed in range(40):
        machine, path = DiskWorld(random.Random(seed)), tmp_path / "journal"
        path.write_bytes(b"1\n")
        descriptor = machine.disk.open(path, os.O_WRONLY | os.O_APPEND, 0o600)
        machine.disk.write(descriptor, b"2\n")
        machine.disk.sync(descriptor)
        machine.disk.write(descriptor, b"333\n")
        machine.disk.lose_power()
        found.add(path.read_bytes())
    assert {b"1\n2\n", b"1\n2\n33", b"1\n2\n333\n"} <= found
    assert all(content.startswith(b"1\n2\n") for content in found)


def test_a_full_disk_takes_nothing_and_a_broken_one_syncs_nothing(tmp_path: Path) -> None:
    machine, path = DiskWorld(random.Random(1)), tmp_path / "file"
    path.write_bytes(b"before")
    for trouble in ("full", "broken"):
        setattr(machine.disk, trouble, True)
        with inhabiting(machine), pytest.raises(OSError, match=r"space|output"):
            write_atomic(path, b"after")
        setattr(machine.disk, trouble, False)
        assert path.read_bytes() == b"before"
    with inhabiting(machine):
        write_atomic(path, b"after")
    assert path.read_bytes() == b"after"
