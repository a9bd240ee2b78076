"""Enrol a device: the ticket is consumed, the device recorded and certified, in one transaction."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import attrs

from pharos.helm.accounts.devices import check_device_limit
from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import InvalidRequestError, NotAllowedError
from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.model.tickets import Ticket
from pharos.helm.model.users import UserState
from pharos.helm.store.certificates import keep_certificate
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import add_device, bind_certificate, certificate_of, get_device, is_allowed
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.pools import take_addresses
from pharos.helm.store.records import get_record
from pharos.helm.store.tickets import consume_ticket, find_ticket
from pharos.helm.store.times import moment
from pharos.helm.store.users import USERS
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role

# Every way in which a ticket can fail tells the same: which one it was is nobody's business.
REFUSED: Final = "the ticket is used up, expired or unknown"


@attrs.frozen(kw_only=True)
class DeviceClaim:
    """What a device asks with; the possession of every key was proven before this is made."""

    ticket_id: TicketId
    proof: bytes = attrs.field(repr=False)
    csr: bytes
    keys: DeviceKeys
    device_name: str
    """Empty: the ticket's own."""


def claim_ticket(db: Database, act: Act, authority: Authority, claim: DeviceClaim) -> tuple[Device, bytes]:
    """Return the device and its certificate (DER).

    A claim with the same keys as the one that consumed the ticket gets the same answer again, for a reply may be lost.

    Raises: NotAllowedError — the ticket does not admit this claim. ConflictError — a key belongs to another device, its
    user has as many devices as they may have, or no address is left. InvalidRequestError — the name or the keys do not
    fit. RemoteProtocolError — the CSR proves nothing.
    """
    ticket = find_ticket(db, claim.ticket_id)
    if ticket is None or not hmac.compare_digest(ticket.proof, hashlib.sha256(claim.proof).digest()):
        raise NotAllowedError(REFUSED)
    keys_hash = _hash_of(claim)
    if ticket.used_keys is not None:
        return _repeat(db, act, ticket, keys_hash)
    if len(set(claim.keys.in_order())) < len(claim.keys.in_order()):
        raise InvalidRequestError("a device has a key of its own for each use; one key cannot serve two")
    if ticket.user_id is not None:
        _check_user(db, act, ticket.user_id)
    device = add_device(db, _new_device(db, claim, ticket), act)
    if not consume_ticket(db, claim.ticket_id, act, keys=keys_hash, device_id=device.id):
        raise NotAllowedError(REFUSED)
    certificate = authority.certify_device(claim.csr, device.id, claim.ticket_id, now=moment(act.at))
    kept = keep_certificate(db, act, certificate, Role.DEVICE, device.id)
    der = certificate_to_der(certificate)
    bind_certificate(db, device.id, fingerprint=kept.id, spki=kept.spki, certificate=der, not_after=kept.not_after_at)
    next_revision(db, profiles=False)
    return device, der


def _repeat(db: Database, act: Act, ticket: Ticket, keys_hash: bytes) -> tuple[Device, bytes]:
    if ticket.device_id is None or not hmac.compare_digest(ticket.used_keys or b"", keys_hash):
        raise NotAllowedError(REFUSED)
    if not is_allowed(db, ticket.device_id, act.at):
        raise NotAllowedError(REFUSED)
    return get_device(db, ticket.device_id), certificate_of(db, ticket.device_id)


def _check_user(db: Database, act: Act, user_id: str) -> None:
    user = get_record(db, USERS, user_id)
    if user.state is not UserState.ACTIVE or (user.expires_at is not None and user.expires_at <= act.at):
        raise NotAllowedError(REFUSED)
    check_device_limit(db, user_id)


def _new_device(db: Database, claim: DeviceClaim, ticket: Ticket) -> Device:
    address4, address6 = take_addresses(db)
    keys = claim.keys
    return Device(
        id=DeviceId(fresh_id()),
        name=check_device_name(claim.device_name or ticket.device_name),
        user_id=ticket.user_id,
        sealing_key=keys.sealing,
        derive_key=keys.derive,
        noise_key=keys.noise,
        awg_key=keys.awg,
        address4=address4,
        address6=address6,
    )


def _hash_of(claim: DeviceClaim) -> bytes:
    digest = hashlib.sha256(spki_hash(verify_csr(claim.csr)))
    for key in claim.keys.in_order():
        digest.update(key)
    return digest.digest()
