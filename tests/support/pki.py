"""Whole fleets to test with: a root, both intermediates, and members of every role; forgers too."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.pki.denylist import DenyEntry, DenyList
from pharos.wire.pki.issue import issue, make_device_ca, make_fleet_ca, make_root, make_web_certificate
from pharos.wire.pki.keys import generate_key, generate_root_key
from pharos.wire.pki.policy import AdminGrant, Adoption, Ground, Setup, TicketClaim, authorize_issue
from pharos.wire.pki.profile import (
    BACKDATE,
    LEAF_LIFETIME,
    Template,
    intermediate_template,
    leaf_template,
    spki_hash,
)
from pharos.wire.pki.roles import Authority, Identity, Role
from pharos.wire.pki.tls import Credentials
from pharos.wire.pki.trust import Trust


def utc_now() -> datetime.datetime:
    """The clock that OpenSSL will judge by too."""
    return datetime.datetime.now(datetime.UTC)


BORN = utc_now()
"""When the certificates of this run are issued unless a test says otherwise: never later than a test's own "now"."""


@attrs.frozen(kw_only=True)
class SampleFleet:
    """A fleet whose every private key the test holds."""

    root_key: ec.EllipticCurvePrivateKey
    fleet_ca_key: ec.EllipticCurvePrivateKey
    device_ca_key: ec.EllipticCurvePrivateKey
    trust: Trust

    @property
    def id(self) -> FleetId:
        return self.trust.fleet

    @property
    def root_hash(self) -> bytes:
        """What a ticket or fleet link pins."""
        return spki_hash(self.trust.root.public_key())

    def identity(self, role: Role, name: str = "one") -> Identity:
        return Identity(fleet=self.id, role=role, id=name)

    def ca_key(self, authority: Authority) -> ec.EllipticCurvePrivateKey:
        return self.fleet_ca_key if authority is Authority.FLEET else self.device_ca_key

    def rotated(self, authority: Authority, *, now: datetime.datetime | None = None) -> SampleFleet:
        """Return the fleet as it is after one authority was exchanged for a fresh one, under the same root.

        ``now`` is for tests whose moment is not the present one; they may run minutes after their file was read.
        """
        key = generate_key()
        make = make_fleet_ca if authority is Authority.FLEET else make_device_ca
        ca = make(
            key.public_key(),
            root=self.trust.root,
            root_key=self.root_key,
            now=now or utc_now(),
            serial=x509.random_serial_number(),
        )
        if authority is Authority.FLEET:
            return attrs.evolve(self, fleet_ca_key=key, trust=attrs.evolve(self.trust, fleet_ca=ca))
        return attrs.evolve(self, device_ca_key=key, trust=attrs.evolve(self.trust, device_ca=ca))

    def unconstrained(self) -> SampleFleet:
        """Return the fleet with a Fleet CA of the same key that may vouch for any name."""
        key = self.fleet_ca_key.public_key()
        template = intermediate_template(Authority.FLEET, key, root=self.trust.root)
        fleet_ca = sign_certificate(
            subject=self.trust.fleet_ca.subject,
            public_key=key,
            template=tuple(entry for entry in template if not isinstance(entry[0], x509.NameConstraints)),
            issuer=self.trust.root.subject,
            issuer_key=self.root_key,
        )
        return attrs.evolve(self, trust=attrs.evolve(self.trust, fleet_ca=fleet_ca))

    def deny_list(
        self, *members: Identity, keys: Iterable[bytes] = (), epoch: int = 1, version: int = 1, days: int = 400
    ) -> DenyList:
        """Return a list that denies these members, and keys by their `spki_hash`, whose certificates end in `days`."""
        now = int(utc_now().timestamp())
        not_after = now + days * 24 * 3600
        entries = [DenyEntry(member=member, not_after=not_after) for member in members]
        entries += [DenyEntry(spki_hash=key, not_after=not_after) for key in keys]
        return DenyList(
            fleet=self.id,
            epoch=epoch,
            version=version,
            issued=now,
            entries=tuple(sorted(entries, key=lambda entry: entry.target)),
        )

    def member(self, role: Role, name: str = "one", *, now: datetime.datetime | None = None) -> Credentials:
        """Issue a fresh member by the one way that helm has."""
        identity, key = self.identity(role, name), generate_key()
        certificate = issue(
            authorize_issue(identity, ground_for(identity)),
            key.public_key(),
            ca=self.trust.anchor(role.authority),
            ca_key=self.ca_key(role.authority),
            now=now or BORN,
            serial=x509.random_serial_number(),
        )
        return Credentials(certificate=certificate, key=key)

    def forge(
        self,
        identity: Identity,
        *,
        authority: Authority | None = None,
        change: Iterable[tuple[x509.ExtensionType, bool]] = (),
        drop: Iterable[type[x509.ExtensionType]] = (),
        subject: x509.Name | None = None,
        public_key: CertificatePublicKeyTypes | None = None,
    ) -> Credentials:
        """Sign what `issue` never would, with a stolen CA key.

        The certificate follows the profile but for the extensions that are changed, added or dropped. With a
        `public_key` the returned private key is not its half.
        """
        authority = authority or identity.role.authority
        ca, key = self.trust.anchor(authority), generate_key()
        public_key = public_key or key.public_key()
        template = {type(value): (value, critical) for value, critical in leaf_template(identity, public_key, ca=ca)}
        template |= {type(value): (value, critical) for value, critical in change}
        dropped = set(drop)
        certificate = sign_certificate(
            subject=subject or x509.Name([]),
            public_key=public_key,
            template=tuple(extension for kind, extension in template.items() if kind not in dropped),
            issuer=ca.subject,
            issuer_key=self.ca_key(authority),
        )
        return Credentials(certificate=certificate, key=key)


