"""/etc/resolv.conf taken over while a tunnel is up, and put back as it was: its link, its text, its owner.

Who writes there meanwhile, such as a DHCP client, is noticed: his text is what is put back later, and ours stands
again. What is not ours when it is to be put back is left as it is.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.dnswatch import open_watch, skip_watch
from pharos.caravel.system.restore import Journal, Json
from pharos.wire.units import KIB, MILLISECONDS, SECONDS

log = logging.getLogger(__name__)

RESOLV_CONF: Final = "resolv.conf"
"""As the journal has it."""
MAX_BYTES: Final = 32 * KIB
"""Of a file that is taken over; glibc's own reads three servers and 1 KiB of domains."""
SETTLE: Final = 100 * MILLISECONDS
"""For which whoever writes may go on."""
AGAIN: Final = 1 * SECONDS
"""Between two times that it is taken back from somebody who insists."""
_SCRATCH: Final = ".resolv.conf.caravel"


@attrs.frozen(kw_only=True)
class Original:
    """What stood there: a file, a link, or nothing."""

    target: str | None = None
    """Of a link."""
    content: bytes | None = None
    """Of a file."""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)

    def as_json(self) -> Json:
        """Return it as the journal notes it."""
        content = None if self.content is None else base64.b64encode(self.content).decode()
        return {"target": self.target, "content": content, "mode": self.mode, "owner": list(self.owner)}

    @classmethod
    def from_json(cls, document: Json) -> Original:
        """Raises: SystemModeError — it is not what `as_json` returned."""
        try:
            content = document["content"]
            uid, gid = document["owner"]
            return cls(
                target=document["target"],
                content=None if content is None else base64.b64decode(content, validate=True),
                mode=int(document["mode"]),
                owner=(int(uid), int(gid)),
            )
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise SystemModeError(f"the note of {RESOLV_CONF} is not ours: {error}") from error


class ResolvConf:
    """The file, while it is ours."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self._journal = journal
        self._original = Original()
        self._ours = b""
        self._entry: int | None = None

    def take(self, text: str) -> None:
        """Note what stands there, and write ours.

        Raises: SystemModeError.
        """
        self._ours = text.encode()
        self._take()

    def _take(self) -> None:
        self._original = read_original(self.path)
        digest = hashlib.sha256(self._ours).hexdigest()
        body = {"path": str(self.path), "ours": digest, "original": self._original.as_json()}
        before, self._entry = self._entry, self._journal.note(RESOLV_CONF, body, lasting=True)
        if before is not None:
            self._journal.forget(before)
        put(self.path, Original(content=self._ours, owner=(os.geteuid(), os.getegid())))

    def machine_text(self) -> str:
        """Return what would stand there now if it were not ours: of a link, what its file says now."""
        if self._original.target is not None:
            return read_text(self.path.parent / self._original.target)
        return (self._original.content or b"").decode(errors="replace")

    async def give_back(self) -> None:
        """Raises: SystemModeError."""
        for entry in [entry for entry in self._journal.entries if entry.number == self._entry]:
            await undo_resolv_conf(entry.body)
            self._journal.forget(entry.number)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Take it back from whoever writes there, until cancelled."""
        with open_watch(self.path.parent) as watch:
            task_status.started()
            while True:
                try:
                    if _content(self.path) != self._ours:
                        await trio.sleep(SETTLE)
                        self._take()
                        log.warning("somebody else wrote %s; it names the tunnel's resolvers again", self.path)
                        await trio.sleep(AGAIN)
                        continue
                except SystemModeError as error:
                    log.error("%s", error)
                    await trio.sleep(AGAIN)
                await trio.lowlevel.wait_readable(watch)
                skip_watch(watch)


async def undo_resolv_conf(body: Json) -> None:
    """Undo what is noted as `RESOLV_CONF`, unless somebody has written there since. Raises: SystemModeError."""
    path, original = Path(str(body.get("path"))), Original.from_json(_document(body.get("original")))
    await trio.lowlevel.checkpoint()
    content = _content(path)
    if content is None or hashlib.sha256(content).hexdigest() != body.get("ours"):
        return
    put(path, original)


def read_text(path: Path) -> str:
    """Return what a file says, as far as it may be long; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""


def read_original(path: Path) -> Original:
    """Return what stands there.

    Raises: SystemModeError — it is neither a file nor a link, is too long, or cannot be read.
    """
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return Original(target=str(path.readlink()))
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise SystemModeError(f"{path} is no file of resolvers that could be put back later")
        content = path.read_bytes()
    except FileNotFoundError:
        return Original()
    except OSError as error:
        raise SystemModeError(f"{path} cannot be read: {error.strerror}") from error
    return Original(content=content, mode=stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid))


def put(path: Path, what: Original) -> None:
    """Have this stand there, at one go; in a container, where the file itself is mounted, by writing into it.

    Raises: SystemModeError.
    """
    scratch = path.with_name(_SCRATCH)
    try:
        scratch.unlink(missing_ok=True)
        if what.target is None and what.content is None:
            path.unlink(missing_ok=True)
        elif what.target is not None:
            scratch.symlink_to(what.target)
            scratch.rename(path)
        else:
            _write(scratch, what, os.O_CREAT | os.O_EXCL)
            try:
                scratch.rename(path)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                scratch.unlink()
                _write(path, what, os.O_TRUNC)
        _sync(path.parent)
    except OSError as error:
        hint = "; is it immutable? see: lsattr" if error.errno == errno.EPERM else ""
        raise SystemModeError(f"{path} cannot be written: {error.strerror}{hint}") from error


def _write(path: Path, what: Original, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(what.content or b"")
        file.flush()
        os.fchown(descriptor, *what.owner)
        os.fchmod(descriptor, what.mode)
        os.fsync(descriptor)


def _content(path: Path) -> bytes | None:
    """Return what a file says; None if there is none, or a link."""
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except OSError:
        pass
    return None


def _document(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
