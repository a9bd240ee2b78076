"""Machines of the simulation: each with a disk, a clock and a daemon, which can be ended in every way there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from pharos.wire.world import inhabiting
from tests.sim.world import SimWorld

Run = Callable[..., Awaitable[None]]
"""A daemon's task tree, which takes a ``task_status``."""

DATABASES = ("core.db", "telemetry.db")
OF_SQLITE = tuple(name + end for name in DATABASES for end in ("", "-wal", "-shm"))


class Machine:
    """One machine and the daemon on it."""

    def __init__(self, name: str, folder: Path, world: SimWorld, nursery: trio.Nursery, run: Run) -> None:
        self.name = name
        self.folder = folder
        """Its state directory."""
        self.world = world
        self.run = run
        self.up = False
        self.powered = True
        self.is_durable: Callable[[str], bool] = lambda _database: True
        """Whether each commit of a database was synced."""
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self.value: Any = None
        """What the daemon said when it had started."""

    @property
    def host(self) -> str:
        """Its address."""
        return self.world.host

    async def start(self) -> None:
        """Start the daemon, and switch the machine on if need be. Raises: what the daemon does."""
        if not self.powered:
            self.powered = True
            self.world.net.wake(self.host)
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        self.value = await self._nursery.start(self._main)
        self.up = True

    async def _main(self, *, task_status: trio.TaskStatus[Any]) -> None:
        # What ends by itself ends the simulation, but for the start, which says so to who asked for it.
        try:
            with self._scope, inhabiting(self.world):
                await self.run(task_status=task_status)
        finally:
            self.up = False
            self._ended.set()

    async def stop(self) -> None:
        """End the daemon as an operator does."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    async def kill(self) -> None:
        """End it as kill -9 does: what it does in its last moments has not happened; the kernel closes its sockets."""
        net = self.world.net
        net.lose_power(self.host)
        await self._end_at_once()
        net.reset(self.host)
        net.wake(self.host)

    async def lose_power(self) -> None:
        """Switch the machine off as it is: nobody is told, and what was not synced is lost."""
        self.world.net.lose_power(self.host)
        self.powered = False
        await self._end_at_once()
        for name in DATABASES:
            if not self.is_durable(name) and self.world.chance.random() < 0.5:
                # What a commit that was not synced had written is in the log, and that is lost.
                (self.folder / f"{name}-wal").unlink(missing_ok=True)
        self.world.disk.lose_power(but=OF_SQLITE)

    async def _end_at_once(self) -> None:
        kept, forget = Snapshot(self.folder), self.world.disk.remember()
        durable = {name: self.is_durable(name) for name in DATABASES}
        await self.stop()
        kept.restore()
        forget()
        self.is_durable = durable.__getitem__


class Snapshot:
    """The files below a folder as they are now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {path.relative_to(folder): path.read_bytes() for path in files_below(folder)}

    def restore(self) -> None:
        """Let the folder have these files, with these octets, and no others."""
        for path in list(files_below(self._folder)):
            if path.relative_to(self._folder) not in self._files:
                path.unlink()
        for name, content in self._files.items():
            path = self._folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        with suppress(FileNotFoundError):
            (self._folder / "helm.sock").unlink()


def files_below(folder: Path) -> Iterator[Path]:
    """Give every plain file; the shared memory of SQLite is none that survives."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.endswith("-shm"):
            yield path


def copy_folder(source: Path, target: Path) -> None:
    """Copy files and folders as they are, with their modes."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.sock", "*-shm"))
