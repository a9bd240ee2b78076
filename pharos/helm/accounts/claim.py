"""Enrol a device, by a ticket or a login: it is let in, recorded and certified, in one transaction."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import attrs
from cryptography import x509

from pharos.helm.accounts.devices import check_device_limit
from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, InvalidRequestError, NotAllowedError
from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.model.tickets import Ticket, TicketState
from pharos.helm.model.users import User, UserState
from pharos.helm.store.certificates import keep_certificate
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.devices import (
    add_device,
    bind_certificate,
    certificate_of,
    find_by_noise_key,
    get_device,
    is_allowed,
)
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.pools import take_addresses
from pharos.helm.store.records import get_record
from pharos.helm.store.settings import setting
from pharos.helm.store.tickets import consume_ticket, find_ticket
from pharos.helm.store.times import moment
from pharos.helm.store.users import USERS
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role

# Every way in which a ticket can fail tells the same: which one it was is nobody's business.
REFUSED: Final = "the ticket is used up, expired or unknown"
NOT_SERVED: Final = "this fleet has no account logins; ask whoever runs it for a ticket"


@attrs.frozen(kw_only=True)
class NewDevice:
    """What every new device brings; the possession of every key was proven before this is made."""

    csr: bytes
    keys: DeviceKeys
    device_name: str


@attrs.frozen(kw_only=True)
class DeviceClaim(NewDevice):
    """What a device asks with that has a ticket. No name: the ticket's own."""

    ticket_id: TicketId
    proof: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class LoginClaim(NewDevice):
    """What a device asks with for which somebody has logged in."""

    user_id: str
    how: str
    """For the audit."""


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
    if ticket.state(act.at) is TicketState.OPEN and ticket.user_id is not None:
        # Whoever has the link is told what is wrong with its user, once it is known that they have it.
        check_admitted(get_record(db, USERS, ticket.user_id), act.at)
        check_device_limit(db, ticket.user_id)
    device = _add(db, act, claim, name=claim.device_name or ticket.device_name, user_id=ticket.user_id)
    if not consume_ticket(db, claim.ticket_id, act, keys=keys_hash, device_id=device.id):
        raise NotAllowedError(REFUSED)
    return device, _certified(
        db, act, device, authority.certify_device(claim.csr, device.id, claim.ticket_id, now=moment(act.at))
    )


def claim_login(db: Database, act: Act, authority: Authority, claim: LoginClaim) -> tuple[Device, bytes]:
    """Return the device and its certificate (DER). All that admits it is looked at again: a login may have waited.

    Who logs in again with the keys of a device of theirs gets its certificate again, for a reply may be lost.

    Raises: NotAllowedError — the fleet has no logins any more, or the user is kept out. Else as `claim_ticket`.
    """
    if not setting(db, "account.sync"):
        raise NotAllowedError(NOT_SERVED)
    user = get_record(db, USERS, claim.user_id)
    check_admitted(user, act.at)
    known = find_by_noise_key(db, claim.keys.noise)
    if known is not None and known.user_id == user.id and known.keys == claim.keys:
        return _again(db, act, known, claim)
    check_device_limit(db, user.id)
    device = _add(db, act, claim, name=claim.device_name, user_id=user.id)
    certificate = authority.certify_login(claim.csr, device.id, user.id, now=moment(act.at))
    view = USERS.view(user)
    detail = f"by {claim.how}, {device.name!r}"
    record_change(db, act, "user", "logged_in", subject=user.id, version=user.version, body=view, detail=detail)
    return device, _certified(db, act, device, certificate)


def check_admitted(user: User, at: int) -> None:
    """Raises: NotAllowedError — the user is disabled or has expired."""
    if user.state is not UserState.ACTIVE:
        raise NotAllowedError(f"the account of {user.name} is disabled; ask whoever runs the fleet")
    if user.expires_at is not None and user.expires_at <= at:
        raise NotAllowedError(f"the account of {user.name} has expired; ask whoever runs the fleet")


def _repeat(db: Database, act: Act, ticket: Ticket, keys_hash: bytes) -> tuple[Device, bytes]:
    if ticket.device_id is None or not hmac.compare_digest(ticket.used_keys or b"", keys_hash):
        raise NotAllowedError(REFUSED)
    if not is_allowed(db, ticket.device_id, act.at):
        raise NotAllowedError(REFUSED)
    return get_device(db, ticket.device_id), certificate_of(db, ticket.device_id)


def _again(db: Database, act: Act, device: Device, claim: LoginClaim) -> tuple[Device, bytes]:
    if not is_allowed(db, device.id, act.at):
        raise NotAllowedError("this device was revoked or disabled, or has expired")
    certificate = certificate_of(db, device.id)
    if spki_hash(certificate_from_der(certificate).public_key()) != spki_hash(verify_csr(claim.csr)):
        raise ConflictError("one of these public keys belongs to another device")
    return device, certificate


def _add(db: Database, act: Act, new: NewDevice, *, name: str, user_id: str | None) -> Device:
    if len(set(new.keys.in_order())) < len(new.keys.in_order()):
        raise InvalidRequestError("a device has a key of its own for each use; one key cannot serve two")
    address4, address6 = take_addresses(db)
    keys = new.keys
    device = Device(
        id=DeviceId(fresh_id()),
        name=check_device_name(name),
        user_id=user_id,
        sealing_key=keys.sealing,
        derive_key=keys.derive,
        noise_key=keys.noise,
        awg_key=keys.awg,
        address4=address4,
        address6=address6,
    )
    return add_device(db, device, act)


def _certified(db: Database, act: Act, device: Device, certificate: x509.Certificate) -> bytes:
    kept = keep_certificate(db, act, certificate, Role.DEVICE, device.id)
    der = certificate_to_der(certificate)
    bind_certificate(db, device.id, fingerprint=kept.id, spki=kept.spki, certificate=der, not_after=kept.not_after_at)
    next_revision(db, profiles=False)
    return der


def _hash_of(claim: DeviceClaim) -> bytes:
    digest = hashlib.sha256(spki_hash(verify_csr(claim.csr)))
    for key in claim.keys.in_order():
        digest.update(key)
    return digest.digest()
