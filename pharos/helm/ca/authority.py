"""The fleet's authority while helm runs: both intermediates, the signing key, helm's own credentials."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from nacl.signing import SigningKey

from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.helm.errors import AlreadyInitialisedError
from pharos.helm.model.certificates import facts_of
from pharos.helm.model.fleet import Fleet, Posture
from pharos.helm.store.certificates import CERTIFICATES
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, microseconds
from pharos.helm.store.fleet import add_fleet, get_fleet, get_secret, has_fleet, put_secret
from pharos.helm.store.records import insert_record
from pharos.wire.agent import AgentRequest
from pharos.wire.ids import ControllerId, DeviceId, TicketId, uuid7
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.issue import issue, make_device_ca, make_fleet_ca, make_root
from pharos.wire.pki.keys import (
    certificate_from_der,
    certificate_to_der,
    generate_key,
    generate_root_key,
    key_from_der,
    key_to_der,
)
from pharos.wire.pki.manifest import sign_manifest, verify_manifest
from pharos.wire.pki.policy import Adoption, Ground, Setup, TicketClaim, authorize_issue
from pharos.wire.pki.profile import SERIAL_BITS, fleet_id, spki_hash
from pharos.wire.pki.roles import Authority as Intermediate
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import Credentials
from pharos.wire.pki.trust import Trust

# RFC 6598's shared space would collide with carriers; a /16 of 10/8 is what self-hosted VPNs commonly take.
DEFAULT_POOL4: Final = "10.86.0.0/16"

_SECRET_VERSION: Final = 1
_FLEET_CA: Final = "fleet-ca"
_DEVICE_CA: Final = "device-ca"
_CONTROLLER: Final = "controller"
_SIGNING: Final = "signing"
_NOISE: Final = "noise"
_ROOT: Final = "root"
_DATA_KEY: Final = "data-key"


@attrs.frozen(kw_only=True)
class Authority:
    """What may sign in the fleet's name. The root is not among it: its key opens with the recovery kit only."""

    trust: Trust
    controller: Credentials
    controller_id: ControllerId
    manifest: bytes
    """Trust manifest, signed by the root."""
    manifest_version: int
    signing: SigningKey = attrs.field(repr=False)
    """Ed25519: bundles, deny lists, freshness answers, audit checkpoints."""
    noise: KeyPair
    """helm's end of every passage."""
    _fleet_ca_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    _device_ca_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)

    def certify_agent(
        self, request: AgentRequest, agent_id: str, *, operator: str, now: datetime.datetime
    ) -> x509.Certificate:
        """Return the certificate of a node or relay that an operator brings in."""
        return self._issue(request.role, agent_id, request.csr, Adoption(operator=operator), now)

    def certify_device(
        self, csr: bytes, device_id: DeviceId, ticket_id: TicketId, *, now: datetime.datetime
    ) -> x509.Certificate:
        """Return the certificate of a device whose ticket was consumed in this transaction.

        Raises: RemoteProtocolError — the request does not prove possession of a P-256 key.
        """
        ground = TicketClaim(ticket_id=ticket_id, device_id=device_id)
        return self._issue(Role.DEVICE, device_id, csr, ground, now)

    def _issue(self, role: Role, member: str, csr: bytes, ground: Ground, now: datetime.datetime) -> x509.Certificate:
        identity = Identity(fleet=self.trust.fleet, role=role, id=member)
        key = self._fleet_ca_key if role.authority is Intermediate.FLEET else self._device_ca_key
        return issue(
            authorize_issue(identity, ground),
            verify_csr(csr),
            ca=self.trust.anchor(role.authority),
            ca_key=key,
            now=now,
            serial=new_serial(),
        )


def new_serial() -> int:
    """Draw a certificate serial number (RFC 5280 §4.1.2.2: positive; ours are 159 random bits)."""
    return secrets.randbits(SERIAL_BITS) or 1


