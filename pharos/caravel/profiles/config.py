"""What the environment of a process says of how its store is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

STORE_KEY_CREDENTIAL: Final = "pharos-store-key"
"""systemd's LoadCredential= or LoadCredentialEncrypted= of a unit: the key of the store, as its key file has it."""
STORE_PASSPHRASE_CREDENTIAL: Final = "pharos-store-passphrase"  # noqa: S105 -- a file's name
PASSPHRASE_FILE_VARIABLE: Final = "PHAROS_PASSPHRASE_FILE"  # noqa: S105 -- a variable's name
"""The path of a file whose first line is the passphrase; never the passphrase itself, which others could read."""


def store_key_file() -> Path | None:
    """Return the key file that systemd passes to this process, if it does."""
    return _credential(STORE_KEY_CREDENTIAL)


def store_passphrase_file() -> Path | None:
    """Return the file with the passphrase of the store, if this process was given one."""
    named = os.environ.get(PASSPHRASE_FILE_VARIABLE)
    return Path(named) if named else _credential(STORE_PASSPHRASE_CREDENTIAL)


def _credential(name: str) -> Path | None:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    path = None if directory is None else Path(directory) / name
    return path if path is not None and path.exists() else None
