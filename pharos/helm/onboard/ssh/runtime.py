"""A private directory for a connection: sockets and links, none of which outlives it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pharos.helm.onboard.errors import OnboardError
from pharos.helm.onboard.ssh.keys import SshKeys
from pharos.helm.onboard.ssh.words import Runtime

# sun_path has 108 bytes, of which ssh wants 17 for the name before the final one, and we some 40 for our own.
MAX_BASE: Final = 50
_SAFE: Final = re.compile(r"/[A-Za-z0-9_./-]*")


@contextmanager
def open_runtime(keys: SshKeys) -> Iterator[Runtime]:
    """Make the directory, mode 0700, and remove it when the block ends.

    Raises: OnboardError — there is no place for it.
    """
    with tempfile.TemporaryDirectory(prefix="pharos-ssh-", dir=_base()) as folder:
        runtime = Runtime(folder=Path(folder))
        # By way of links: a state directory may have any name, and ssh's configuration takes % and quotes for its own.
        runtime.known_hosts.symlink_to(keys.pins.path.resolve())
        runtime.identity.symlink_to(keys.identity.resolve())
        yield runtime


def _base() -> str:
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 -- mkdtemp
        if _fits(place):
            return place
    raise OnboardError("there is no directory for ssh's sockets where programs may run; set TMPDIR to one")


def _fits(place: str) -> bool:
    if not _SAFE.fullmatch(place) or len(place) > MAX_BASE or not os.access(place, os.W_OK | os.X_OK):
        return False
    # Ssh starts a program there to ask for a password. Only Linux tells.
    return not os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0)
