"""A state file with a secret in it: sealed by the key of its store, and only what may be known of it in the clear.

Files that an earlier version wrote in the clear are read as they are, and sealed with the next write to the store.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.caravel.profiles.vault import Vault
from pharos.wire.errors import DecryptError, StateFileError
from pharos.wire.files import Json, StateFile
from pharos.wire.ids import FLEET_ID_LENGTH
from pharos.wire.pki.canonical import encode_canonical

log = logging.getLogger(__name__)

SEALED: Final = "pharos/device-sealed/v1"
IDENTITY: Final = "pharos/device/v1"
SECRET: Final = frozenset({IDENTITY, "pharos/device-links/v1", "pharos/device-confs/v1", "pharos/device-desk/v1"})
"""Formats that are kept sealed. Bundles are sealed already, for a key that is in the identity."""


@attrs.frozen
class SealedFile:
    """As `StateFile`, but nobody reads it without the store's key."""

    vault: Vault
    path: Path
    format: str
    """Of what is inside."""
    remedy: str

    def load(self) -> Json | None:
        """Return the document, or None where there is no file yet.

        Raises: LockedStoreError. StateFileError — it is damaged or foreign, or was put here from elsewhere.
        """
        found = self._found()
        if found is None:
            return None
        format_, body = found
        return self._open(body) if format_ == SEALED else body

    def save(self, body: Json) -> None:
        """Replace the document; durable when this returns.

        Raises: LockedStoreError — there is a key and it cannot be had. StateFileError.
        """
        with self.vault.writing():
            key, store = self.vault.current()
            clear = hints_of(self.format, body)
            sealed = key.seal(
                json.dumps(body).encode(), purpose=self.format, store=store, clear=encode_canonical(clear)
            )
            outer = StateFile(self.path, SEALED, self.remedy)
            outer.save(
                {
                    "of": self.format,
                    "key": key.check.hex(),
                    "clear": clear,
                    "sealed": base64.b64encode(sealed).decode(),
                }
            )

    def hints(self) -> Json | None:
        """Return what may be known without the key; None where there is no file. It is believed when `load` was."""
        found = self._found()
        if found is None:
            return None
        format_, body = found
        try:
            return dict(body["clear"]) if format_ == SEALED else hints_of(format_, body)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from error

    def seal(self) -> None:
        """Seal it by the current key if it is not; damage is left as it is, for who reads it to tell."""
        found = self._found()
        if found is None:
            return
        format_, body = found
        if format_ == SEALED and body.get("key") == self.vault.current()[0].check.hex():
            return
        self.save(self._open(body) if format_ == SEALED else body)

    def _found(self) -> tuple[str, Json] | None:
        return StateFile(self.path, self.format, self.remedy).load_any(SEALED, self.format)

    def _open(self, body: Json) -> Json:
        try:
            if body["of"] != self.format:
                raise ValueError(f"it is sealed as {body['of']!r}")
            key, store = self.vault.key(bytes.fromhex(body["key"]))
            sealed, clear = base64.b64decode(body["sealed"], validate=True), encode_canonical(body["clear"])
            document = json.loads(key.open(sealed, purpose=self.format, store=store, clear=clear))
        except (KeyError, TypeError, ValueError, DecryptError) as error:
            raise self._damaged(error) from error
        if not isinstance(document, dict):
            raise self._damaged(TypeError("it is no object"))
        return document

    def _damaged(self, error: Exception) -> StateFileError:
        # Not its text: what is inside is a secret.
        return StateFileError(f"{self.path} is corrupt ({type(error).__name__}) and was left as it is; {self.remedy}")


def hints_of(format_: str, body: Json) -> dict[str, Any]:
    """Return what of a document stands in the clear beside it: of an identity, whose it is."""
    if format_ != IDENTITY:
        return {}
    enrolled = body.get("enrolled")
    if enrolled is None:
        return {"fleet": str(body.get("fleet", "")), "device": ""}
    return {"fleet": str(enrolled["root_hash"])[:FLEET_ID_LENGTH], "device": str(enrolled["device_id"])}


def seal_all(vault: Vault) -> None:
    """Seal every secret of a store that is in the clear, or sealed by another key than the current one."""
    for path in secret_files(vault.root):
        try:
            document = json.loads(path.read_bytes())
            format_ = document["format"] if isinstance(document, dict) and "format" in document else ""
            if format_ == SEALED or format_ in SECRET:
                inner = document["body"]["of"] if format_ == SEALED else format_
                SealedFile(vault, path, inner, "restore it from a copy").seal()
        except (KeyError, TypeError, ValueError, RecursionError, StateFileError) as error:
            log.warning("%s is damaged and stays as it is: %s", path, type(error).__name__)


def secret_files(root: Path) -> Iterator[Path]:
    """Give the documents of a store, of all its fleets."""
    yield from sorted(root.glob("*.json"))
    yield from sorted(root.glob("fleets/*/*.json"))
