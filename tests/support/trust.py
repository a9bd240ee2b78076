"""What helm signs for its members: manifests, deny lists and checkpoints of a fleet whose every key the test holds."""

from __future__ import annotations

import datetime

import attrs
from cryptography import x509
from nacl.signing import SigningKey

from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.issue import issue
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.manifest import sign_manifest
from pharos.wire.pki.policy import Renewal, authorize_issue
from pharos.wire.pki.roles import Identity
from pharos.wire.pki.trust import Trust
from pharos.wire.seal.checkpoint import Checkpoint, sign_checkpoint
from pharos.wire.seal.denylist import sign_deny_list
from tests.support.pki import SampleFleet, home_fleet, utc_now

SIGNING_KEY = SigningKey(bytes(range(32)))
NEXT_SIGNING_KEY = SigningKey(bytes(range(1, 33)))


@attrs.frozen(kw_only=True)
class Signer:
    """helm's hand."""

    fleet: SampleFleet = attrs.field(factory=home_fleet)
    key: SigningKey = SIGNING_KEY

    def manifest(self, version: int = 1, *, trust: Trust | None = None, next_key: SigningKey | None = None) -> bytes:
        return sign_manifest(
            version=version,
            trust=trust or self.fleet.trust,
            signing_key=bytes(self.key.verify_key),
            noise_key=bytes(32),
            next_signing_key=None if next_key is None else bytes(next_key.verify_key),
            root_key=self.fleet.root_key,
        )

    def deny_list(self, *members: Identity, epoch: int = 1, version: int = 1) -> bytes:
        return sign_deny_list(self.fleet.deny_list(*members, epoch=epoch, version=version), signing_key=self.key)

    def checkpoint(self, size: int, *, head: bytes = bytes(32), at: datetime.datetime | None = None) -> bytes:
        micros = round((at or utc_now()).timestamp() * 1_000_000)
        return sign_checkpoint(Checkpoint(fleet=self.fleet.id, size=size, head=head, at=micros), signing_key=self.key)

    def renewed(self, csr: bytes, identity: Identity, *, fleet: SampleFleet | None = None) -> bytes:
        """Issue the successor of a member's certificate, by another fleet's authority where one is given."""
        issuer = fleet or self.fleet
        certificate = issue(
            authorize_issue(identity, Renewal(holder=identity)),
            verify_csr(csr),
            ca=issuer.trust.anchor(identity.role.authority),
            ca_key=issuer.ca_key(identity.role.authority),
            now=utc_now(),
            serial=x509.random_serial_number(),
        )
        return certificate_to_der(certificate)
