"""The fleet's authority as its owner looks at it: what there is, when it ends, and who is waited for."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from pharos.helm.accounts.browsers import admin_of
from pharos.helm.ca.authority import Authority
from pharos.helm.model.certificates import Certificate
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.certificates import live_members
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_list
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import Noun, find_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.store.rotations import StoredRotation, active_rotation
from pharos.helm.store.times import microseconds, moment, rfc3339
from pharos.helm.trust.renewals import due, jitter_of
from pharos.wire.pki.keys import certificate_from_der
from pharos.wire.pki.manifest import verify_manifest
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.renewal import renewal_time
from pharos.wire.pki.roles import Identity, Role

Json = dict[str, Any]

_NOUNS: dict[Role, Noun[Any]] = {
    Role.NODE: NODES,
    Role.RELAY: RELAYS,
    Role.DEVICE: DEVICES,
    Role.ADMIN: ADMINS,
}


def authority_view(db: Database, authority: Authority, *, at: int) -> Json:
    """Return the authority as commands show it."""
    fleet, trust, denied = get_fleet(db), authority.trust, deny_list(db)
    manifest = verify_manifest(fleet.manifest, root_hash=spki_hash(trust.root.public_key()), now=moment(at))
    rotation = active_rotation(db)
    return {
        "fleet": fleet.id,
        "root": _certificate(trust.root),
        "fleet_ca": _certificate(trust.fleet_ca),
        "device_ca": None if trust.device_ca is None else _certificate(trust.device_ca),
        "next_fleet_ca": None if trust.next_fleet_ca is None else _certificate(trust.next_fleet_ca),
        "next_device_ca": None if trust.next_device_ca is None else _certificate(trust.next_device_ca),
        "controller": _certificate(authority.controller.certificate)
        | {"renews_at": _time(authority.controller.certificate)},
        "manifest": {"version": manifest.version, "expires_at": manifest.expires.isoformat()},
        "signing_key": bytes(authority.signing.verify_key).hex(),
        "noise_key": authority.noise.public.hex(),
        "deny_list": {"epoch": denied.epoch, "version": denied.version, "entries": len(denied.entries)},
        "rotation": None if rotation is None else _rotation(db, rotation),
        "due": [
            _due(db, member, certificate)
            for member, certificate in sorted(live_members(db, at).items(), key=lambda item: item[1].not_after_at)
            if due(certificate_from_der(certificate.certificate), moment(at))
        ],
    }


def name_of(db: Database, member: Identity) -> str:
    """Return what people call a member."""
    noun = _NOUNS.get(member.role)
    # A browser goes by the name of its admin.
    record_id = admin_of(member) or member.id
    record = None if noun is None else find_record(db, noun, record_id)
    return str(getattr(record, "name", "helm" if member.role is Role.CONTROLLER else member.id))


def _certificate(certificate: x509.Certificate) -> Json:
    return {
        "key": spki_hash(certificate.public_key()).hex(),
        "begins_at": rfc3339(microseconds(certificate.not_valid_before_utc.timestamp())),
        "ends_at": rfc3339(microseconds(certificate.not_valid_after_utc.timestamp())),
    }


def _time(certificate: x509.Certificate) -> str:
    return rfc3339(microseconds(renewal_time(certificate, jitter=jitter_of(certificate)).timestamp()))


def _rotation(db: Database, stored: StoredRotation) -> Json:
    waiting = sorted(stored.rotation.waiting, key=str)
    asked = stored.rotation.asked
    return stored.view() | {
        "asked": None if asked is None else asked.value,
        "waiting": [{"role": one.role.value, "id": one.id, "name": name_of(db, one)} for one in waiting],
    }


def _due(db: Database, member: Identity, certificate: Certificate) -> Json:
    return {
        "role": member.role.value,
        "id": member.id,
        "name": name_of(db, member),
        "ends_at": rfc3339(certificate.not_after_at),
    }
