"""The envelope of a ``.pharos`` file, which opens for whom it is meant (security.md §2c).

    magic (8) ‖ 0x01 ‖ u16 length ‖ header ‖ wrap (0 or 112) ‖ nonce (24) ‖ body

    header  canonical JSON: v, alg, enc, made, and what the way of closing it needs
            enc = password: salt, passes, octets of Argon2id; enc = device: recipient, the hash of a sealing key
    wrap    for a device alone: SealedBox(data key ‖ SHA-256(header)) to its sealing key
    body    XChaCha20-Poly1305(data key, nonce, AAD = context ‖ magic ‖ version ‖ header), 16 octets longer than its
            plaintext: u32 length ‖ content ‖ zeros up to a multiple of 4 KiB

The data key is drawn for a device, and derived for a passphrase. With ``enc = none`` it is a constant, so that there is
one reader: damage is seen then, and nothing is kept from anybody nor proven by it. The magic is no text and no image;
a transfer that changes ends of lines breaks it.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

import attrs
import nacl.utils
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from pharos.wire.errors import (
    BundleFormatError,
    BundleNotForUsError,
    BundlePassphraseError,
    BundleSignatureError,
    LocalProtocolError,
    ParameterError,
)
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.seal.envelope import recipient_hash
from pharos.wire.seal.passphrase import KeyCost
from pharos.wire.units import KIB, MIB

MAGIC: Final = b"\x8bPharos\n"
VERSION: Final = 1
MAX_PHAROS_FILE: Final = 1 * MIB
"""Octets in all (security.md row 64)."""
MAX_FILE_PASSES: Final = 10
MAX_FILE_OCTETS: Final = 256 * MIB
"""What a file of a stranger may cost us: two seconds and a quarter of a gibibyte, on a phone too."""
SEALING_KEY: Final = 32

_CONTEXT: Final = b"pharos/file/v1"
_ALGORITHMS: Final = {"none": "xchacha20poly1305", "password": "argon2id+xchacha20poly1305"}
_ALGORITHMS_DEVICE: Final = "sealedbox+xchacha20poly1305"
_BUCKET: Final = 4 * KIB
_MAX_HEADER: Final = 512
"""The longest is that of a device: 64 digits of a hash, and some 120 octets around them."""
_DATA_KEY: Final = 32
_WRAP: Final = 48 + _DATA_KEY + 32
_NONCE: Final = 24
_TAG: Final = 16
_LARGEST: Final = 2**63 - 1
_OPEN_KEY: Final = hashlib.sha256(b"pharos/file/v1/none").digest()
"""Known to everybody."""


class Closure(enum.Enum):
    """Who can open a file; ``enc`` of its header."""

    NONE = "none"
    PASSWORD = "password"  # noqa: S105 -- a way to close a file, no secret
    DEVICE = "device"


@attrs.frozen(kw_only=True)
class FileHeader:
    """What a file says about itself before it is opened; believed once it was, unless anybody could close it so."""

    closure: Closure
    made: int
    """Seconds since 1970, of who made it; for display."""
    cost: KeyCost | None = None
    """Of the passphrase."""
    recipient: str = ""
    """`pharos.wire.seal.envelope.recipient_hash` of the device it is for."""

    def encode(self) -> bytes:
        body: dict[str, object] = {
            "v": VERSION,
            "enc": self.closure.value,
            "alg": _ALGORITHMS.get(self.closure.value, _ALGORITHMS_DEVICE),
            "made": self.made,
        }
        if self.cost is not None:
            salt = base64.b64encode(self.cost.salt).decode()
            body |= {"salt": salt, "passes": self.cost.passes, "octets": self.cost.octets}
        if self.recipient:
            body["recipient"] = self.recipient
        return encode_canonical(body)

    @classmethod
    def decode(cls, data: bytes) -> FileHeader:
        """Raises: KeyError, TypeError, ValueError, ParameterError — it is no header of ours, or costs too much."""
        body = decode_canonical(data)
        closure = Closure(body["enc"])
        made = body["made"]
        if type(made) is not int or not 0 <= made <= _LARGEST:
            raise ValueError("its time is none")
        cost = _cost_from(body) if closure is Closure.PASSWORD else None
        recipient = body["recipient"] if closure is Closure.DEVICE else ""
        if not isinstance(recipient, str) or len(recipient) != (64 if closure is Closure.DEVICE else 0):
            raise ValueError("its recipient is none")
        header = cls(closure=closure, made=made, cost=cost, recipient=recipient)
        # Version, algorithms and the absence of anything else.
        if header.encode() != data:
            raise ValueError("it has other members than a header of version 1")
        return header


def is_pharos_file(data: bytes) -> bool:
    """Whether this begins as such a file does."""
    return data.startswith(MAGIC)


def seal_file(
    content: bytes,
    *,
    made: int,
    passphrase: str | None = None,
    recipient_key: bytes | None = None,
    random: Callable[[int], bytes] = nacl.utils.random,
) -> bytes:
    """Close ``content`` for who knows a passphrase, or for the device with this sealing key, or for anybody.

    Blocks for as long as a passphrase costs. ``random`` gives salt, data key and nonce.

    Raises: LocalProtocolError — too large, or both were said. ParameterError — the passphrase is too long.
    """
    if passphrase is not None and recipient_key is not None:
        raise LocalProtocolError("a file is for a passphrase or for a device")
    wrap = b""
    if passphrase is not None:
        cost = KeyCost.fresh(random)
        header = FileHeader(closure=Closure.PASSWORD, made=made, cost=cost).encode()
        data_key = cost.derive(passphrase)
    elif recipient_key is not None:
        header = FileHeader(closure=Closure.DEVICE, made=made, recipient=recipient_hash(recipient_key)).encode()
        data_key = random(_DATA_KEY)
        wrap = SealedBox(PublicKey(recipient_key)).encrypt(data_key + hashlib.sha256(header).digest())
    else:
        header = FileHeader(closure=Closure.NONE, made=made).encode()
        data_key = _OPEN_KEY
    front = _front(header)
    nonce = random(_NONCE)
    body = crypto_aead_xchacha20poly1305_ietf_encrypt(_pad(content), _CONTEXT + front, nonce, data_key)
    data = front + wrap + nonce + body
    if len(data) > MAX_PHAROS_FILE:
        raise LocalProtocolError(f"{len(content)} octets are too much for a .pharos file")
    return data


def read_file_header(data: bytes) -> FileHeader:
    """Return who can open a file; nothing is computed yet.

    Raises: BundleFormatError — it is no such file, of another version, or damaged.
    """
    return _take_apart(data)[0]


def open_file(data: bytes, *, passphrase: str | None = None, sealing_key: KeyPair | None = None) -> bytes:
    """Return the content of a file. Blocks for as long as a passphrase costs, which is bounded before.

    Raises, in this order:
        BundleFormatError — its size, version or header is not that of a file.
        BundlePassphraseError — it wants a passphrase, and this is not the one.
        BundleNotForUsError — it is for another device.
        BundleSignatureError — its parts do not belong together, or were altered.
    """
    header, front, wrap, nonce, body = _take_apart(data)
    if header.closure is Closure.PASSWORD:
        data_key = _derive(header, passphrase)
    elif header.closure is Closure.DEVICE:
        data_key = _unwrap(header, front, wrap, sealing_key)
    else:
        data_key = _OPEN_KEY
    try:
        padded = crypto_aead_xchacha20poly1305_ietf_decrypt(body, _CONTEXT + front, nonce, data_key)
    except CryptoError as error:
        if header.closure is Closure.PASSWORD:
            raise BundlePassphraseError("that is not the passphrase of this file, or it was altered") from error
        raise BundleSignatureError("the file is damaged or was altered; ask for it again") from error
    return _unpad(padded)


def _take_apart(data: bytes) -> tuple[FileHeader, bytes, bytes, bytes, bytes]:
    if not is_pharos_file(data):
        raise BundleFormatError("this is no .pharos file")
    if len(data) > MAX_PHAROS_FILE:
        raise BundleFormatError(f"no .pharos file is larger than {MAX_PHAROS_FILE // MIB} MiB")
    at = len(MAGIC)
    if data[at : at + 1] != bytes((VERSION,)):
        raise BundleFormatError("this .pharos file is of a version that this program does not know; upgrade it")
    length = int.from_bytes(data[at + 1 : at + 3], "big")
    header_at = at + 3
    if length > _MAX_HEADER or len(data) < header_at + length:
        raise BundleFormatError("the .pharos file is damaged; ask for it again")
    front, rest = data[: header_at + length], data[header_at + length :]
    try:
        header = FileHeader.decode(front[header_at:])
    except (KeyError, TypeError, ValueError, ParameterError) as error:
        raise BundleFormatError(
            f"the header of the .pharos file is not understood ({error}); upgrade caravel"
        ) from None
    wrap, rest = (rest[:_WRAP], rest[_WRAP:]) if header.closure is Closure.DEVICE else (b"", rest)
    nonce, body = rest[:_NONCE], rest[_NONCE:]
    if len(body) < _BUCKET + _TAG or (len(body) - _TAG) % _BUCKET:
        raise BundleFormatError("the .pharos file is cut short or damaged; ask for it again")
    return header, front, wrap, nonce, body


def _cost_from(body: dict[str, Any]) -> KeyCost:
    passes, octets, salt = body["passes"], body["octets"], body["salt"]
    if type(passes) is not int or type(octets) is not int or not isinstance(salt, str):
        raise TypeError("its cost is none")
    if passes > MAX_FILE_PASSES or octets > MAX_FILE_OCTETS:
        raise ValueError("it would cost more than a file may")
    return KeyCost(salt=base64.b64decode(salt, validate=True), passes=passes, octets=octets)


def _derive(header: FileHeader, passphrase: str | None) -> bytes:
    assert header.cost is not None, "its header has one"
    if passphrase is None:
        raise BundlePassphraseError("this file is closed with a passphrase; whoever made it knows it")
    try:
        return header.cost.derive(passphrase)
    except ParameterError as error:
        raise BundlePassphraseError(f"that is not the passphrase of this file ({error})") from None


def _unwrap(header: FileHeader, front: bytes, wrap: bytes, sealing_key: KeyPair | None) -> bytes:
    if sealing_key is None or recipient_hash(sealing_key.public) != header.recipient:
        raise BundleNotForUsError("this file was closed for another device")
    try:
        unwrapped = SealedBox(PrivateKey(sealing_key.private_bytes())).decrypt(wrap)
    except CryptoError as error:
        raise BundleNotForUsError("this file does not open with this device's key") from error
    data_key, header_hash = unwrapped[:_DATA_KEY], unwrapped[_DATA_KEY:]
    header_bytes = front[len(MAGIC) + 3 :]
    if not hmac.compare_digest(header_hash, hashlib.sha256(header_bytes).digest()):
        raise BundleSignatureError("the file's header is not the one it was closed with")
    return data_key


def _front(header: bytes) -> bytes:
    return MAGIC + bytes((VERSION,)) + len(header).to_bytes(2, "big") + header


def _pad(content: bytes) -> bytes:
    padded = len(content).to_bytes(4, "big") + content
    return padded + bytes(-len(padded) % _BUCKET)


def _unpad(padded: bytes) -> bytes:
    content = padded[4 : 4 + int.from_bytes(padded[:4], "big")]
    if _pad(content) != padded:
        raise BundleFormatError("the padding of the .pharos file is not that of version 1")
    return content
