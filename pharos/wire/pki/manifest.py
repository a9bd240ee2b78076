"""The trust manifest: everything a member has to believe about its fleet, signed by the root.

    0x01 ‖ u16 length ‖ root certificate, DER ‖ u16 length ‖ signature ‖ canonical JSON

The signature is ECDSA P-384 with SHA-384 over `pharos/manifest/v1` ‖ u32 length of the JSON ‖ the JSON. Each thing
that can be rotated stands in a slot `{"current": …}`; a `next` can join it later, for readers ignore the members
that they do not know (nobody but the root can have written them).
"""

import base64
import datetime
from typing import Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import LocalProtocolError, ManifestError, PeerRejectedError
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.profile import as_utc
from pharos.wire.pki.roles import Authority
from pharos.wire.pki.trust import Trust, verify_intermediate, verify_root
from pharos.wire.units import KIB

FORMAT: Final = b"\x01"

# One of today takes 2.4 KiB; successors of all four slots, twice over, still fit.
MAX_MANIFEST: Final = 16 * KIB

_CONTEXT: Final = b"pharos/manifest/v1"
_SIGNATURE: Final = ec.ECDSA(hashes.SHA384())
# Ed25519 and X25519 public keys alike.
_RAW_KEY_LENGTH: Final = 32
_LAST_SECOND: Final = int(datetime.datetime.max.replace(tzinfo=datetime.UTC).timestamp())


@attrs.frozen(kw_only=True)
class Manifest:
    """What a verified manifest says."""

    version: int
    """Only goes up; whoever keeps a manifest keeps the one with the largest."""
    trust: Trust
    """Root and both intermediates, verified."""
    signing_key: bytes
    """The fleet's raw Ed25519 public key, which signs bundles, deny lists and checkpoints."""
    noise_key: bytes
    """helm's raw X25519 public key for passages."""
    expires: datetime.datetime
    """When the earliest of the certificates ends, in UTC."""


def sign_manifest(
    *,
    version: int,
    trust: Trust,
    signing_key: bytes,
    noise_key: bytes,
    root_key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """Return the manifest of this version. It expires with the earliest certificate in it.

    Raises: LocalProtocolError — no Device CA, a key of another length, or not the root's private key.
    """
    if trust.root.public_key() != root_key.public_key():
        raise LocalProtocolError("a manifest is signed by its own root")
    if version < 1 or len(signing_key) != _RAW_KEY_LENGTH or len(noise_key) != _RAW_KEY_LENGTH:
        raise LocalProtocolError("a manifest needs a version from 1 and raw 32-byte public keys")
    device_ca = trust.anchor(Authority.DEVICE)
    content = {
        "version": version,
        "fleet": trust.fleet,
        "expires": int(_earliest_end(trust.root, trust.fleet_ca, device_ca).timestamp()),
        "fleet_ca": {"current": _text(certificate_to_der(trust.fleet_ca))},
        "device_ca": {"current": _text(certificate_to_der(device_ca))},
        "signing_key": {"current": _text(signing_key)},
        "noise_key": {"current": _text(noise_key)},
    }
    payload = encode_canonical(content)
    signature = root_key.sign(_signed(payload), _SIGNATURE)
    return FORMAT + _framed(certificate_to_der(trust.root)) + _framed(signature) + payload


def verify_manifest(blob: bytes, *, root_hash: bytes, now: datetime.datetime, minimum_version: int = 1) -> Manifest:
    """Return what `blob` says, if the root of this `spki_hash` says so and it still holds `now`.

    `minimum_version` is that of the manifest in use: an older one is a replay.

    Raises: ManifestError — it is malformed, another root's, too old, or expired.
    """
    root_der, signature, payload = _take_apart(blob)
    try:
        root = verify_root(root_der, root_hash=root_hash, now=now)
        _verify_signature(root, signature, payload)
        manifest = _read(decode_canonical(payload), root, now)
    except (PeerRejectedError, ValueError) as error:
        raise ManifestError(f"a trust manifest is refused: {error}") from error
    if manifest.version < minimum_version:
        raise ManifestError(f"a trust manifest has version {manifest.version}, and {minimum_version} is in use")
    if as_utc(now) > manifest.expires:
        raise ManifestError(f"a trust manifest expired at {manifest.expires.isoformat()}")
    return manifest


def _take_apart(blob: bytes) -> tuple[bytes, bytes, bytes]:
    if len(blob) > MAX_MANIFEST:
        raise ManifestError(f"a trust manifest of {len(blob)} bytes is over the limit of {MAX_MANIFEST}")
    if not blob.startswith(FORMAT):
        raise ManifestError("a trust manifest has an unknown format; a newer version may know it")
    root, rest = _unframed(blob[len(FORMAT) :])
    signature, payload = _unframed(rest)
    return root, signature, payload


def _verify_signature(root: x509.Certificate, signature: bytes, payload: bytes) -> None:
    key = root.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(signature, _signed(payload), _SIGNATURE)
    except InvalidSignature as error:
        raise ValueError("its signature is not the root's") from error


def _read(content: dict[str, object], root: x509.Certificate, now: datetime.datetime) -> Manifest:
    fleet_ca = _current(content, "fleet_ca")
    device_ca = _current(content, "device_ca")
    trust = Trust(
        root=root,
        fleet_ca=verify_intermediate(fleet_ca, authority=Authority.FLEET, root=root, now=now),
        device_ca=verify_intermediate(device_ca, authority=Authority.DEVICE, root=root, now=now),
    )
    if content.get("fleet") != trust.fleet:
        raise ValueError("it names another fleet than its root's")
    expires = datetime.datetime.fromtimestamp(_integer(content, "expires"), datetime.UTC)
    if expires > _earliest_end(root, trust.fleet_ca, trust.anchor(Authority.DEVICE)):
        raise ValueError("it would outlive a certificate in it")
    return Manifest(
        version=_integer(content, "version"),
        trust=trust,
        signing_key=_raw_key(content, "signing_key"),
        noise_key=_raw_key(content, "noise_key"),
        expires=expires,
    )


def _earliest_end(*certificates: x509.Certificate) -> datetime.datetime:
    return min(certificate.not_valid_after_utc for certificate in certificates)


def _integer(content: dict[str, object], name: str) -> int:
    value = content.get(name)
    if type(value) is not int or not 0 < value <= _LAST_SECOND:
        raise ValueError(f"its {name} is not a positive number")
    return value


def _current(content: dict[str, object], name: str) -> bytes:
    slot = content.get(name)
    text = slot.get("current") if isinstance(slot, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"it has no current {name}")
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"its {name} is not base64") from error
    if _text(value) != text:
        raise ValueError(f"its {name} is not in canonical base64")
    return value


def _raw_key(content: dict[str, object], name: str) -> bytes:
    key = _current(content, name)
    if len(key) != _RAW_KEY_LENGTH:
        raise ValueError(f"its {name} has not {_RAW_KEY_LENGTH} bytes")
    return key


def _signed(payload: bytes) -> bytes:
    return _CONTEXT + len(payload).to_bytes(4, "big") + payload


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(2, "big") + part


def _unframed(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:2], "big")
    part, rest = data[2 : 2 + length], data[2 + length :]
    if len(data) < 2 or len(part) != length:
        raise ManifestError("a trust manifest is cut short")
    return part, rest


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
