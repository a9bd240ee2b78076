"""Devices for people who have a WireGuard, AmneziaWG or Xray app and no caravel: their keys are made in a browser."""

from __future__ import annotations

import attrs

from pharos.helm.accounts.claim import check_admitted
from pharos.helm.accounts.devices import check_device_limit
from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.accounts.users import check_note
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.profiles.configuration import digests_of
from pharos.helm.profiles.record import read_record_for
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_list
from pharos.helm.store.devices import add_device
from pharos.helm.store.exported import put_ways
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.pools import take_addresses
from pharos.helm.store.records import get_record
from pharos.helm.store.users import USERS
from pharos.wire.errors import LocalProtocolError
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import check_public_key


def export_device(
    db: Database, act: Act, *, name: str, keys: DeviceKeys, user_id: str | None = None, note: str = ""
) -> Device:
    """Record a device whose private keys are in a browser, and stay there: nobody has proven to have them.

    Raises: InvalidRequestError — the name, the note or a key does not fit. NotFoundError — there is no such user.
    NotAllowedError — the user is disabled or has expired. ConflictError — a key is somebody's, the user has as many
    devices as they may have, or no address is left.
    """
    check_device_name(name)
    check_note(note)
    _check_keys(db, keys)
    if user_id is not None:
        check_admitted(get_record(db, USERS, user_id), act.at)
        check_device_limit(db, user_id)
    address4, address6 = take_addresses(db)
    device = Device(
        id=DeviceId(fresh_id()),
        name=name,
        user_id=user_id,
        note=note,
        sealing_key=keys.sealing,
        derive_key=keys.derive,
        noise_key=keys.noise,
        awg_key=keys.awg,
        address4=address4,
        address6=address6,
        exported=True,
    )
    added = add_device(db, device, act, verb="exported")
    put_ways(db, added.id, digests_of(read_record_for(db, added.id), added, new=True))
    next_revision(db, profiles=False)
    return added


def _check_keys(db: Database, keys: DeviceKeys) -> None:
    for use, key in attrs.asdict(keys).items():
        try:
            check_public_key(key)
        except LocalProtocolError as error:
            raise InvalidRequestError(f"the {use} key cannot be used: {error}") from error
    if len(set(keys.in_order())) < len(keys.in_order()):
        raise InvalidRequestError("a device has a key of its own for each use; one key cannot serve two")
    nodes = {key for node in list_nodes(db) for key in (node.awg_key, node.derive_key)}
    if nodes & set(keys.in_order()):
        raise ConflictError("one of these public keys belongs to a node")
    if deny_list(db).denies_tunnel_key(keys.awg):
        raise ConflictError("the AmneziaWG key was revoked, and can never be used again")
