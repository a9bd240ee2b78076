"""Enrol a device: the ticket is consumed, the device recorded and certified, in one transaction."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
from typing import Final

import attrs

from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import InvalidRequestError, NotAllowedError
from pharos.helm.model.devices import Device, DeviceKeys, DeviceState
from pharos.helm.model.tickets import Ticket
from pharos.helm.onboard.agents import new_id
from pharos.helm.profiles.build import device_addresses
from pharos.helm.store.database import Database, microseconds
from pharos.helm.store.devices import add_certificate, add_device, certificate_of, get_device
from pharos.helm.store.fleet import get_fleet, next_revision, take_host
from pharos.helm.store.outbox import append_entry
from pharos.helm.store.tickets import consume_ticket, find_ticket
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.profile import spki_hash

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


def claim_ticket(
    db: Database, authority: Authority, claim: DeviceClaim, *, now: datetime.datetime
) -> tuple[Device, bytes]:
    """Return the device and its certificate (DER).

    A claim with the same keys as the one that consumed the ticket gets the same answer again, for a reply may be lost.

    Raises: NotAllowedError — the ticket does not admit this claim. ConflictError — a key belongs to another device.
    InvalidRequestError — the name or the keys do not fit. RemoteProtocolError — the CSR proves nothing.
    """
    at = microseconds(now.timestamp())
    ticket = find_ticket(db, claim.ticket_id)
    if ticket is None or not hmac.compare_digest(ticket.proof, hashlib.sha256(claim.proof).digest()):
        raise NotAllowedError(REFUSED)
    keys_hash = _hash_of(claim)
    if ticket.used_keys is not None:
        return _repeat(db, ticket, keys_hash)
    if len(set(claim.keys.in_order())) < len(claim.keys.in_order()):
        raise InvalidRequestError("a device has a key of its own for each use; one key cannot serve two")
    device = _new_device(db, claim, ticket, now)
    add_device(db, device, actor=f"ticket {claim.ticket_id.hex()}")
    if not consume_ticket(db, claim.ticket_id, keys=keys_hash, device_id=device.id, at=at):
        raise NotAllowedError(REFUSED)
    certificate = authority.certify_device(claim.csr, device.id, claim.ticket_id, now=now)
    der = certificate_to_der(certificate)
    add_certificate(
        db,
        device.id,
        fingerprint=hashlib.sha256(der).hexdigest(),
        spki=spki_hash(certificate.public_key()),
        certificate=der,
        not_after=microseconds(certificate.not_valid_after_utc.timestamp()),
    )
    next_revision(db)
    append_entry(db, at=at, kind="device_enrolled", subject=device.id, actor="device", detail=device.name)
    return device, der


def _repeat(db: Database, ticket: Ticket, keys_hash: bytes) -> tuple[Device, bytes]:
    if ticket.device_id is None or not hmac.compare_digest(ticket.used_keys or b"", keys_hash):
        raise NotAllowedError(REFUSED)
    device = get_device(db, ticket.device_id)
    if device.state is not DeviceState.ACTIVE:
        raise NotAllowedError(REFUSED)
    return device, certificate_of(db, device.id)


def _new_device(db: Database, claim: DeviceClaim, ticket: Ticket, now: datetime.datetime) -> Device:
    fleet = get_fleet(db)
    try:
        address4, address6 = device_addresses(fleet, take_host(db))
    except IndexError as error:
        raise InvalidRequestError(str(error)) from error
    return Device(
        id=DeviceId(new_id(now)),
        name=check_device_name(claim.device_name or ticket.device_name),
        state=DeviceState.ACTIVE,
        keys=claim.keys,
        address4=address4,
        address6=str(ipaddress.ip_address(address6)),
        version=1,
        created_at=microseconds(now.timestamp()),
    )


def _hash_of(claim: DeviceClaim) -> bytes:
    digest = hashlib.sha256(spki_hash(verify_csr(claim.csr)))
    for key in claim.keys.in_order():
        digest.update(key)
    return digest.digest()
