"""The fleet's authority while helm runs: both intermediates, the signing key, helm's own credentials."""

from __future__ import annotations

import datetime
import hashlib
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
from pharos.helm.store.rotations import active_rotation, list_rotations
from pharos.helm.store.times import moment
from pharos.wire.agent import AgentGrant, AgentRequest, grant_of
from pharos.wire.chance import draw_bits
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
from pharos.wire.pki.policy import (
    AccountLogin,
    AdminGrant,
    Adoption,
    Authorization,
    Ground,
    Setup,
    TicketClaim,
    authorize_issue,
)
from pharos.wire.pki.profile import SERIAL_BITS, fleet_id, key_identifier, spki_hash
from pharos.wire.pki.renewal import RenewalRequest
from pharos.wire.pki.roles import Authority as Intermediate
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.rotation import Generation, State, Subject
from pharos.wire.pki.tls import Credentials
from pharos.wire.pki.trust import Trust
from pharos.wire.world import random_bytes

# RFC 6598's shared space would collide with carriers; a /16 of 10/8 is what self-hosted VPNs commonly take.
DEFAULT_POOL4: Final = "10.86.0.0/16"

SECRET_VERSION: Final = 1
_FLEET_CA: Final = "fleet-ca"
_DEVICE_CA: Final = "device-ca"
CONTROLLER: Final = "controller"
_SIGNING: Final = "signing"
_NOISE: Final = "noise"
ROOT: Final = "root"
DATA_KEY: Final = "data-key"
SECRETS: Final = {
    Subject.FLEET_CA: _FLEET_CA,
    Subject.DEVICE_CA: _DEVICE_CA,
    Subject.SIGNING_KEY: _SIGNING,
    Subject.NOISE_KEY: _NOISE,
}
"""Names of the secrets that can be rotated."""
_KIT_KEY: Final = "kit-key"


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
    verify_keys: tuple[bytes, ...]
    """The raw public keys by one of which what the record keeps was signed; the one in use first."""
    noise: KeyPair
    """helm's end of passages: the one to be dialled."""
    noise_keys: tuple[KeyPair, ...]
    """What helm answers to: two during a rotation."""
    _fleet_ca: x509.Certificate = attrs.field(repr=False)
    _device_ca: x509.Certificate = attrs.field(repr=False)
    _fleet_ca_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    _device_ca_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)

    @property
    def identity(self) -> Identity:
        """helm itself."""
        return Identity(fleet=self.trust.fleet, role=Role.CONTROLLER, id=self.controller_id)

    def grant(self, certificate: x509.Certificate, role: Role) -> AgentGrant:
        """Return what a machine takes home that joins, or comes back: its certificate, and whom to believe."""
        return grant_of(certificate, trust=self.trust, role=role, manifest=self.manifest)

    def issuer(self, role: Role) -> x509.Certificate:
        """Return the intermediate that certificates of this role are issued by now."""
        return self._fleet_ca if role.authority is Intermediate.FLEET else self._device_ca

    def issued(self, certificate: x509.Certificate, role: Role) -> bool:
        """Tell whether a certificate is by the intermediate that is in use now."""
        return key_identifier(self.issuer(role)) == authority_key(certificate)

    def renew(self, request: RenewalRequest, *, now: datetime.datetime) -> x509.Certificate:
        """Return the successor of a certificate; what may be granted was verified with the request."""
        return self._sign(request.authorization, request.public_key, now)

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

    def certify_login(
        self, csr: bytes, device_id: DeviceId, user_id: str, *, now: datetime.datetime
    ) -> x509.Certificate:
        """Return the certificate of a device whose user has logged in, and that this transaction records.

        Raises: RemoteProtocolError — the request does not prove possession of a P-256 key.
        """
        return self._issue(Role.DEVICE, device_id, csr, AccountLogin(user_id=user_id, device_id=device_id), now)

    def certify_browser(self, csr: bytes, member: str, *, operator: str, now: datetime.datetime) -> x509.Certificate:
        """Return the certificate of an admin's browser, one year long."""
        return self._issue(Role.ADMIN, member, csr, AdminGrant(operator=operator), now)

    def _issue(self, role: Role, member: str, csr: bytes, ground: Ground, now: datetime.datetime) -> x509.Certificate:
        identity = Identity(fleet=self.trust.fleet, role=role, id=member)
        return self._sign(authorize_issue(identity, ground), verify_csr(csr), now)

    def _sign(
        self, authorization: Authorization, public_key: ec.EllipticCurvePublicKey, now: datetime.datetime
    ) -> x509.Certificate:
        role = authorization.identity.role
        return issue(
            authorization,
            public_key,
            ca=self.issuer(role),
            ca_key=self._fleet_ca_key if role.authority is Intermediate.FLEET else self._device_ca_key,
            now=now,
            serial=new_serial(),
        )


