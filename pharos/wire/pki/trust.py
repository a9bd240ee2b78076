"""The certificates that a member believes: its fleet's root, and the intermediates below it.

The root is known by the SHA-256 of its key, out of a ticket, a fleet link or the member's own state; everything
else is believed because that root signed it.
"""

import datetime
import warnings
from typing import Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.ids import FleetId
from pharos.wire.pki.profile import (
    Template,
    as_utc,
    authority_name,
    encode_spki,
    fleet_id,
    intermediate_template,
    key_identifier,
    root_name,
    root_template,
    spki_hash,
)
from pharos.wire.pki.roles import Authority
from pharos.wire.pki.verified import VerifiedLeaves
from pharos.wire.units import KIB

# Ours take 500 to 700 bytes; this bounds what a stranger can make us parse.
MAX_CERTIFICATE: Final = 16 * KIB

# What the parser of `cryptography` raises on bytes that are no sound certificate, found by fuzzing it.
_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@attrs.frozen(kw_only=True)
class Trust:
    """What one member believes about its fleet. Verified by whoever makes one (`verify_trust`)."""

    root: x509.Certificate
    """Trusted by its hash. It signs intermediates and is no anchor for anyone's leaf."""
    fleet_ca: x509.Certificate
    """Vouches for controller, nodes and relays."""
    device_ca: x509.Certificate | None = None
    """Vouches for devices and admins; None where none is ever met: on a buoy, and before enrolment."""
    next_fleet_ca: x509.Certificate | None = None
    """Vouches like `fleet_ca`, whose successor it is: prepared, or in the middle of a rotation."""
    next_device_ca: x509.Certificate | None = None
    """Vouches like `device_ca`, whose successor it is."""
    fleet: FleetId = attrs.field(init=False)
    """The fleet's id, from `root`."""
    verified: VerifiedLeaves = attrs.field(factory=VerifiedLeaves, init=False, eq=False, repr=False)
    """Leaves that these authorities were found to vouch for. Another trust, also one that evolved, begins anew."""

    @fleet.default
    def _fleet_of_root(self) -> FleetId:
        return fleet_id(self.root)

    def anchor(self, authority: Authority) -> x509.Certificate:
        """Return the current certificate of this authority.

        Raises: LocalProtocolError — this member was not given it.
        """
        return self.anchors(authority)[0]

    def anchors(self, authority: Authority) -> tuple[x509.Certificate, ...]:
        """Return the certificates that may have signed a leaf of this authority: the current, and any successor.

        Raises: LocalProtocolError — this member was given none.
        """
        if authority is Authority.FLEET:
            current, successor = self.fleet_ca, self.next_fleet_ca
        elif self.device_ca is not None:
            current, successor = self.device_ca, self.next_device_ca
        else:
            raise LocalProtocolError("this member has no Device CA and cannot meet devices")
        return (current,) if successor is None else (current, successor)

    def anchor_of(self, leaf: x509.Certificate, authority: Authority) -> x509.Certificate:
        """Return the anchor that `leaf` says signed it (RFC 5280 §4.2.1.1); the current one where it names neither.

        The word of a stranger, so the signature is still to be verified; but no other anchor could have made it, for
        a successor has a key of its own (`require_own_keys`).

        Raises: LocalProtocolError — this member was given no anchor of this authority.
        """
        anchors = self.anchors(authority)
        try:
            named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        except x509.ExtensionNotFound:
            return anchors[0]
        return next((anchor for anchor in anchors if key_identifier(anchor) == named), anchors[0])


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one certificate wholly, so that nothing about it can fail to parse later.

    Raises: PeerRejectedError — it is too big, malformed, or its key is not P-256, P-384 or Ed25519 in the usual form.
    """
    if len(der) > MAX_CERTIFICATE:
        raise PeerRejectedError(f"a certificate of {len(der)} bytes is over the limit of {MAX_CERTIFICATE}")
    with warnings.catch_warnings():
        # `cryptography` warns of serials and names that are against the rules: a stranger shall not write our log.
        warnings.simplefilter("ignore")
        try:
            certificate = x509.load_der_x509_certificate(der)
            key, serial = certificate.public_key(), certificate.serial_number
            # These are parsed on first use.
            _ = (certificate.extensions, certificate.subject, certificate.issuer)
        except _MALFORMED as error:
            raise PeerRejectedError(f"a certificate does not parse: {error}") from error
    # The count of unused bits of the signature is signed by nobody, and the parser takes another one than 0.
    if not der.endswith(b"\0" + certificate.signature):
        raise PeerRejectedError("a certificate's signature is not in DER")
    if serial <= 0:
        raise PeerRejectedError("a certificate's serial number must be positive")
    allowed_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    if not allowed_curve and not isinstance(key, ed25519.Ed25519PublicKey):
        raise PeerRejectedError("a certificate's key must be P-256, P-384 or Ed25519")
    # The parser takes points in compressed and hybrid form as well, and one key shall not be two by the look of it.
    if encode_spki(key) not in certificate.tbs_certificate_bytes:
        raise PeerRejectedError("a certificate's key is not in its usual form")
    return certificate


def verify_root(der: bytes, *, root_hash: bytes, now: datetime.datetime) -> x509.Certificate:
    """Return the root whose `spki_hash` is `root_hash` (all 32 bytes).

    Raises: PeerRejectedError — it is another root, not of our profile, or not valid `now`.
    """
    root = load_certificate(der)
    if spki_hash(root.public_key()) != root_hash:
        raise PeerRejectedError(f"the root is another fleet's ({fleet_id(root)})")
    _verify_authority(root, issuer=root, name=root_name(root.public_key()), now=now)
    _require_template(root, root_template(root.public_key()))
    return root


def verify_intermediate(
    der: bytes, *, authority: Authority, root: x509.Certificate, now: datetime.datetime
) -> x509.Certificate:
    """Return the intermediate of this authority, signed by a verified `root`.

    Raises: PeerRejectedError — it is not that, not of our profile, or not valid `now`.
    """
    intermediate = load_certificate(der)
    _verify_authority(intermediate, issuer=root, name=authority_name(fleet_id(root), authority), now=now)
    _require_template(intermediate, intermediate_template(authority, intermediate.public_key(), root=root))
    return intermediate


def verify_trust(
    *,
    root: bytes,
    fleet_ca: bytes,
    device_ca: bytes | None,
    next_fleet_ca: bytes | None = None,
    next_device_ca: bytes | None = None,
    root_hash: bytes,
    now: datetime.datetime,
) -> Trust:
    """Return what these DER certificates establish, starting from the root's hash.

    Raises: PeerRejectedError — one of them is not what it has to be, or a successor has its predecessor's key.
    """
    anchor = verify_root(root, root_hash=root_hash, now=now)

    def intermediate(der: bytes | None, authority: Authority) -> x509.Certificate | None:
        return None if der is None else verify_intermediate(der, authority=authority, root=anchor, now=now)

    trust = Trust(
        root=anchor,
        fleet_ca=verify_intermediate(fleet_ca, authority=Authority.FLEET, root=anchor, now=now),
        device_ca=intermediate(device_ca, Authority.DEVICE),
        next_fleet_ca=intermediate(next_fleet_ca, Authority.FLEET),
        next_device_ca=intermediate(next_device_ca, Authority.DEVICE),
    )
    require_own_keys(trust)
    return trust


def require_own_keys(trust: Trust) -> None:
    """Refuse a successor with its predecessor's key: a rotation to it would change nothing, and look as if it had.

    Raises: PeerRejectedError — one has.
    """
    for current, successor in ((trust.fleet_ca, trust.next_fleet_ca), (trust.device_ca, trust.next_device_ca)):
        if current and successor and successor.public_key() == current.public_key():
            raise PeerRejectedError(f"the successor of {successor.subject.rfc4514_string()} has no key of its own")


def _verify_authority(
    certificate: x509.Certificate, *, issuer: x509.Certificate, name: x509.Name, now: datetime.datetime
) -> None:
    if certificate.subject != name:
        raise PeerRejectedError(f"a certificate is not that of {name.rfc4514_string()}")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_MALFORMED) as error:
        raise PeerRejectedError(f"{name.rfc4514_string()} is not signed by the fleet's root") from error
    if not certificate.not_valid_before_utc <= as_utc(now) <= certificate.not_valid_after_utc:
        raise PeerRejectedError(f"{name.rfc4514_string()} is not valid at {as_utc(now).isoformat()}")


def _require_template(certificate: x509.Certificate, template: Template) -> None:
    if [(extension.value, extension.critical) for extension in certificate.extensions] != list(template):
        raise PeerRejectedError(f"{certificate.subject.rfc4514_string()} is not of the fleet's profile")
