"""A fleet whose keys are exchanged: members that hear of it when they are there, and whether each pair can talk."""

from __future__ import annotations

import datetime
import functools
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.helm.ca.authority import Authority, create_fleet, load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.helm.model.fleet import Posture
from pharos.helm.onboard.agents import adopt_relay
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import note_held
from pharos.helm.store.certificates import keep_certificate
from pharos.helm.store.database import Database, transact
from pharos.helm.store.denials import deny_order
from pharos.helm.store.devices import bind_certificate, get_device
from pharos.helm.store.members import note_member
from pharos.helm.store.rotations import active_rotation
from pharos.helm.trust.renewals import renew_agent, renew_device, wants_renewal
from pharos.helm.trust.rotation import advance, begin_rotation, freshen
from pharos.wire.agent import AgentRequest
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role
from pharos.wire.pki.rotation import State, Subject
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.seal.envelope import open_bundle
from tests.support.helm import adopt_sample_node, core_in_memory, enrol_sample_device, new_relay, now, sample_act


@attrs.define(kw_only=True)
class Member:
    """A node, relay or device with what it holds."""

    role: Role
    id: str
    key: ec.EllipticCurvePrivateKey
    certificate: bytes
    manifest: bytes
    bundle: bytes = b""
    order: tuple[int, int] = (0, 0)


