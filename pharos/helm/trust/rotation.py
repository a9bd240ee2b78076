"""Exchanging the fleet's keys: the record's side of `pharos.wire.pki.rotation`.

Everything is read off the record each time: who is a member, and what each last said that it holds. So a kill loses
nothing, a member that joins meanwhile is waited for like any other, and one that is revoked, or whose certificate
ends, is not. One transaction takes one step; helm acts by it only once it is durable.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Set
from typing import Final, NoReturn

import attrs
import trio
from cryptography import x509

from pharos.helm.ca.authority import (
    ROOT,
    SECRET_VERSION,
    SECRETS,
    Authority,
    authority_key,
    load_authority,
    next_secret,
)
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.successors import make_successors
from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.helm.errors import BusyError, ConflictError, DatabaseCorruptError, InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.certificates import Certificate
from pharos.helm.store.bundles import mark_stale
from pharos.helm.store.certificates import live_members
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.denials import deny_order, next_deny_version
from pharos.helm.store.fleet import (
    get_fleet,
    get_secret,
    next_revision,
    promote_successors,
    put_secret,
    remove_secret,
    set_manifest,
    set_successors,
)
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.members import MemberState, member_states
from pharos.helm.store.rotations import (
    MANIFESTS,
    StoredRotation,
    active_rotation,
    add_rotation,
    held_bundles,
    put_rotation,
)
from pharos.helm.store.times import moment
from pharos.helm.trust.renewals import renew_controller
from pharos.wire.errors import StateFileError
from pharos.wire.pki.keys import certificate_from_der
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.pki.profile import key_identifier, spki_hash
from pharos.wire.pki.roles import Authority as Intermediate
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.rotation import Input, Rotation, State, Subject, awaited_roles
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

# Each acknowledgement copies the set of those who are waited for: 10,000 devices at once are forty transactions.
BATCH: Final = 256
# Certificates end without a commit; whoever is waited for in vain is let go within that.
LOOK: Final = 10 * MINUTES
PACE: Final = 1 * SECONDS
_HELM: Final = "helm"


def begin_rotation(
    db: Database, act: Act, vault: Vault, kit: RecoveryKit, subjects: Collection[Subject]
) -> StoredRotation:
    """Prepare a rotation and begin to distribute it: the root is opened here, once, and signs all that it will need.

    Raises: ConflictError — one is under way. InvalidRequestError — nothing to rotate, or another fleet's kit.
    NotInitialisedError — this helm was restored from a backup without the root.
    """
    wanted = frozenset(subjects)
    if not wanted:
        raise InvalidRequestError("say what is to be rotated")
    if active_rotation(db) is not None:
        raise ConflictError("a rotation is under way; helm ca show says who it waits for")
    prepared = Rotation(subjects=wanted, members=frozenset(live_members(db, act.at)))
    made = make_successors(prepared, get_fleet(db).manifest, _open_root(db, kit), now=moment(act.at))
    for subject, secret in made.secrets.items():
        name = next_secret(SECRETS[subject])
        put_secret(db, name, SECRET_VERSION, vault.wrap(name, SECRET_VERSION, secret))
    set_successors(db, made.fleet_ca, made.device_ca)
    stored = add_rotation(db, act, StoredRotation(id=fresh_id(), rotation=prepared, manifests=made.manifests))
    return _move(db, act, vault, stored, stored.rotation.begin())


def advance(db: Database, vault: Vault, *, at: int) -> Authority | None:
    """Take the next step of the rotation that is going on; return the authority to use from now on if it changed.

    Raises: StateFileError, ManifestError, NotInitialisedError.
    """
    stored = active_rotation(db)
    if stored is None:
        return None
    act = Act(actor=_HELM, at=at, via=_HELM)
    facts = _Facts.read(db, stored, at)
    after = _with_members(stored.rotation, facts.live.keys())
    asked = after.asked
    if asked is not None and after.state is stored.rotation.state:
        done = [member for member in sorted(after.waiting, key=str) if facts.has_done(member, after)]
        for member in done[:BATCH]:
            # Not beyond the state that it was read for: what the next one asks of members is another question.
            if after.asked is asked:
                after = after.acknowledge(member, asked)
    if after == stored.rotation:
        return None
    moved = _move(db, act, vault, stored, after)
    return None if moved.rotation.state is stored.rotation.state else load_authority(db, vault, now=moment(at))


def freshen(db: Database, *, at: int) -> None:
    """Have everybody told of the manifest that is in use now, by the one who uses it.

    A device hears of nothing but its bundle, so each gets a new one, to come and ask; what it was told before may have
    been said, and signed, by the keys of before. So were deny lists, where the signing key is exchanged.
    """
    stored = active_rotation(db)
    if stored is not None and stored.rotation.state is State.SWITCHING and deny_order(db).version:
        next_deny_version(db, at)
    mark_stale(db)
    next_revision(db)


async def run_rotation(store: Store, authorities: LiveAuthority, vault: Vault) -> NoReturn:
    """Take whatever rotation there is to its end, until cancelled."""
    told: bytes | None = None
    while True:
        commits = store.commits
        try:
            if (await store.read(get_fleet)).manifest != authorities.current.manifest:
                # It was begun, or somebody else took a step.
                authorities.replace(await store.run(load_authority, vault, now=moment(now_us())))
            stored = await store.read(active_rotation)
            if authorities.current.manifest != told:
                # After a start nobody knows whether the helm before came to telling of a step that it took.
                if stored is not None or told is not None:
                    await store.run(freshen, at=now_us())
                told = authorities.current.manifest
            if stored is not None:
                authority = await store.run(advance, vault, at=now_us())
                if authority is not None:
                    authorities.replace(authority)
                    log.info("the rotation of %s goes on", ", ".join(sorted(s.value for s in stored.rotation.subjects)))
                    continue
        except (BusyError, DatabaseCorruptError) as error:
            log.warning("the rotation waits: %s", error)
        await trio.sleep(PACE)
        with trio.move_on_after(LOOK):
            await store.wait_commit(commits)


@attrs.frozen(kw_only=True)
class _Facts:
    """What the record knows of the members, as far as one state asks about it."""

    live: dict[Identity, Certificate]
    states: dict[str, MemberState]
    manifest_version: int
    """Of the manifest that goes with the state."""
    deny_order: tuple[int, int]
    held: frozenset[str]
    """Devices that hold their newest bundle."""
    begun_at: int
    successors: dict[Intermediate, bytes]
    """The name of an intermediate's new key."""

    @classmethod
    def read(cls, db: Database, stored: StoredRotation, at: int) -> _Facts:
        """Look at everything that the state asks about."""
        first = _first_manifest(stored, certificate_from_der(get_fleet(db).root))
        newest, trust = deny_order(db), first.trust
        both = ((Intermediate.FLEET, trust.next_fleet_ca), (Intermediate.DEVICE, trust.next_device_ca))
        return cls(
            live=live_members(db, at),
            states=member_states(db),
            manifest_version=first.version + MANIFESTS.get(stored.rotation.state, 0),
            deny_order=newest.order if newest.version else (0, 0),
            held=held_bundles(db),
            begun_at=stored.created_at,
            successors={which: key_identifier(ca) for which, ca in both if ca is not None},
        )

    def has_done(self, member: Identity, rotation: Rotation) -> bool:
        """Tell whether a member has done what the state asks of it."""
        said, certificate = self.states.get(member.id, MemberState(id=member.id)), self.live[member]
        if member.role in (Role.CONTROLLER, Role.ADMIN):
            # What they are told is the record itself; a browser shows the newest certificate that it was given.
            return rotation.asked is not Input.USES or self._is_by_successor(member, certificate)
        if said.manifest_version < self.manifest_version:
            return False
        if rotation.asked is not Input.USES:
            return True
        if said.certificate != certificate.id or not self._is_by_successor(member, certificate):
            return False
        if Subject.SIGNING_KEY not in rotation.subjects:
            return True
        return member.id in self.held if member.role is Role.DEVICE else said.deny_order >= self.deny_order

    def _is_by_successor(self, member: Identity, certificate: Certificate) -> bool:
        successor = self.successors.get(member.role.authority)
        if successor is None:
            return True
        # Most of those who are waited for have an old one, and need not be parsed each time.
        return certificate.created_at >= self.begun_at and (
            authority_key(certificate_from_der(certificate.certificate)) == successor
        )


