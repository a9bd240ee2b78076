"""The trust manifest: everything a member has to believe about its fleet, signed by the root.

    0x01 ‖ u16 length ‖ root certificate, DER ‖ u16 length ‖ signature ‖ canonical JSON

The signature is ECDSA P-384 with SHA-384 over `pharos/manifest/v1` ‖ u32 length of the JSON ‖ the JSON. Each thing
that can be rotated stands in a slot `{"current": …}`, its successor beside it as `"next"` while it has one: either is
believed (rotation.py). Readers ignore the members that they do not know, as nobody but the root can have written them.
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
from pharos.wire.pki.trust import Trust, require_own_keys, verify_intermediate, verify_root
from pharos.wire.units import KIB

FORMAT: Final = b"\x01"

# One takes 2.4 KiB, with the successors of all four slots 4 KiB; such a one, three times over, still fits.
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
    """Root, both intermediates and their successors, verified."""
    signing_key: bytes
    """The fleet's raw Ed25519 public key, which signs bundles, deny lists and checkpoints."""
    noise_key: bytes
    """helm's raw X25519 public key for passages: the one to dial with."""
    next_signing_key: bytes | None = None
    """The successor of `signing_key`."""
    next_noise_key: bytes | None = None
    """The successor of `noise_key`; not to be dialled with before it is the current one."""
    expires: datetime.datetime
    """When the earliest of the certificates ends, in UTC."""

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The keys by one of which a thing has to be signed to be the fleet's."""
        return _present(self.signing_key, self.next_signing_key)


def sign_manifest(
    *,
    version: int,
    trust: Trust,
    signing_key: bytes,
    noise_key: bytes,
    next_signing_key: bytes | None = None,
    next_noise_key: bytes | None = None,
    root_key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """Return the manifest of this version. It expires with the earliest certificate in it.

    Raises: LocalProtocolError — no Device CA, a key of another length, a successor that is none, or not the root's
    private key.
    """
    if trust.root.public_key() != root_key.public_key():
        raise LocalProtocolError("a manifest is signed by its own root")
    keys = _present(signing_key, noise_key, next_signing_key, next_noise_key)
    if version < 1 or any(len(key) != _RAW_KEY_LENGTH for key in keys):
        raise LocalProtocolError("a manifest needs a version from 1 and raw 32-byte public keys")
    device_ca = trust.anchor(Authority.DEVICE)
    try:
        _require_successors(trust, (signing_key, next_signing_key), (noise_key, next_noise_key))
    except (PeerRejectedError, ValueError) as error:
        raise LocalProtocolError(f"a manifest cannot say so: {error}") from error
    content = {
        "version": version,
        "fleet": trust.fleet,
        "expires": int(_earliest_end(trust).timestamp()),
        "fleet_ca": _slot(*_encoded(trust.fleet_ca, trust.next_fleet_ca)),
        "device_ca": _slot(*_encoded(device_ca, trust.next_device_ca)),
        "signing_key": _slot(signing_key, next_signing_key),
        "noise_key": _slot(noise_key, next_noise_key),
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
    def intermediate(der: bytes, authority: Authority) -> x509.Certificate:
        return verify_intermediate(der, authority=authority, root=root, now=now)

    fleet_ca, device_ca = _read_slot(content, "fleet_ca"), _read_slot(content, "device_ca")
    trust = Trust(
        root=root,
        fleet_ca=intermediate(fleet_ca[0], Authority.FLEET),
        device_ca=intermediate(device_ca[0], Authority.DEVICE),
        next_fleet_ca=None if fleet_ca[1] is None else intermediate(fleet_ca[1], Authority.FLEET),
        next_device_ca=None if device_ca[1] is None else intermediate(device_ca[1], Authority.DEVICE),
    )
    signing_key, noise_key = _read_keys(content, "signing_key"), _read_keys(content, "noise_key")
    _require_successors(trust, signing_key, noise_key)
    if content.get("fleet") != trust.fleet:
        raise ValueError("it names another fleet than its root's")
    expires = datetime.datetime.fromtimestamp(_integer(content, "expires"), datetime.UTC)
    if expires > _earliest_end(trust):
        raise ValueError("it would outlive a certificate in it")
    return Manifest(
        version=_integer(content, "version"),
        trust=trust,
        signing_key=signing_key[0],
        noise_key=noise_key[0],
        next_signing_key=signing_key[1],
        next_noise_key=noise_key[1],
        expires=expires,
    )


def _require_successors(trust: Trust, *keys: tuple[bytes, bytes | None]) -> None:
    require_own_keys(trust)
    if any(current == successor for current, successor in keys):
        raise ValueError("a key is its own successor")


def _earliest_end(trust: Trust) -> datetime.datetime:
    anchors = (anchor for authority in Authority for anchor in trust.anchors(authority))
    return min(certificate.not_valid_after_utc for certificate in (trust.root, *anchors))


def _integer(content: dict[str, object], name: str) -> int:
    value = content.get(name)
    if type(value) is not int or not 0 < value <= _LAST_SECOND:
        raise ValueError(f"its {name} is not a positive number")
    return value


def _slot(current: bytes, successor: bytes | None) -> dict[str, str]:
    return {"current": _text(current)} | ({} if successor is None else {"next": _text(successor)})


def _read_slot(content: dict[str, object], name: str) -> tuple[bytes, bytes | None]:
    slot = content.get(name)
    if not isinstance(slot, dict):
        raise ValueError(f"it has no {name}")
    return _binary(slot.get("current"), name), _binary(slot["next"], name) if "next" in slot else None


def _binary(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"its {name} is no text")
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"its {name} is not base64") from error
    if _text(value) != text:
        raise ValueError(f"its {name} is not in canonical base64")
    return value


def _read_keys(content: dict[str, object], name: str) -> tuple[bytes, bytes | None]:
    keys = _read_slot(content, name)
    if any(len(key) != _RAW_KEY_LENGTH for key in _present(*keys)):
        raise ValueError(f"its {name} has not {_RAW_KEY_LENGTH} bytes")
    return keys


def _present(*keys: bytes | None) -> tuple[bytes, ...]:
    return tuple(key for key in keys if key is not None)


def _encoded(current: x509.Certificate, successor: x509.Certificate | None) -> tuple[bytes, bytes | None]:
    return certificate_to_der(current), None if successor is None else certificate_to_der(successor)


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