@attrs.define(kw_only=True)
class RotatingFleet:
    """helm's record with one member of each role."""

    db: Database
    vault: Vault
    kit: RecoveryKit
    authorities: LiveAuthority
    """What helm has in memory: gone when it is killed."""
    sealing: KeyPair = attrs.field(factory=KeyPair.generate)
    members: dict[Role, Member] = attrs.field(factory=dict)
    _manifests: dict[bytes, Manifest] = attrs.field(factory=dict, init=False)
    clock: datetime.datetime = attrs.field(factory=lambda: datetime.datetime.now(datetime.UTC))

    @property
    def at(self) -> int:
        return int(self.clock.timestamp() * 1e6)

    @property
    def authority(self) -> Authority:
        return self.authorities.current

    def adopt(self, db: Database, role: Role) -> None:
        """Bring in a machine of this role."""
        key = generate_key()
        request = AgentRequest(
            role=role,
            csr=make_csr(key),
            awg_key=KeyPair.generate().public if role is Role.NODE else None,
            derive_key=KeyPair.generate().public if role is Role.NODE else None,
        )
        if role is Role.NODE:
            record, grant = adopt_sample_node(db, self.authority, request=request)
            member_id: str = record.id
        else:
            relay, grant = adopt_relay(db, sample_act(), self.authority, request, new_relay())
            member_id = relay.id
        self.members[role] = Member(
            role=role, id=member_id, key=key, certificate=grant.certificate, manifest=self.authority.manifest
        )

    def enrol(self, db: Database) -> None:
        """Bring in a device."""
        key, device = generate_key(), enrol_sample_device(db, 1)
        db.execute("UPDATE devices SET sealing_key = ?", (self.sealing.public,))
        certificate = self.authority.certify_device(make_csr(key), device.id, TicketId(bytes(16)), now=self.clock)
        kept = keep_certificate(db, sample_act(), certificate, Role.DEVICE, device.id)
        der = certificate_to_der(certificate)
        bind_certificate(
            db, device.id, fingerprint=kept.id, spki=kept.spki, certificate=der, not_after=kept.not_after_at
        )
        self.members[Role.DEVICE] = Member(
            role=Role.DEVICE, id=device.id, key=key, certificate=der, manifest=self.authority.manifest
        )

    def begin(self, *subjects: Subject) -> None:
        transact(self.db, begin_rotation, sample_act(at=self.at), self.vault, self.kit, subjects or tuple(Subject))
        self.kill()

    @property
    def state(self) -> State | None:
        stored = active_rotation(self.db)
        return None if stored is None else stored.rotation.state

    def kill(self) -> None:
        """Start helm anew: it knows what is durable."""
        self.authorities.replace(transact(self.db, load_authority, self.vault, now=self.clock))
        if self.state is not None:
            transact(self.db, freshen, at=self.at)

    def step(self, *, killed: bool = False) -> bool:
        """Let helm take one step; killed, it never hears that it did."""
        authority = transact(self.db, advance, self.vault, at=self.at)
        if authority is None:
            return False
        if killed:
            self.kill()
        else:
            self.authorities.replace(authority)
            transact(self.db, freshen, at=self.at)
        return True

    def meet(self, role: Role) -> None:
        """Let a member be here once: it tells what it holds, and takes what helm has for it."""
        member = self.members[role]
        if role is Role.DEVICE:
            transact(self.db, self._sync, member)
        else:
            transact(self.db, self._follow, member)

    def _follow(self, db: Database, member: Member) -> None:
        shown = certificate_from_der(member.certificate)
        fingerprint = _fingerprint(member.certificate)
        self._note(db, member, fingerprint, deny=deny_order(db).order)
        member.manifest = self._newest(member)
        if wants_renewal(self.authority, member.role, member.certificate, shown=fingerprint, now=self.clock):
            key = generate_key()
            member.certificate = renew_agent(
                db, self.authorities, member.role, member.id, make_csr(key), shown=fingerprint, at=self.at
            )
            member.key = key
            assert certificate_from_der(member.certificate) != shown

    def _sync(self, db: Database, member: Member) -> None:
        device = get_device(db, DeviceId(member.id))
        self._note(db, member, _fingerprint(member.certificate), deny=(0, 0))
        bundle = current_bundle(db, self.authority, device, at=self.at)
        note_held(db, device.id, epoch=member.order[0], revision=member.order[1], at=self.at)
        member.manifest = self._newest(member)
        member.bundle, member.order = bundle.sealed, (bundle.epoch, bundle.revision)
        shown = _fingerprint(member.certificate)
        member.certificate = renew_device(
            db, sample_act(at=self.at), self.authority, device.id, make_csr(member.key), shown=shown
        )

    def _note(self, db: Database, member: Member, fingerprint: str, *, deny: tuple[int, int]) -> None:
        version = self.believed(member).version
        note_member(
            db,
            member.id,
            at=self.at,
            manifest_version=version,
            certificate=fingerprint,
            deny_epoch=deny[0],
            deny_version=deny[1],
        )

    def _newest(self, member: Member) -> bytes:
        return max(member.manifest, self.authority.manifest, key=lambda blob: self._read(blob).version)

    def _read(self, blob: bytes) -> Manifest:
        root = self.authority.trust.root
        if blob not in self._manifests:
            self._manifests[blob] = verify_manifest(blob, root_hash=spki_hash(root.public_key()), now=self.clock)
        return self._manifests[blob]

    def believed(self, member: Member) -> Manifest:
        return self._read(member.manifest)

    def check_pairs(self) -> None:
        """Raises: PeerRejectedError, BundleError, AssertionError — a pair that could talk cannot any more."""
        node, relay, device = (self.members[role] for role in (Role.NODE, Role.RELAY, Role.DEVICE))
        controller = certificate_to_der(self.authority.controller.certificate)
        for member in (node, relay):
            self._authorize(self.believed(member).trust, controller, Role.CONTROLLER, self.authority.controller_id)
            self._authorize(self.authority.trust, member.certificate, member.role, member.id)
        self._authorize(self.believed(relay).trust, device.certificate, Role.DEVICE, device.id)
        self._authorize(self.believed(device).trust, relay.certificate, Role.RELAY, relay.id)
        dialled = self.believed(device).noise_key
        assert dialled in {pair.public for pair in self.authority.noise_keys}
        for member in (node, relay, device):
            assert bytes(self.authority.signing.verify_key) in self.believed(member).signing_keys
        if device.bundle:
            open_bundle(
                device.bundle,
                fleet=self.authority.trust.fleet,
                device=DeviceId(device.id),
                sealing_key=self.sealing,
                signing_keys=self.believed(device).signing_keys,
            )

    def _authorize(self, trust: Trust, certificate: bytes, role: Role, member: str) -> None:
        authorize_peer(certificate, trust=trust, roles={role}, peer_id=member, now=self.clock)


@contextmanager
def rotating_fleet() -> Iterator[RotatingFleet]:
    """A fleet of a helm, a node, a relay and a device, all of them up to date."""
    content, made = _up_to_date()
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.deserialize(content)
        db.execute("PRAGMA foreign_keys = ON")
        members = {role: attrs.evolve(member) for role, member in made.members.items()}
        yield attrs.evolve(made, db=db, authorities=LiveAuthority(made.authority), members=members)
    finally:
        db.close()


@functools.cache
def _up_to_date() -> tuple[bytes, RotatingFleet]:
    with core_in_memory() as db:
        vault, clock = Vault(bytes(32)), now()
        kit = transact(db, create_fleet, vault, bytes(32), Posture.PERSONAL, now=clock)
        authority = transact(db, load_authority, vault, now=clock)
        fleet = RotatingFleet(db=db, vault=vault, kit=kit, authorities=LiveAuthority(authority), clock=clock)
        for role in (Role.NODE, Role.RELAY):
            transact(db, fleet.adopt, role)
        transact(db, fleet.enrol)
        for role in fleet.members:
            # Twice: the second time it tells what it took at the first.
            fleet.meet(role)
            fleet.meet(role)
        fleet.check_pairs()
        return db.serialize(), fleet


def _fingerprint(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()