def next_secret(name: str) -> str:
    """Return what a secret's successor is called until it takes its place."""
    return f"{name}-next"


def new_serial() -> int:
    """Draw a certificate serial number (RFC 5280 §4.1.2.2: positive; ours are 159 random bits)."""
    return draw_bits(SERIAL_BITS) or 1


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
    controller_id = ControllerId(uuid7(int(at * 1e9), random_bytes(10)))
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
        (vault, CONTROLLER, key_to_der(controller_key)),
        (vault, _SIGNING, bytes(signing)),
        (vault, _NOISE, noise.private_bytes()),
        (vault, _KIT_KEY, bytes(kit.sealing_key().public_key)),
        (kit.vault(), ROOT, key_to_der(root_key)),
        (kit.vault(), DATA_KEY, data_key),
    ):
        put_secret(db, name, SECRET_VERSION, wrapper.wrap(name, SECRET_VERSION, secret))
    return kit


def load_authority(db: Database, vault: Vault, *, now: datetime.datetime) -> Authority:
    """Open the authority for daily work. In the middle of a rotation it holds both generations, and uses one.

    Raises: NotInitialisedError — the store holds no fleet. StateFileError — a secret does not open.
    ManifestError — the trust manifest has expired.
    """
    fleet, rotation = get_fleet(db), active_rotation(db)
    manifest = verify_manifest(
        fleet.manifest, root_hash=spki_hash(certificate_from_der(fleet.root).public_key()), now=now
    )
    # Before it switches, and until the old is dropped, the record holds both keys of whatever is exchanged.
    both = rotation is not None and rotation.rotation.state in (State.DISTRIBUTING, State.SWITCHING)
    new = rotation.rotation.subjects if rotation is not None and both else frozenset()
    uses_new = rotation is not None and rotation.rotation.used is Generation.NEW

    def secret(name: str) -> bytes:
        version, wrapped = get_secret(db, name)
        return vault.unwrap(name, version, wrapped)

    def in_use(subject: Subject) -> bytes:
        name = SECRETS[subject]
        return secret(next_secret(name) if uses_new and subject in new else name)

    trust = manifest.trust
    noise_keys = [KeyPair.from_private_bytes(secret(_NOISE))]
    if Subject.NOISE_KEY in new:
        noise_keys.append(KeyPair.from_private_bytes(secret(next_secret(_NOISE))))
    signing = SigningKey(in_use(Subject.SIGNING_KEY))
    device_ca = trust.device_ca
    assert device_ca is not None, "a manifest names one"
    return Authority(
        trust=trust,
        controller=Credentials(
            certificate=certificate_from_der(fleet.controller), key=key_from_der(secret(CONTROLLER))
        ),
        controller_id=fleet.controller_id,
        manifest=fleet.manifest,
        manifest_version=manifest.version,
        signing=signing,
        verify_keys=tuple(
            dict.fromkeys((bytes(signing.verify_key), *manifest.signing_keys, *past_signing_keys(db, trust.root)))
        ),
        noise=noise_keys[-1] if uses_new else noise_keys[0],
        noise_keys=tuple(noise_keys),
        fleet_ca=(trust.next_fleet_ca if uses_new else None) or trust.fleet_ca,
        device_ca=(trust.next_device_ca if uses_new else None) or device_ca,
        fleet_ca_key=key_from_der(in_use(Subject.FLEET_CA)),
        device_ca_key=key_from_der(in_use(Subject.DEVICE_CA)),
    )


def past_signing_keys(db: Database, root: x509.Certificate) -> list[bytes]:
    """Return the signing keys of every rotation that there was, as the root signed them.

    Checkpoints of the audit outlive the key that signed them.
    """
    keys: list[bytes] = []
    for stored in list_rotations(db):
        # Each is judged as of the day on which it was signed.
        manifest = verify_manifest(
            stored.manifests[0], root_hash=spki_hash(root.public_key()), now=moment(stored.created_at)
        )
        keys += manifest.signing_keys
    return keys


def authority_key(certificate: x509.Certificate) -> bytes | None:
    """Return the name of the key that signed a certificate (RFC 5280 §4.2.1.1)."""
    return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier


def ula_of(root: x509.Certificate) -> str:
    """Return the fleet's IPv6 network: a /64 of a ULA prefix (RFC 4193 §3.2) taken from the root's hash."""
    digest = hashlib.sha256(b"pharos/ula/v1" + certificate_to_der(root)).hexdigest()
    return f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}:{digest[10:14]}::/64"
