"""Seal a device's profile when it has changed, and hand out the newest bundle."""

from __future__ import annotations

import hashlib

from pharos.helm.ca.authority import Authority
from pharos.helm.model.devices import Device
from pharos.helm.profiles.build import build_profile
from pharos.helm.store.bundles import Bundle, find_bundle, note_checked, put_bundle
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.wire.profile import render_profile
from pharos.wire.seal.envelope import seal_bundle


def current_bundle(db: Database, authority: Authority, device: Device, *, at: int) -> Bundle:
    """Return the device's newest bundle, sealed anew if its profile is not what it was.

    ``at`` is in microseconds since 1970. helm keeps ciphertext and the profile's hash, and cannot open either.
    """
    fleet = get_fleet(db)
    profile = render_profile(build_profile(fleet, device, list_nodes(db), list_relays(db)))
    profile_hash = hashlib.sha256(profile).digest()
    known = find_bundle(db, device.id)
    if known is not None and known.epoch == fleet.epoch and known.profile_hash == profile_hash:
        note_checked(db, device.id)
        return known
    revision = known.revision + 1 if known is not None and known.epoch == fleet.epoch else 1
    bundle = Bundle(
        epoch=fleet.epoch,
        revision=revision,
        profile_hash=profile_hash,
        sealed=seal_bundle(
            profile,
            fleet=fleet.id,
            device=device.id,
            sealing_key=device.keys.sealing,
            epoch=fleet.epoch,
            revision=revision,
            issued=at // 1_000_000,
            manifest_version=authority.manifest_version,
            signing_key=authority.signing,
        ),
        sealed_at=at,
    )
    put_bundle(db, device.id, bundle)
    note_checked(db, device.id)
    return bundle
