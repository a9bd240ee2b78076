"""A checkpoint of helm's audit: what a witness keeps, so that no row up to it can be taken back.

0x01 ‖ signature (64) ‖ canonical JSON: at, fleet, head, size

head       hash of the newest row, hexadecimal; size is that row's sequence, from 1; at is in microseconds since 1970
signature  Ed25519(`pharos/checkpoint/v1` ‖ u32 length of the JSON ‖ the JSON) with the fleet signing key

Nodes, relays and devices keep the largest that they were shown (`compare`), and report a conflict: only the fleet's key
signs, so two heads for one size mean that helm's record was forked.
"""

import enum
from collections.abc import Collection
from typing import Final

import attrs
from nacl.signing import SigningKey

from pharos.wire.errors import BundleSignatureError, LocalProtocolError, RemoteProtocolError
from pharos.wire.ids import FleetId, parse_fleet_id
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.seal.signature import verify_signature

FORMAT: Final = b"\x01"
# The largest takes 227 octets: 65, and JSON with two numbers of 19 digits, 16 digits of fleet and 64 of head.
MAX_CHECKPOINT: Final = 256

_CONTEXT: Final = b"pharos/checkpoint/v1"
_SIGNATURE: Final = 64
_HEAD: Final = 32
# SQLite and protobuf hold such numbers as 64-bit integers with a sign.
_LARGEST: Final = 2**63 - 1


def _is_count(_instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{attribute.name} is not a count")


def _is_hash(_instance: object, attribute: "attrs.Attribute[bytes]", value: object) -> None:
    if not isinstance(value, bytes) or len(value) != _HEAD:
        raise ValueError(f"{attribute.name} is no SHA-256 hash")


@attrs.frozen(kw_only=True)
class Checkpoint:
    """The audit's state at one moment.

    Raises: ValueError — a value is not of its form.
    """

    fleet: FleetId = attrs.field(converter=parse_fleet_id)
    size: int = attrs.field(validator=_is_count)
    """Sequence of the newest row, which is also how many rows there ever were."""
    head: bytes = attrs.field(validator=_is_hash)
    """Hash of that row, 32 octets."""
    at: int = attrs.field(validator=_is_count)
    """When it was signed, in microseconds since 1970 by helm's clock."""

    def __attrs_post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("a checkpoint is of at least one row")


class Comparison(enum.Enum):
    """What a new checkpoint is to the one that is kept."""

    NEWER = "newer"
    """Keep it instead."""
    OLDER = "older"
    """Of a smaller size, or the same again: nothing to do."""
    CONFLICT = "conflict"
    """The same size with another head: report both."""


def compare(kept: Checkpoint | None, new: Checkpoint) -> Comparison:
    """Say what to do with a checkpoint whose signature has been verified.

    Raises: LocalProtocolError — they are of two fleets.
    """
    if kept is None:
        return Comparison.NEWER
    if kept.fleet != new.fleet:
        raise LocalProtocolError("checkpoints of two fleets have nothing to do with each other")
    if new.size == kept.size and new.head != kept.head:
        return Comparison.CONFLICT
    return Comparison.NEWER if new.size > kept.size else Comparison.OLDER


def sign_checkpoint(checkpoint: Checkpoint, *, signing_key: SigningKey) -> bytes:
    """Return the checkpoint as it travels and is kept."""
    return join_checkpoint(checkpoint, signing_key.sign(_signed(_encode(checkpoint))).signature)


def join_checkpoint(checkpoint: Checkpoint, signature: bytes) -> bytes:
    """Return the checkpoint as it travels, of its two parts."""
    return FORMAT + signature + _encode(checkpoint)


def signature_of(blob: bytes) -> bytes:
    """Return the signature of a checkpoint as it travels, 64 octets."""
    return blob[1 : 1 + _SIGNATURE]


def verify_checkpoint(blob: bytes, *, fleet: FleetId, signing_keys: Collection[bytes]) -> Checkpoint:
    """Return what ``blob`` says, if the fleet says so. ``signing_keys`` are its raw public keys by the manifest.

    Raises: RemoteProtocolError — it is malformed, not signed by one of the keys, or another fleet's.
    """
    if len(blob) > MAX_CHECKPOINT:
        raise RemoteProtocolError(f"a checkpoint of {len(blob)} bytes is over the limit of {MAX_CHECKPOINT}")
    if not blob.startswith(FORMAT):
        raise RemoteProtocolError("a checkpoint has an unknown format; a newer version may know it")
    payload = blob[1 + _SIGNATURE :]
    try:
        verify_signature(signature_of(blob), _signed(payload), signing_keys)
        checkpoint = _decode(payload)
    except (BundleSignatureError, KeyError, TypeError, ValueError) as error:
        raise RemoteProtocolError(f"a checkpoint is refused: {error}") from error
    if checkpoint.fleet != fleet:
        raise RemoteProtocolError(f"a checkpoint is of fleet {checkpoint.fleet}, not {fleet}")
    return checkpoint


def _encode(checkpoint: Checkpoint) -> bytes:
    return encode_canonical(attrs.asdict(checkpoint) | {"head": checkpoint.head.hex()})


def _decode(payload: bytes) -> Checkpoint:
    """Raises: KeyError, TypeError, ValueError — it is no checkpoint of this version, or not in its one spelling."""
    content = decode_canonical(payload)
    fleet, head, size, at = content["fleet"], content["head"], content["size"], content["at"]
    if not (isinstance(fleet, str) and isinstance(head, str) and isinstance(size, int) and isinstance(at, int)):
        raise TypeError("a member of it is of another type")
    checkpoint = Checkpoint(fleet=FleetId(fleet), size=size, head=bytes.fromhex(head), at=at)
    # The absence of anything else, and the one spelling of the head.
    if _encode(checkpoint) != payload:
        raise ValueError("it has other members than a checkpoint of version 1")
    return checkpoint


def _signed(payload: bytes) -> bytes:
    return _CONTEXT + len(payload).to_bytes(4, "big") + payload
