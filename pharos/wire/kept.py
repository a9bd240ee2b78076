"""The file in which a node or relay keeps its fleet's trust, ``trust.json``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import attrs

from pharos.wire.errors import DenyListError, StateFileError
from pharos.wire.files import StateFile
from pharos.wire.grant import from_text, to_text
from pharos.wire.ids import FleetId
from pharos.wire.pki.denylist import DenyList
from pharos.wire.seal.denylist import verify_deny_list


@attrs.frozen(kw_only=True)
class Kept:
    """What the file says. All of it was verified when it was taken."""

    manifest: bytes = b""
    manifest_version: int = 0
    """Known even when the manifest itself has expired."""
    deny_list: bytes = b""
    checkpoint: bytes = b""
    signing_keys: tuple[bytes, ...] = ()
    """By which of the fleet's keys deny list and checkpoint were verified: a later manifest may have dropped them."""
    floor: int = 0
    """Seconds since 1970."""

    def as_json(self) -> dict[str, Any]:
        """Return it for a state file."""
        return {
            "manifest": to_text(self.manifest),
            "manifest_version": self.manifest_version,
            "deny_list": to_text(self.deny_list),
            "checkpoint": to_text(self.checkpoint),
            "signing_keys": [to_text(key) for key in self.signing_keys],
            "floor": self.floor,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read it from a state file.

        Raises: KeyError, TypeError, ValueError — it is something else.
        """
        return cls(
            manifest=from_text(body["manifest"]),
            manifest_version=int(body["manifest_version"]),
            deny_list=from_text(body["deny_list"]),
            checkpoint=from_text(body["checkpoint"]),
            signing_keys=tuple(from_text(key) for key in body["signing_keys"]),
            floor=int(body["floor"]),
        )


def trust_file(state: Path) -> StateFile:
    """Return the file in a state directory."""
    return StateFile(
        state / "trust.json",
        "pharos/agent-trust/v1",
        "restore it from a copy, or move it away: then this machine admits members that were revoked, until helm sends "
        "the deny list again",
    )


def kept_facts(state: Path, fleet: FleetId) -> dict[str, Any]:
    """Return what an operator wants to see of the file, without taking anything into use.

    Raises: StateFileError — it is damaged.
    """
    file = trust_file(state)
    with sound(file):
        kept = load_kept(file)
        deny_list = deny_list_of(kept, fleet)
    return {
        "trust_manifest": kept.manifest_version,
        "deny_list": "none" if deny_list is None else f"{deny_list.epoch}.{deny_list.version}",
        "revoked": 0 if deny_list is None else len(deny_list.entries),
    }


def load_kept(file: StateFile) -> Kept:
    """Read the file; nothing is kept where there is none.

    Raises: StateFileError, KeyError, TypeError, ValueError — it is damaged.
    """
    body = file.load()
    return Kept() if body is None else Kept.from_json(body)


@contextmanager
def sound(file: StateFile) -> Iterator[None]:
    """Raises: StateFileError — what is read in the block is not what it has to be."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, DenyListError) as error:
        raise StateFileError(f"{file.path} is corrupt ({error!r}) and was left as it is; {file.remedy}") from error


def deny_list_of(kept: Kept, fleet: FleetId) -> DenyList | None:
    """Return the deny list that is kept, None if there is none.

    Raises: DenyListError — it is not the fleet's.
    """
    if not kept.deny_list:
        return None
    return verify_deny_list(kept.deny_list, fleet=fleet, signing_keys=kept.signing_keys)
