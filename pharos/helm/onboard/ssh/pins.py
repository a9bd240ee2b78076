"""Helm's own book of host keys: a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) that grows by consent."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import attrs

from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.wire.errors import StateFileError
from pharos.wire.files import write_atomic

MAX_FILE: Final = 8 * 1024 * 1024
"""Bytes: 10,000 machines with an RSA key of 4096 bits each take 7 MB."""
# Nothing that known_hosts takes for a pattern, a list, a hash or a marker.
_NAME: Final = re.compile(r"[a-z0-9\[][a-z0-9.:%_\[\]-]{0,299}")
_KIND: Final = re.compile(r"[a-z0-9@.-]{1,64}")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@attrs.frozen
class HostKey:
    """A machine's public key."""

    kind: str
    """As known_hosts says it: ``ssh-ed25519``."""
    blob: bytes

    @classmethod
    def parse(cls, kind: str, encoded: str) -> Self:
        """Read the two words of known_hosts. Raises: ValueError."""
        blob = base64.b64decode(encoded, validate=True)
        # RFC 4253 §6.6: the blob begins with its kind.
        inside = blob[4 : 4 + int.from_bytes(blob[:4])]
        if not _KIND.fullmatch(kind) or inside != kind.encode():
            raise ValueError("not a host key")
        return cls(kind, blob)

    @property
    def fingerprint(self) -> str:
        """As ssh shows it: ``SHA256:…``."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """Kind and key, as known_hosts has them after the names."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


def parse_fingerprint(text: str) -> str:
    """Return what somebody gave beforehand. Raises: InvalidRequestError."""
    if not _FINGERPRINT.fullmatch(text.rstrip("=")):
        raise InvalidRequestError(f"{text!r} is no fingerprint of a host key such as ssh-keygen -l prints: SHA256:…")
    return text.rstrip("=")


@attrs.frozen
class Pins:
    """Which machine has which key."""

    path: Path

    def of(self, name: str) -> tuple[HostKey, ...]:
        """Return the keys of a name as ssh looks it up. Raises: StateFileError."""
        return tuple(key for names, key in _entries(self._read()) if name in names)

    def add(self, name: str, key: HostKey) -> None:
        """Pin the first key of a name; durable when this returns.

        Raises: ConflictError — somebody else has just pinned another. InvalidRequestError — that is no name of one
        machine. StateFileError.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(f"{name!r} cannot be the name of one machine in known_hosts; see ~/.ssh/config")
        with self._alone():
            text = self._read()
            known = [each for names, each in _entries(text) if name in names]
            if key in known:
                return
            if known:
                raise ConflictError(f"another host key of {name} was pinned just now: {known[0].fingerprint}")
            ending = "" if not text or text.endswith("\n") else "\n"
            write_atomic(self.path, f"{text}{ending}{name} {key.line}\n".encode(errors="surrogateescape"))

    def removal(self, name: str) -> str:
        """Return the command with which an operator takes a name out."""
        return shlex.join(["ssh-keygen", "-f", str(self.path), "-R", name])

    def _read(self) -> str:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StateFileError(f"{self.path} cannot be read ({error.strerror})") from error
        if len(data) > MAX_FILE:
            raise StateFileError(f"{self.path} is larger than {MAX_FILE} bytes; take machines out that are gone")
        return data.decode(errors="surrogateescape")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the book while the block reads and writes it: several commands may pin at once."""
        # The directory's own lock, so that no file of root's is left in the way of helm's own user.
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _entries(text: str) -> Iterator[tuple[list[str], HostKey]]:
    for line in text.splitlines():
        words = line.split()
        # Comments, and markers for authorities and revoked keys, are ssh's to obey.
        if len(words) < 3 or words[0].startswith(("#", "@")):
            continue
        try:
            yield words[0].split(","), HostKey.parse(words[1], words[2])
        except (ValueError, binascii.Error):
            continue
