"""A disk that is really full: helm refuses changes and lets everybody read; with room again it goes on by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.helm.errors import ReadOnlyError
from pharos.helm.store.condition import Health, State
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import CORE, Database, open_store
from pharos.helm.store.outbox import append_entry, entries_after
from pharos.helm.store.watch import watch_store
from tests.support.figures import Fault, record

pytestmark = pytest.mark.system

RECOVERY = 5.0
"""Seconds (security.md §3)."""
SLACK = 3
"""By which a deadline is stretched on a busy machine."""
NOON = 1_800_000_000_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root: run the system tests as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def write(db: Database, kind: str, size: int = 1) -> None:
    append_entry(db, at=1, kind=kind, subject="s", actor="a", detail="x" * size)


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0)]


async def test_full_disk_makes_helm_read_only_until_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    announced: list[Health] = []
    recovered = trio.Event()

    async def announce(path: Path, state: State) -> None:
        assert path.name == CORE
        announced.append(state.health)
        if state.health is Health.WRITABLE:
            recovered.set()

    with open_store(small_disk, create=True) as store:
        await store.run(write, "before")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_store, store, announce)
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(4096))
            with pytest.raises(ReadOnlyError, match="cannot be written"):
                await store.run(write, "refused", 1_000_000)
            assert await store.read(kinds) == ["before"]
            with pytest.raises(ReadOnlyError, match="MiB free, and the next copy needs"):
                make_copy(small_disk, NOON, keep=1)
            ballast.unlink()
            room_at = trio.current_time()
            with trio.fail_after(SLACK * RECOVERY):
                await recovered.wait()
            record(Fault.DISK_FULL, "from room on the disk until changes are taken", trio.current_time() - room_at, "s")
            await store.run(write, "after")
            assert await store.read(kinds) == ["before", "after"]
            nursery.cancel_scope.cancel()
    assert announced == [Health.READ_ONLY, Health.WRITABLE]
    caplog.clear()
    with open_store(small_disk) as store:
        assert await store.read(kinds) == ["before", "after"]


async def test_read_only_file_system_makes_helm_read_only(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(small_disk, create=True) as store:
        await store.run(write, "before")
    remount(small_disk, "ro")
    with pytest.raises(ReadOnlyError, match="Read-only file system"), open_store(small_disk):
        pass
    remount(small_disk, "rw")
    with open_store(small_disk) as store:
        assert await store.read(kinds) == ["before"]
    caplog.clear()


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)
