"""The journal of what system-wide mode changes on a machine, so that whoever comes after a crash undoes exactly that.

A change is noted, durably, before it is made. An undoer therefore finds its change made, half made or not made at all,
and must do the right thing in each case; it may be called twice.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from pharos.caravel.errors import AlreadyRunningError, SystemModeError
from pharos.wire.errors import StateFileError
from pharos.wire.files import checksum, lock_state_directory, open_state_directory, write_atomic

log = logging.getLogger(__name__)

JOURNAL: Final = "journal"
MAX_BYTES: Final = 1024 * 1024
"""Routes to a thousand networks take a quarter of it, and a file that was changed some hundred bytes."""

Json: TypeAlias = dict[str, Any]
Undo: TypeAlias = Callable[[Json], Awaitable[None]]
"""Puts back what an entry with this body changed. Raises: SystemModeError, OSError — it stays noted."""


@attrs.frozen(kw_only=True)
class Places:
    """Where the journal is kept; tests have their own."""

    running: Path = Path("/run/pharos-caravel")
    """What ends with the machine anyway: of the kernel's state."""
    lasting: Path = Path("/var/lib/pharos-caravel")
    """What outlives a reboot, such as a file that was changed."""


@attrs.frozen
class Entry:
    """One change that was made, or was about to be."""

    number: int
    kind: str
    """Chooses who undoes it."""
    body: Json
    lasting: bool


class Journal:
    """What is changed now, the oldest first; ``open_journal`` makes it."""

    def __init__(self, places: Places) -> None:
        self._files = {False: places.running / JOURNAL, True: places.lasting / JOURNAL}
        # What outlived a reboot is older than anything of this boot.
        self._entries = [
            attrs.evolve(entry, number=number)
            for number, entry in enumerate(
                entry for lasting in (True, False) for entry in _read(self._files[lasting], lasting=lasting)
            )
        ]
        self._next = len(self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def note(self, kind: str, body: Json, *, lasting: bool = False) -> int:
        """Note a change that is made next; return the number of its entry. It is durable when this returns.

        ``lasting`` says that the change outlives a reboot. Raises: OSError — it cannot be noted: do not make it.
        """
        entry = Entry(self._next, kind, body, lasting)
        self._save(lasting, [*self._entries, entry])
        self._next += 1
        self._entries.append(entry)
        return entry.number

    def forget(self, number: int) -> None:
        """Forget an entry whose change was put back; nothing happens if there is none."""
        for entry in self._entries:
            if entry.number == number:
                self._entries.remove(entry)
                self._save(entry.lasting, self._entries)
                return

    async def undo(self, undoers: Mapping[str, Undo], *, keep: Collection[str] = ()) -> None:
        """Put everything back, the newest first, but for the kinds in ``keep``; what fails does not stop the rest.

        Raises: SystemModeError — something could not be put back; it stays noted.
        """
        failures: list[str] = []
        for entry in reversed(self.entries):
            if entry.kind in keep:
                continue
            undo = undoers.get(entry.kind)
            try:
                if undo is None:
                    raise SystemModeError("this version knows no such change; use the one that made it")
                await undo(entry.body)
            except (SystemModeError, OSError) as error:
                failures.append(f"{entry.kind}: {error}")
            else:
                self.forget(entry.number)
        if failures:
            raise SystemModeError(f"not everything could be put back: {'; '.join(failures)}; try: caravel down --force")

    def _save(self, lasting: bool, entries: Collection[Entry]) -> None:
        path = self._files[lasting]
        lines = [
            json.dumps({"kind": entry.kind, "body": entry.body, "sha256": _checksum(entry.kind, entry.body)})
            for entry in entries
            if entry.lasting is lasting
        ]
        if lines:
            write_atomic(path, "".join(f"{line}\n" for line in lines).encode())
        elif path.exists():
            path.unlink()
            _sync(path.parent)


@contextmanager
def open_journal(places: Places) -> Iterator[Journal]:
    """Open the journal of this machine for this process alone.

    Raises: AlreadyRunningError — another holds it. SystemModeError — its directories cannot be used, or it is damaged.
    """
    try:
        running = open_state_directory(places.running)
        lasting = open_state_directory(places.lasting)
    except (StateFileError, OSError) as error:
        raise SystemModeError(f"there is no place to note what is changed: {error}") from error
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_state_directory(running))
        except StateFileError as error:
            raise AlreadyRunningError(f"another caravel is in charge of this machine's network: {error}") from error
        yield Journal(Places(running=running, lasting=lasting))


def _read(path: Path, *, lasting: bool) -> Iterator[Entry]:
    """Raises: SystemModeError — it is not what we wrote; it is left as it is."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return
    if len(raw) > MAX_BYTES:
        raise _damaged(path)
    try:
        for line in raw.decode().splitlines():
            document = json.loads(line)
            kind, body = document["kind"], document["body"]
            if not isinstance(kind, str) or not isinstance(body, dict):
                raise _damaged(path)
            # Earlier versions wrote no checksum.
            if document.keys() - {"kind", "body"} and document != {
                "kind": kind,
                "body": body,
                "sha256": _checksum(kind, body),
            }:
                raise _damaged(path)
            yield Entry(0, kind, body, lasting)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(path) from None


def _checksum(kind: str, body: Json) -> str:
    """Of an entry: by one that says something else this machine's network would be put back to what it never was."""
    return checksum({"kind": kind, "body": body})


def _damaged(path: Path) -> SystemModeError:
    return SystemModeError(f"{path} is damaged and was left as it is; restart this machine, then remove it")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
