"""Secrets that device and node compute alike and helm cannot (security.md §2d).

Each has a derive key pair, used for nothing else. helm relays the public keys only.
"""

import hmac
import uuid
from typing import Final

import attrs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pharos.wire.errors import LocalProtocolError
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KEY_LENGTH, KeyPair
from pharos.wire.seal.fields import length_prefixed

_PSK_LABEL: Final = b"pharos/psk/v1"
_UUID_LABEL: Final = b"pharos/vless/v1"
COMMITMENT_LENGTH: Final = 8
"""Octets: two different PSKs look equal once in 2^64, and this is a check for accidents."""


@attrs.frozen(kw_only=True)
class Pairing:
    """A device, a node, and the generation of their secrets; public, and all of it enters the derivation."""

    fleet: FleetId
    device: DeviceId
    node: NodeId
    generation: int
    """Counts per (device, node); the next one is used once the device has acknowledged it."""
    device_derive: bytes
    """X25519 public key, as the three that follow."""
    node_derive: bytes
    device_awg: bytes
    node_awg: bytes

    def __attrs_post_init__(self) -> None:
        keys = (self.device_derive, self.node_derive, self.device_awg, self.node_awg)
        if any(len(key) != KEY_LENGTH for key in keys) or not 0 <= self.generation < 2**32:
            raise LocalProtocolError("a pairing takes four 32-octet keys and a 32-bit generation")

    def info(self, label: bytes) -> bytes:
        """Return HKDF's info for one of the secrets."""
        return label + length_prefixed(
            self.fleet.encode(),
            self.device.encode(),
            self.node.encode(),
            self.generation.to_bytes(4, "big"),
            self.device_derive,
            self.node_derive,
            self.device_awg,
            self.node_awg,
        )


def derive_psk(pairing: Pairing, derive_key: KeyPair) -> bytes:
    """Compute the AmneziaWG preshared key, 32 octets, with the derive key of either side.

    Raises: LocalProtocolError — the key is neither side's; RemoteProtocolError — the other's is of low order.
    """
    return _expand(pairing, _shared(pairing, derive_key), _PSK_LABEL)


def derive_uuid(pairing: Pairing, derive_key: KeyPair) -> uuid.UUID:
    """Compute the VLESS user id, version 4 in shape.

    Xray ignores octets 6 and 7 of a user id: uniqueness among users must hold without them.

    Raises: as ``derive_psk``.
    """
    return _as_uuid(_expand(pairing, _shared(pairing, derive_key), _UUID_LABEL))


def derive_both(pairing: Pairing, derive_key: KeyPair) -> tuple[bytes, uuid.UUID]:
    """Compute both secrets; one exchange of keys is most of what either takes.

    Raises: as ``derive_psk``.
    """
    shared = _shared(pairing, derive_key)
    return _expand(pairing, shared, _PSK_LABEL), _as_uuid(_expand(pairing, shared, _UUID_LABEL))


def commitment(psk: bytes) -> bytes:
    """Compute what both sides report to helm, so that it sees a desync without seeing the PSK."""
    return hmac.digest(psk, b"commit", "sha256")[:COMMITMENT_LENGTH]


def _shared(pairing: Pairing, derive_key: KeyPair) -> bytes:
    if derive_key.public == pairing.device_derive:
        return derive_key.exchange(pairing.node_derive)
    if derive_key.public == pairing.node_derive:
        return derive_key.exchange(pairing.device_derive)
    raise LocalProtocolError("this derive key belongs to neither side of the pairing")


def _expand(pairing: Pairing, shared: bytes, label: bytes) -> bytes:
    hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=pairing.fleet.encode(), info=pairing.info(label))
    return hkdf.derive(shared)


def _as_uuid(secret: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=secret[:16], version=4)
