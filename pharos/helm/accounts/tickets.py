"""Invite a device: one link, shown once; the record keeps what can check it and nothing that can use it.

And withdraw what nobody has used yet.
"""

from __future__ import annotations

import datetime
from typing import Final

import attrs

from pharos.helm.accounts.users import check_name
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.tickets import Ticket, TicketState
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import add_record, change_record, check_version, get_record
from pharos.helm.store.relays import list_relays
from pharos.helm.store.tickets import TICKETS
from pharos.helm.store.times import moment
from pharos.helm.store.users import USERS
from pharos.wire.ids import TicketId
from pharos.wire.pki.profile import spki_hash
from pharos.wire.seal.ticket import (
    MAX_BEACONS,
    TICKET_ID_LENGTH,
    TICKET_SECRET_LENGTH,
    BeaconAddress,
    FleetLink,
    TicketLink,
)
from pharos.wire.world import random_bytes

# Whoever is invited has to find the telephone, and install what reads the link.
SHORTEST: Final = datetime.timedelta(minutes=15)
# helm may be asleep when the device comes, so a ticket can outlive a holiday weekend, but not be forgotten.
LONGEST: Final = datetime.timedelta(days=7)


@attrs.frozen(kw_only=True)
class Invitation:
    """A ticket as its maker hands it on."""

    ticket: Ticket
    link: str = attrs.field(repr=False)
    """Contains the secret; it is shown once and kept nowhere."""
    expires_at: datetime.datetime


def invite_device(
    db: Database,
    act: Act,
    authority: Authority,
    vault: Vault,
    *,
    device_name: str,
    lifetime: datetime.timedelta,
    user_id: str | None = None,
) -> Invitation:
    """Write a ticket for one new device, somebody's or nobody's in particular.

    Raises: InvalidRequestError — the name or the lifetime does not fit, or no relay could carry the device.
    NotFoundError — there is no such user.
    """
    check_device_name(device_name)
    if user_id is not None:
        get_record(db, USERS, user_id)
    if not SHORTEST <= lifetime <= LONGEST:
        raise InvalidRequestError(f"a ticket lives from 15 minutes to 7 days, not {lifetime}")
    link = TicketLink(
        beacons=_beacons(db),
        root_hash=spki_hash(authority.trust.root.public_key()),
        helm_key=authority.noise.public,
        ticket_id=TicketId(random_bytes(TICKET_ID_LENGTH)),
        secret=random_bytes(TICKET_SECRET_LENGTH),
    )
    keys = link.keys()
    ticket = Ticket(
        id=link.ticket_id.hex(),
        device_name=device_name,
        user_id=user_id,
        psk=vault.wrap(psk_name(link.ticket_id), PSK_VERSION, keys.psk),
        proof=keys.proof_hash,
        expires_at=act.at + lifetime // datetime.timedelta(microseconds=1),
        created_by=act.actor,
    )
    made = add_record(db, TICKETS, ticket, act, verb="made", detail=f"for {device_name!r}")
    return Invitation(ticket=made, link=link.render(), expires_at=moment(made.expires_at))


def fleet_link(db: Database, authority: Authority) -> FleetLink:
    """Return the link by which devices log in: no secret, and good for as long as the fleet's root and a relay are.

    Raises: InvalidRequestError — no relay could carry a device.
    """
    return FleetLink(beacons=_beacons(db), root_hash=spki_hash(authority.trust.root.public_key()))


def _beacons(db: Database) -> tuple[BeaconAddress, ...]:
    relays = [relay for relay in list_relays(db) if relay.state is NodeState.ACTIVE]
    if not relays:
        raise InvalidRequestError(
            "no relay could carry the device here; add one first: helm relays add, or name helm's own in tickets by"
            " beacon_address"
        )
    return tuple(
        BeaconAddress(relay=relay.id, host=relay.address.lower(), port=relay.ingress_port)
        for relay in relays[:MAX_BEACONS]
    )


def withdraw_ticket(db: Database, act: Act, ticket_id: str, version: int) -> Ticket:
    """Make a ticket that nobody has used worthless.

    Raises: ConflictError — it is not open any more. StaleVersionError, NotFoundError.
    """
    ticket = get_record(db, TICKETS, ticket_id)
    check_version(TICKETS, ticket, version)
    if ticket.state(act.at) is not TicketState.OPEN:
        raise ConflictError(f"a ticket that is {ticket.state(act.at).value} cannot be withdrawn")
    changes = {"withdrawn_at": act.at}
    detail = f"for {ticket.device_name!r}"
    return change_record(db, TICKETS, ticket_id, version, changes, act, verb="withdrawn", detail=detail)


PSK_VERSION: Final = 1


def psk_name(ticket_id: TicketId) -> str:
    """Return the name under which a ticket's psk is wrapped."""
    return f"ticket/{ticket_id.hex()}"


def check_device_name(name: str) -> str:
    """Return ``name`` if it can stand in a list: people call devices what they like, in any script.

    Raises: InvalidRequestError — empty, too long, padded with blanks, or with control characters in it.
    """
    return check_name(name, "device")
