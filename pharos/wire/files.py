"""State on disk that survives a crash: private directories, atomic writes, checked JSON documents."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.wire.errors import StateFileError
from pharos.wire.units import MIB
from pharos.wire.world import this_world

PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600
# 10,000 peers at some 400 bytes of JSON each are 4 MB; sixteen times that is no state of ours.
MAX_STATE_SIZE: Final = 64 * MIB
# What Windows has no word for.
_CLOSED_TO_CHILDREN: Final = getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_AS_IT_IS: Final = getattr(os, "O_BINARY", 0)

Json = dict[str, Any]


def open_state_directory(path: Path) -> Path:
    """Make ``path`` a private directory, or check that it is one, and return it resolved.

    Raises: StateFileError — it is no directory, or others than its owner can reach it.
    """
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StateFileError(f"{path} is not a directory; name another with --state") from None
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise StateFileError(f"{path} is open to other users (mode {mode:04o}); run: chmod 700 {path}")
    return path.resolve()


@contextmanager
def lock_state_directory(path: Path) -> Iterator[None]:
    """Hold the directory for this process alone while the block runs.

    Raises: StateFileError — another process holds it; the message names its pid.
    """
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | _CLOSED_TO_CHILDREN, PRIVATE_FILE)
    try:
        if not lock_nowait(descriptor):
            holder = _holder(descriptor)
            raise StateFileError(f"{path} is in use by process {holder}; stop it first")
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Return who has written into the file of a lock."""
    try:
        return os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
    except OSError:
        # Of a locked file Windows lets nobody else read.
        return "unknown"


def lock_nowait(descriptor: int) -> bool:
    """Hold an open file for this process alone until it is closed, and return True; False: another one holds it.

    Raises: OSError — the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        import fcntl
    except ImportError:
        # A system without it runs one program at a time.
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace ``path`` by ``data``: a reader, or a reboot at any instant, finds the old or the new file whole.

    Blocks on two fsyncs; call it from a worker thread where that matters.
    """
    # One writer per file is the rule of every state directory, so a fixed name cannot collide and leaves no litter.
    scratch = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CLOSED_TO_CHILDREN | _NO_LINK | _AS_IT_IS
    world = this_world()
    descriptor = world.open(scratch, flags, mode)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # `sudo buoy csr` writes for the service whose directory it is, not for root.
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        view = memoryview(data)
        while view:
            view = view[world.write(descriptor, view) :]
        world.fsync(descriptor)
    finally:
        world.close(descriptor)
    world.replace(scratch, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make durable which files a directory has, and by what names."""
    if not hasattr(os, "O_DIRECTORY"):
        # Windows opens none, and keeps names by a journal of its own.
        return
    world = this_world()
    directory = world.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOSED_TO_CHILDREN)
    try:
        world.fsync(directory)
    finally:
        world.close(directory)


@attrs.frozen
class StateFile:
    """One JSON document with a format name and a checksum, so that damage is seen and never acted on."""

    path: Path
    format: str
    """Name and version, ``pharos/buoy-desired/v1``: a file of another kind is refused."""
    remedy: str
    """What an operator does when the file is corrupt; completes the sentence after a semicolon."""

    def load(self) -> Json | None:
        """Return the document, or None where there is no file yet.

        Raises: StateFileError — the file is damaged, foreign or too large; it is left as it is.
        """
        found = self.load_any(self.format)
        return None if found is None else found[1]

    def load_any(self, *formats: str) -> tuple[str, Json] | None:
        """Return which of several formats the document has, and the document; as `load`."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileError(f"{self.path} cannot be read ({error.strerror}); {self.remedy}") from error
        if len(raw) > MAX_STATE_SIZE:
            raise self._corrupt("it is too large")
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError too
            raise self._corrupt("it is not JSON") from None
        if not isinstance(document, dict) or document.keys() != {"format", "sha256", "body"}:
            raise self._corrupt("it is not a Pharos state file")
        if document["format"] not in formats:
            raise self._corrupt(f"it has the format {document['format']!r}, not {' or '.join(map(repr, formats))}")
        body = document["body"]
        if not isinstance(body, dict) or document["sha256"] != checksum(body):
            raise self._corrupt("its checksum does not match")
        return document["format"], body

    def save(self, body: Json) -> None:
        """Replace the document; durable when this returns."""
        document = {"format": self.format, "sha256": checksum(body), "body": body}
        write_atomic(self.path, json.dumps(document, indent=1).encode() + b"\n")

    def _corrupt(self, why: str) -> StateFileError:
        return StateFileError(f"{self.path} is corrupt ({why}) and was left as it is; {self.remedy}")


def checksum(body: Json) -> str:
    """Return the SHA-256 of a document's body, which does not depend on how the file spells it."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
