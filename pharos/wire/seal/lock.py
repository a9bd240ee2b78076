"""The fleet lock: an owner's offline key says which nodes there are; helm alone cannot add one (security.md §2d).

signature  Ed25519(`pharos/lock/v1` ‖ length-prefixed fleet, node id, AmneziaWG key, derive key)

The key is on paper. helm has its public half and the signatures, and devices check them.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.seal.fields import length_prefixed

KEY_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 64

_CONTEXT: Final = b"pharos/lock/v1"
# 35 octets are 56 letters of base32; four a group is what people copy without losing their place.
_CHECK: Final = 3
_GROUP: Final = 4


class LockKey:
    """The offline key; it shows in no repr."""

    __slots__ = ("_key",)

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)

    @classmethod
    def create(cls) -> LockKey:
        """Draw a new one."""
        return cls(bytes(SigningKey.generate()))

    @classmethod
    def parse(cls, text: str) -> LockKey:
        """Read a key as printed; case, spaces and hyphens do not matter.

        Raises: LockError — a character is wrong or missing.
        """
        plain = "".join(text.upper().replace("-", " ").split())
        try:
            raw = base64.b32decode(plain)
        except ValueError:
            raw = b""
        seed, check = raw[:KEY_LENGTH], raw[KEY_LENGTH:]
        if len(seed) != KEY_LENGTH or check != _check(seed):
            raise LockError("that is not the key of a fleet lock; copy all of its groups")
        return cls(seed)

    @property
    def public(self) -> bytes:
        """The public half, 32 octets."""
        return bytes(self._key.verify_key)

    def printed(self) -> str:
        """Return the key as groups of letters and digits, with a check that catches a slip of the pen."""
        seed = bytes(self._key)
        text = base64.b32encode(seed + _check(seed)).decode()
        return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))

    def sign_node(self, fleet: FleetId, node: NodeId, *, awg_key: bytes, derive_key: bytes) -> bytes:
        """Say that these are the keys of this node; 64 octets."""
        return self._key.sign(_statement(fleet, node, awg_key, derive_key)).signature

    def __repr__(self) -> str:
        return f"<LockKey public={self.public.hex()[:16]}…>"


def verify_node_lock(
    signature: bytes, *, lock_key: bytes, fleet: FleetId, node: NodeId, awg_key: bytes, derive_key: bytes
) -> None:
    """Check that the lock says that these are the keys of this node.

    Raises: LockError — it does not.
    """
    try:
        VerifyKey(lock_key).verify(_statement(fleet, node, awg_key, derive_key), signature)
    except (BadSignatureError, ValueError, TypeError) as error:
        raise LockError(f"node {node} is not signed by the fleet lock; ask the owner") from error


def _statement(fleet: FleetId, node: NodeId, awg_key: bytes, derive_key: bytes) -> bytes:
    return _CONTEXT + length_prefixed(fleet.encode(), node.encode(), awg_key, derive_key)


def _check(seed: bytes) -> bytes:
    return hashlib.sha256(_CONTEXT + seed).digest()[:_CHECK]