def create_fleet(
    db: Database, vault: Vault, data_key: bytes, posture: Posture, *, now: datetime.datetime
) -> RecoveryKit:
    """Make a fleet: root, both intermediates, helm's own credentials, signing and Noise keys; return the recovery kit.

    The root's private key leaves this function only wrapped by the kit.

    Raises: AlreadyInitialisedError — the store holds a fleet.
    """
    if has_fleet(db):
        raise AlreadyInitialisedError("this state directory holds a fleet already; choose another --state")
    root_key, fleet_ca_key, device_ca_key, controller_key = generate_root_key(), *(generate_key() for _ in range(3))
    signing, noise = SigningKey.generate(), KeyPair.generate()
    root = make_root(root_key, now=now, serial=new_serial())
    fleet_ca, device_ca = (
        make(key.public_key(), root=root, root_key=root_key, now=now, serial=new_serial())
        for make, key in ((make_fleet_ca, fleet_ca_key), (make_device_ca, device_ca_key))
    )
    fid = fleet_id(root)
    at = now.timestamp()
    act = Act(actor="helm", at=microseconds(at), via="helm")
    controller_id = ControllerId(uuid7(int(at * 1e9), secrets.token_bytes(10)))
    controller = issue(
        authorize_issue(Identity(fleet=fid, role=Role.CONTROLLER, id=controller_id), Setup()),
        controller_key.public_key(),
        ca=fleet_ca,
        ca_key=fleet_ca_key,
        now=now,
        serial=new_serial(),
    )
    manifest = sign_manifest(
        version=1,
        trust=Trust(root=root, fleet_ca=fleet_ca, device_ca=device_ca),
        root_key=root_key,
        signing_key=bytes(signing.verify_key),
        noise_key=noise.public,
    )
    add_fleet(
        db,
        Fleet(
            id=fid,
            posture=posture,
            epoch=int(at),
            term=0,
            revision=1,
            pool4=DEFAULT_POOL4,
            pool6=ula_of(root),
            root=certificate_to_der(root),
            fleet_ca=certificate_to_der(fleet_ca),
            device_ca=certificate_to_der(device_ca),
            controller=certificate_to_der(controller),
            controller_id=controller_id,
            manifest=manifest,
            created_at=act.at,
        ),
        act,
    )
    insert_record(db, CERTIFICATES, facts_of(controller, Role.CONTROLLER, controller_id), act)
    kit = RecoveryKit.create()
    for wrapper, name, secret in (
        (vault, _FLEET_CA, key_to_der(fleet_ca_key)),
        (vault, _DEVICE_CA, key_to_der(device_ca_key)),
        (vault, _CONTROLLER, key_to_der(controller_key)),
        (vault, _SIGNING, bytes(signing)),
        (vault, _NOISE, noise.private_bytes()),
        (kit.vault(), _ROOT, key_to_der(root_key)),
        (kit.vault(), _DATA_KEY, data_key),
    ):
        put_secret(db, name, _SECRET_VERSION, wrapper.wrap(name, _SECRET_VERSION, secret))
    return kit


def load_authority(db: Database, vault: Vault, *, now: datetime.datetime) -> Authority:
    """Open the authority for daily work.

    Raises: NotInitialisedError — the store holds no fleet. StateFileError — a secret does not open.
    ManifestError — the trust manifest has expired.
    """
    fleet = get_fleet(db)

    def secret(name: str) -> bytes:
        version, wrapped = get_secret(db, name)
        return vault.unwrap(name, version, wrapped)

    trust = Trust(
        root=certificate_from_der(fleet.root),
        fleet_ca=certificate_from_der(fleet.fleet_ca),
        device_ca=certificate_from_der(fleet.device_ca),
    )
    return Authority(
        trust=trust,
        controller=Credentials(
            certificate=certificate_from_der(fleet.controller), key=key_from_der(secret(_CONTROLLER))
        ),
        controller_id=fleet.controller_id,
        manifest=fleet.manifest,
        manifest_version=verify_manifest(fleet.manifest, root_hash=spki_hash(trust.root.public_key()), now=now).version,
        signing=SigningKey(secret(_SIGNING)),
        noise=KeyPair.from_private_bytes(secret(_NOISE)),
        fleet_ca_key=key_from_der(secret(_FLEET_CA)),
        device_ca_key=key_from_der(secret(_DEVICE_CA)),
    )


def ula_of(root: x509.Certificate) -> str:
    """Return the fleet's IPv6 network: a /64 of a ULA prefix (RFC 4193 §3.2) taken from the root's hash."""
    digest = hashlib.sha256(b"pharos/ula/v1" + certificate_to_der(root)).hexdigest()
    return f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}:{digest[10:14]}::/64"
