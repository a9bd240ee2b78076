"""By what the key of a store is kept, and how a program comes by it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import attrs

from pharos.caravel.errors import LockedStoreError
from pharos.caravel.profiles.config import store_key_file, store_passphrase_file
from pharos.caravel.profiles.keyrings import Keyring, find_keyring
from pharos.wire.seal.atrest import StoreKey
from pharos.wire.seal.passphrase import MAX_PASSPHRASE
from pharos.wire.units import KIB

MAX_KEY_FILE: Final = 1 * KIB


class Protection(enum.Enum):
    """Who opens a store."""

    KEYRING = "keyring"
    """Whoever is logged in to the desktop."""
    PASSPHRASE = "passphrase"  # noqa: S105 -- a protection's name
    """Whoever knows it."""
    KEY_FILE = "key-file"
    """Whoever can read the store's directory, or the file that systemd passes."""


@attrs.define(kw_only=True)
class Unlocking:
    """How a program opens stores. One for the whole program asks nobody twice, for it remembers the keys."""

    ask: Callable[[str], str] | None = None
    """Asks a person, with the question given; None: there is nobody to ask."""
    tries: int = 3
    """How often somebody may mistype it."""
    passphrase_file: Path | None = None
    """Its first line is the passphrase."""
    key_file: Path | None = None
    """Used where no key file lies in the store."""
    keyring: Callable[[], Keyring | None] = find_keyring
    prefer: Protection | None = None
    """For a store that is made anew: keyring or key file. None: the keyring where there is a real one."""
    _known: dict[bytes, StoreKey] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of_process(cls, ask: Callable[[str], str] | None = None) -> Self:
        """Return what the environment of this process gives: files of systemd's, a passphrase's file."""
        return cls(ask=ask, passphrase_file=store_passphrase_file(), key_file=store_key_file())

    def known(self, check: bytes) -> StoreKey | None:
        """Return a key that was opened before, by its check."""
        return self._known.get(check)

    def remember(self, key: StoreKey) -> StoreKey:
        """Ask nobody for this key again; return it."""
        self._known[key.check] = key
        return key

    def read_passphrase(self) -> str | None:
        """Return the passphrase from its file; None where no file was given.

        Raises: LockedStoreError — it cannot be read.
        """
        if self.passphrase_file is None:
            return None
        try:
            with self.passphrase_file.open(encoding="utf-8") as file:
                return file.readline(MAX_PASSPHRASE + 2).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise LockedStoreError(f"the passphrase's file {self.passphrase_file} cannot be read: {error}") from error
