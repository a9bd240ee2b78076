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
    fleet_id,
    intermediate_template,
    root_name,
    root_template,
    spki_hash,
)
from pharos.wire.pki.roles import Authority
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
    fleet: FleetId = attrs.field(init=False)
    """The fleet's id, from `root`."""

    @fleet.default
    def _fleet_of_root(self) -> FleetId:
        return fleet_id(self.root)

    def anchor(self, authority: Authority) -> x509.Certificate:
        """Return the one certificate that leaves of this authority must be signed by.

        Raises: LocalProtocolError — this member was not given it.
        """
        anchor = self.fleet_ca if authority is Authority.FLEET else self.device_ca
        if anchor is None:
            raise LocalProtocolError("this member has no Device CA and cannot meet devices")
        return anchor


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one certificate wholly, so that nothing about it can fail to parse later.

    Raises: PeerRejectedError — it is too big, malformed, or its key is not P-256, P-384 or Ed25519.
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
    *, root: bytes, fleet_ca: bytes, device_ca: bytes | None, root_hash: bytes, now: datetime.datetime
) -> Trust:
    """Return what these DER certificates establish, starting from the root's hash.

    Raises: PeerRejectedError — one of them is not what it has to be.
    """
    anchor = verify_root(root, root_hash=root_hash, now=now)
    return Trust(
        root=anchor,
        fleet_ca=verify_intermediate(fleet_ca, authority=Authority.FLEET, root=anchor, now=now),
        device_ca=None
        if device_ca is None
        else verify_intermediate(device_ca, authority=Authority.DEVICE, root=anchor, now=now),
    )


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
