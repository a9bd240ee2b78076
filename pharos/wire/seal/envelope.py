"""Bundle v1: a device's profile, signed by the fleet and sealed for that device alone (security.md §2c).

    0x01 ‖ u16 length ‖ header, zeros up to 512 octets ‖ wrap (112) ‖ nonce (24) ‖ body

    header  canonical JSON: v, alg, fleet, device, recipient, epoch, rev, issued, manifest
    wrap    SealedBox(data key ‖ SHA-256(header)) to the device's sealing key
    body    XChaCha20-Poly1305(data key, nonce, AAD = context ‖ header), 16 octets longer than its plaintext:
            u32 length ‖ signature ‖ profile ‖ zeros up to a multiple of 4 KiB
    signature  Ed25519(context ‖ u32 length ‖ header ‖ profile) with the fleet signing key

The signature names the recipient, so nobody can pass a bundle on as another device's; the hash in the wrap and the
header as AAD keep header, wrap and body of different bundles apart. The length tells the number of 4 KiB buckets only.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection
from typing import Final, Self

import attrs
import nacl.utils
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey

from pharos.wire.errors import (
    BundleFormatError,
    BundleNotForUsError,
    BundleRollbackError,
    BundleSignatureError,
    LocalProtocolError,
)
from pharos.wire.ids import DeviceId, FleetId, check_label, parse_fleet_id
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.seal.signature import verify_signature
from pharos.wire.units import KIB

FORMAT: Final = b"\x01"
BUCKET: Final = 4 * KIB
MAX_BUNDLE: Final = 960 * KIB
"""Octets in all: with a 16 KiB manifest it fits a gRPC message of 1 MiB, and has room to spare."""

_CONTEXT: Final = b"pharos/bundle/v1"
_ALGORITHMS: Final = "ed25519+sealedbox+xchacha20poly1305"
# The header takes at most 346 octets (longest id, largest numbers). Its block has one size, so that neither the id's
# length nor the number of digits in a revision shows in the length of a bundle.
_HEADER_BLOCK: Final = 512
_DATA_KEY: Final = 32
_WRAP: Final = 48 + _DATA_KEY + 32
_NONCE: Final = 24
_TAG: Final = 16
_SIGNATURE: Final = 64
_BODY_AT: Final = len(FORMAT) + 2 + _HEADER_BLOCK + _WRAP + _NONCE
# SQLite and protobuf hold such numbers as 64-bit integers with a sign.
_LARGEST: Final = 2**63 - 1


@attrs.frozen(kw_only=True)
class BundleHeader:
    """What a bundle says about itself before it is opened; believed only once it was."""

    fleet: FleetId
    device: DeviceId
    recipient: str
    """SHA-256 of the device's X25519 sealing key, in hexadecimal."""
    epoch: int
    revision: int
    issued: int
    """Seconds since 1970, of helm's clock; for display, nothing is decided by it."""
    manifest_version: int
    """Of the trust manifest in force when it was sealed."""

    @property
    def order(self) -> tuple[int, int]:
        """(epoch, revision): of two bundles the one with the larger is newer."""
        return self.epoch, self.revision

    def encode(self) -> bytes:
        return encode_canonical(
            {
                "v": FORMAT[0],
                "alg": _ALGORITHMS,
                "fleet": self.fleet,
                "device": self.device,
                "recipient": self.recipient,
                "epoch": self.epoch,
                "rev": self.revision,
                "issued": self.issued,
                "manifest": self.manifest_version,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises: KeyError, TypeError, ValueError — it is no header of this version, or not in its one spelling."""
        body = decode_canonical(data)
        header = cls(
            fleet=parse_fleet_id(_text(body["fleet"])),
            device=DeviceId(check_label(_text(body["device"]))),
            recipient=_text(body["recipient"]),
            epoch=_count(body["epoch"]),
            revision=_count(body["rev"]),
            issued=_count(body["issued"]),
            manifest_version=_count(body["manifest"]),
        )
        # Version, algorithms and the absence of anything else.
        if header.encode() != data:
            raise ValueError("it has other members than a header of version 1")
        return header


@attrs.frozen(kw_only=True)
class Bundle:
    """An opened bundle."""

    header: BundleHeader
    profile: bytes = attrs.field(repr=False)


def recipient_hash(sealing_key: bytes) -> str:
    """Return what a header calls the holder of a public X25519 sealing key."""
    return hashlib.sha256(sealing_key).hexdigest()


def seal_bundle(
    profile: bytes,
    *,
    fleet: FleetId,
    device: DeviceId,
    sealing_key: bytes,
    epoch: int,
    revision: int,
    issued: int,
    manifest_version: int,
    signing_key: SigningKey,
    random: Callable[[int], bytes] = nacl.utils.random,
) -> bytes:
    """Sign and seal ``profile`` for the holder of the public ``sealing_key``.

    ``random`` gives the data key and the nonce; the wrap's ephemeral key is libsodium's own affair.

    Raises: LocalProtocolError — too large for a bundle, or an id or number that no header can hold.
    """
    try:
        # As strict as the reader, without reading: helm seals ten thousand of them when a node joins.
        header = BundleHeader(
            fleet=parse_fleet_id(_text(fleet)),
            device=DeviceId(check_label(_text(device))),
            recipient=recipient_hash(sealing_key),
            epoch=_count(epoch),
            revision=_count(revision),
            issued=_count(issued),
            manifest_version=_count(manifest_version),
        ).encode()
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"a bundle cannot have this header: {error}") from error
    signature = signing_key.sign(_signed(header, profile)).signature
    padded = _pad(signature + profile)
    if _BODY_AT + len(padded) + _TAG > MAX_BUNDLE:
        raise LocalProtocolError(f"a profile of {len(profile)} octets is too large for a bundle")
    data_key, nonce = random(_DATA_KEY), random(_NONCE)
    wrap = SealedBox(PublicKey(sealing_key)).encrypt(data_key + hashlib.sha256(header).digest())
    body = crypto_aead_xchacha20poly1305_ietf_encrypt(padded, _CONTEXT + header, nonce, data_key)
    block = header.ljust(_HEADER_BLOCK, b"\0")
    return FORMAT + len(header).to_bytes(2, "big") + block + wrap + nonce + body


def open_bundle(
    blob: bytes,
    *,
    fleet: FleetId,
    device: DeviceId,
    sealing_key: KeyPair,
    signing_keys: Collection[bytes],
    newest: tuple[int, int] | None = None,
) -> Bundle:
    """Open a bundle for this device; what it returns may be used once its order has been stored durably.

    ``signing_keys`` are the fleet's raw Ed25519 public keys by the manifest, two of them during a rotation.
    ``newest`` is the (epoch, revision) that the device holds: the same is taken again, an older one is not.

    Raises, in this order:
        BundleFormatError — its size, version or header is not that of a bundle.
        BundleNotForUsError — another fleet, device or key is meant, or the wrap does not open.
        BundleSignatureError — header, wrap and body do not belong together, or none of the keys signed it.
        BundleRollbackError — it is older than ``newest``.
    """
    header_bytes, wrap, nonce, body = _take_apart(blob)
    try:
        header = BundleHeader.decode(header_bytes)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleFormatError(f"the bundle's header is not understood ({error}); upgrade caravel") from error
    if (header.fleet, header.device, header.recipient) != (fleet, device, recipient_hash(sealing_key.public)):
        raise BundleNotForUsError(f"the bundle is for device {header.device} of fleet {header.fleet}, or an old key")
    data_key = _unwrap(wrap, header_bytes, sealing_key)
    try:
        padded = crypto_aead_xchacha20poly1305_ietf_decrypt(body, _CONTEXT + header_bytes, nonce, data_key)
    except CryptoError as error:
        raise BundleSignatureError("the bundle's header and body do not belong together, or were altered") from error
    content = _unpad(padded)
    signature, profile = content[:_SIGNATURE], content[_SIGNATURE:]
    verify_signature(signature, _signed(header_bytes, profile), signing_keys)
    if newest is not None and header.order < newest:
        raise BundleRollbackError(f"the bundle is {header.order}, this device holds {newest}")
    return Bundle(header=header, profile=profile)


def _take_apart(blob: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    if blob[:1] != FORMAT:
        raise BundleFormatError(f"the bundle has the unknown version {blob[:1].hex() or 'none'}; upgrade caravel")
    if len(blob) > MAX_BUNDLE or len(blob) < _BODY_AT + BUCKET + _TAG or (len(blob) - _BODY_AT - _TAG) % BUCKET:
        raise BundleFormatError(f"no bundle has {len(blob)} octets; sync again")
    length = int.from_bytes(blob[1:3], "big")
    block, rest = blob[3 : 3 + _HEADER_BLOCK], blob[3 + _HEADER_BLOCK :]
    if length > _HEADER_BLOCK or any(block[length:]):
        raise BundleFormatError("the bundle's header is damaged; sync again")
    return block[:length], rest[:_WRAP], rest[_WRAP : _WRAP + _NONCE], rest[_WRAP + _NONCE :]


def _unwrap(wrap: bytes, header: bytes, sealing_key: KeyPair) -> bytes:
    try:
        unwrapped = SealedBox(PrivateKey(sealing_key.private_bytes())).decrypt(wrap)
    except CryptoError as error:
        raise BundleNotForUsError("the bundle's data key is not wrapped for this device") from error
    data_key, header_hash = unwrapped[:_DATA_KEY], unwrapped[_DATA_KEY:]
    if not hmac.compare_digest(header_hash, hashlib.sha256(header).digest()):
        raise BundleSignatureError("the bundle's header is not the one its data key was wrapped with")
    return data_key


def _signed(header: bytes, profile: bytes) -> bytes:
    return _CONTEXT + len(header).to_bytes(4, "big") + header + profile


def _pad(content: bytes) -> bytes:
    padded = len(content).to_bytes(4, "big") + content
    return padded + bytes(-len(padded) % BUCKET)


def _unpad(padded: bytes) -> bytes:
    length = int.from_bytes(padded[:4], "big")
    content = padded[4 : 4 + length]
    if length < _SIGNATURE or _pad(content) != padded:
        raise BundleFormatError("the bundle's padding is not that of version 1")
    return content


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r} is not a count")
    return value