def make_fleet(*, now: datetime.datetime | None = None) -> SampleFleet:
    """Found a fleet."""
    now = now or BORN
    root_key, fleet_ca_key, device_ca_key = generate_root_key(), generate_key(), generate_key()
    root = make_root(root_key, now=now, serial=x509.random_serial_number())
    trust = Trust(
        root=root,
        fleet_ca=make_fleet_ca(
            fleet_ca_key.public_key(), root=root, root_key=root_key, now=now, serial=x509.random_serial_number()
        ),
        device_ca=make_device_ca(
            device_ca_key.public_key(), root=root, root_key=root_key, now=now, serial=x509.random_serial_number()
        ),
    )
    return SampleFleet(root_key=root_key, fleet_ca_key=fleet_ca_key, device_ca_key=device_ca_key, trust=trust)


@functools.cache
def home_fleet() -> SampleFleet:
    """The fleet of most tests, made once per run: it is never changed."""
    return make_fleet()


def believing_both(old: SampleFleet, new: SampleFleet) -> Trust:
    """Return the trust of a member in the midst of a rotation, which knows the new authorities as next."""
    current, successor = old.trust, new.trust
    return attrs.evolve(
        current,
        next_fleet_ca=None if successor.fleet_ca == current.fleet_ca else successor.fleet_ca,
        next_device_ca=None if successor.device_ca == current.device_ca else successor.device_ca,
    )


@functools.cache
def other_fleet() -> SampleFleet:
    """A stranger to `home_fleet` whose members have the same names."""
    return make_fleet()


def make_web_credentials() -> Credentials:
    """What helm's web edge on localhost proves itself with."""
    key = generate_key()
    certificate = make_web_certificate(key, now=utc_now(), serial=x509.random_serial_number())
    return Credentials(certificate=certificate, key=key)


def ground_for(identity: Identity) -> Ground:
    """A ground that justifies a first certificate."""
    match identity.role:
        case Role.CONTROLLER:
            return Setup()
        case Role.NODE | Role.RELAY:
            return Adoption(operator="test")
        case Role.DEVICE:
            return TicketClaim(ticket_id=TicketId(bytes(8)), device_id=DeviceId(identity.id))
        case Role.ADMIN:
            return AdminGrant(operator="test")


def sign_certificate(
    *,
    subject: x509.Name,
    public_key: CertificatePublicKeyTypes,
    template: Template,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """Sign anything."""
    # Not the present: modules take their own `now` when they are imported, and may use it minutes later.
    now = BORN
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LEAF_LIFETIME)
    )
    for extension, critical in template:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())
