"""Who keeps the key of a device's directory: vault.json, a change of which is the moment at which everything changes.

store       what tells this directory from every other, 16 octets
protection  keyring | passphrase | key-file
check       of the key, 8 octets: the keyring's entry and the key file have it in their names
cost        with a passphrase: salt and cost of Argon2id, and the key, wrapped by what comes of it
previous    after a change: the key before, sealed by this one, until nothing needs it any more
unfinished  something may still be in the clear, or sealed by the previous key: the next write sees to it
"""

from __future__ import annotations

import base64
from typing import Any

import attrs

from pharos.caravel.profiles.unlocking import Protection
from pharos.wire.seal.passphrase import KeyCost


@attrs.frozen(kw_only=True)
class Keeping:
    """What vault.json says."""

    store: bytes
    protection: Protection
    check: bytes
    cost: KeyCost | None = None
    wrapped: bytes = b""
    previous: bytes = b""
    previous_check: bytes = b""
    previous_protection: Protection | None = None
    unfinished: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it for the file."""
        cost = self.cost
        return {
            "store": self.store.hex(),
            "protection": self.protection.value,
            "check": self.check.hex(),
            "cost": None if cost is None else [_encode(cost.salt), cost.passes, cost.octets, _encode(self.wrapped)],
            "previous": None
            if self.previous_protection is None
            else [self.previous_check.hex(), self.previous_protection.value, _encode(self.previous)],
            "unfinished": self.unfinished,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Keeping:
        """Raises: KeyError, TypeError, ValueError, ParameterError — it is none, or asks for too much."""
        made = cls(
            store=bytes.fromhex(body["store"]),
            protection=Protection(body["protection"]),
            check=bytes.fromhex(body["check"]),
            unfinished=bool(body["unfinished"]),
        )
        if body["cost"] is not None:
            salt, passes, octets, wrapped = body["cost"]
            cost = KeyCost(salt=_decode(salt), passes=int(passes), octets=int(octets))
            made = attrs.evolve(made, cost=cost, wrapped=_decode(wrapped))
        if body["previous"] is not None:
            check, protection, sealed = body["previous"]
            made = attrs.evolve(
                made,
                previous=_decode(sealed),
                previous_check=bytes.fromhex(check),
                previous_protection=Protection(protection),
            )
        return made


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
