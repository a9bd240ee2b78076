"""What helm keeps for SSH in its state directory: a key of its own, if one was made, and the host keys it pinned."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final, Self

import attrs

from pharos.helm.ca.sshkey import make_ssh_key, ssh_public_line
from pharos.helm.onboard.ssh.pins import Pins
from pharos.wire.chance import token_hex
from pharos.wire.errors import StateFileError
from pharos.wire.files import PRIVATE_DIRECTORY, sync_directory, write_atomic

FOLDER: Final = "ssh"
COMMENT: Final = "pharos-helm"


@attrs.frozen
class SshKeys:
    """One directory; ``open_keys`` makes it."""

    folder: Path

    @classmethod
    def open_keys(cls, state: Path) -> Self:
        """Take, or make, the directory in helm's state. Blocks on the disk.

        Raises: StateFileError — it cannot be reached, or others can reach it.
        """
        folder = state / FOLDER
        try:
            folder.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            # Nothing in it outlives a power cut before its own name does.
            sync_directory(state)
            status, parent = folder.stat(), state.stat()
            if os.geteuid() == 0 and status.st_uid != parent.st_uid:
                # `sudo helm …` makes it for the service whose state it is.
                os.chown(folder, parent.st_uid, parent.st_gid)
        except OSError as error:
            raise StateFileError(f"{folder} cannot be used ({error.strerror}); see --state") from error
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise StateFileError(f"{folder} is open to other users; run: chmod 700 {folder}")
        return cls(folder)

    @property
    def pins(self) -> Pins:
        """Host keys."""
        return Pins(self.folder / "known_hosts")

    @property
    def identity(self) -> Path:
        """Where the private key is, if there is one."""
        return self.folder / "id_ed25519"

    def public_line(self) -> str | None:
        """Return the line for authorized_keys, or None where no key was made. Raises: StateFileError."""
        try:
            mode = stat.S_IMODE(self.identity.stat().st_mode)
            key = self.identity.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileError(f"{self.identity} cannot be read ({error.strerror})") from error
        if mode & 0o077:
            raise StateFileError(
                f"{self.identity} could be read by other users (mode {mode:04o}), so ssh refuses it; remove it, make a"
                " new one, and take the old one out of every authorized_keys"
            )
        try:
            return ssh_public_line(key, COMMENT)
        except ValueError:
            raise StateFileError(
                f"{self.identity} is damaged and was left as it is; remove it and make another"
            ) from None

    def make(self) -> str:
        """Make the key unless there is one, and return its public line. Blocks on the disk. Raises: StateFileError."""
        if (line := self.public_line()) is not None:
            return line
        # Two commands at once agree on the one that was linked first.
        scratch = self.folder / f".id_ed25519.{token_hex(8)}"
        write_atomic(scratch, make_ssh_key())
        try:
            with contextlib.suppress(FileExistsError):
                os.link(scratch, self.identity)
        finally:
            scratch.unlink()
        # Its public line goes into machines: it is not shown before it is here to stay.
        sync_directory(self.folder)
        made = self.public_line()
        assert made is not None
        return made
