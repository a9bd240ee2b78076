"""Seal a device's profile when it has changed, and hand out the newest bundle."""

from __future__ import annotations

import hashlib

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import NotFoundError
from pharos.helm.model.devices import Device
from pharos.helm.profiles.record import read_record_for
from pharos.helm.profiles.render import Renderer
from pharos.helm.store.bundles import Bundle, find_bundle, is_checked, mark_stale, note_checked, put_bundle
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.wire.ids import DeviceId, FleetId
from pharos.wire.seal.envelope import seal_bundle


def current_bundle(db: Database, authority: Authority, device: Device, *, at: int) -> Bundle:
    """Return the device's newest bundle, sealed anew if its profile is not what it was.

    ``at`` is in microseconds since 1970. helm keeps ciphertext and the profile's hash, and cannot open either.
    """
    known = find_bundle(db, device.id)
    if known is not None and is_checked(db, device.id):
        # Nothing that profiles are made of has changed since.
        return known
    record = read_record_for(db, device.id)
    profile = Renderer(record).render(device)
    bundle = next_bundle(
        profile, known, fleet=record.fleet.id, epoch=record.fleet.epoch, device=device, authority=authority, at=at
    )
    if bundle is not known:
        put_bundle(db, device.id, bundle)
    note_checked(db, device.id)
    return bundle


def next_bundle(
    profile: bytes,
    known: Bundle | None,
    *,
    fleet: FleetId,
    epoch: int,
    device: Device,
    authority: Authority,
    at: int,
) -> Bundle:
    """Return the bundle of a rendered profile: ``known`` if it is that, signed by the key in use, or the next."""
    # The key is hashed, too: a bundle that was being sealed while the signing key changed is told by it, and replaced.
    profile_hash = hashlib.sha256(bytes(authority.signing.verify_key) + profile).digest()
    if known is not None and known.epoch == epoch and known.profile_hash == profile_hash:
        return known
    revision = known.revision + 1 if known is not None and known.epoch == epoch else 1
    sealed = seal_bundle(
        profile,
        fleet=fleet,
        device=device.id,
        sealing_key=device.sealing_key,
        epoch=epoch,
        revision=revision,
        issued=at // 1_000_000,
        manifest_version=authority.manifest_version,
        signing_key=authority.signing,
    )
    return Bundle(epoch=epoch, revision=revision, profile_hash=profile_hash, sealed=sealed, sealed_at=at)


def order_reseal(db: Database, act: Act, device_id: DeviceId | None = None) -> int:
    """Have profiles sealed anew though nothing in them changed, of one device or of all; return how many there are.

    Raises: NotFoundError — there is no profile of this device.
    """
    count = mark_stale(db, device_id)
    if device_id is not None and not count:
        raise NotFoundError(f"there is no profile {device_id!r}")
    subject = device_id or get_fleet(db).id
    record_change(db, act, "profiles", "resealed", subject=subject, version=1, body=None, detail=f"{count} profiles")
    next_revision(db)
    return count