def _with_members(rotation: Rotation, live: Set[Identity]) -> Rotation:
    """Count in who has come, and wait for them as for the others; count out who has gone."""
    roles = {role for subject in rotation.subjects for role in awaited_roles(subject, rotation.state)}
    for member in sorted(live - rotation.members, key=str):
        rotation = rotation.join(member)
        if member.role in roles:
            rotation = attrs.evolve(rotation, waiting=rotation.waiting | {member})
    for member in sorted(rotation.members - live, key=str):
        rotation = rotation.leave(member)
    return rotation


def _move(db: Database, act: Act, vault: Vault, stored: StoredRotation, after: Rotation) -> StoredRotation:
    """Write what a rotation has become, with all that each state on the way means for helm itself."""
    states = list(State)
    for state in states[states.index(stored.rotation.state) + 1 : states.index(after.state)]:
        passing = attrs.evolve(after, state=state, waiting=frozenset())
        stored = _enter(db, act, vault, put_rotation(db, act, stored, passing))
    moved = after.state is not stored.rotation.state
    stored = put_rotation(db, act, stored, after)
    return _enter(db, act, vault, stored) if moved else stored


def _enter(db: Database, act: Act, vault: Vault, stored: StoredRotation) -> StoredRotation:
    set_manifest(db, stored.manifest)
    subjects = stored.rotation.subjects
    match stored.rotation.state:
        case State.SWITCHING if Subject.FLEET_CA in subjects:
            renew_controller(db, load_authority(db, vault, now=moment(act.at)), vault, act)
        case State.DROPPING:
            for subject in subjects:
                _promote(db, vault, SECRETS[subject])
            promote_successors(db)
        case _:
            pass
    return stored


def _promote(db: Database, vault: Vault, name: str) -> None:
    version, wrapped = get_secret(db, next_secret(name))
    secret = vault.unwrap(next_secret(name), version, wrapped)
    put_secret(db, name, SECRET_VERSION, vault.wrap(name, SECRET_VERSION, secret))
    remove_secret(db, next_secret(name))


def _open_root(db: Database, kit: RecoveryKit) -> bytes:
    version, wrapped = get_secret(db, ROOT)
    try:
        return kit.vault().unwrap(ROOT, version, wrapped)
    except StateFileError:
        raise InvalidRequestError("that is not the recovery kit of this fleet") from None


def _first_manifest(stored: StoredRotation, root: x509.Certificate) -> Manifest:
    """Return the manifest that names both generations, judged as of the day on which it was signed."""
    return verify_manifest(stored.manifests[0], root_hash=spki_hash(root.public_key()), now=moment(stored.created_at))
