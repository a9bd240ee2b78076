"""Invite a device: one link, shown once; the record keeps what can check it and nothing that can use it."""

from __future__ import annotations

import datetime
import secrets
from typing import Final

import attrs

from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import InvalidRequestError
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.tickets import Ticket
from pharos.helm.store.database import Database, microseconds
from pharos.helm.store.outbox import append_entry
from pharos.helm.store.relays import list_relays
from pharos.helm.store.tickets import add_ticket
from pharos.wire.ids import TicketId
from pharos.wire.pki.profile import spki_hash
from pharos.wire.seal.ticket import (
    MAX_BEACONS,
    TICKET_ID_LENGTH,
    TICKET_SECRET_LENGTH,
    BeaconAddress,
    TicketLink,
)

SHORTEST: Final = datetime.timedelta(minutes=1)
# helm may be asleep when the device comes, so a ticket can outlive a holiday weekend, but not be forgotten.
LONGEST: Final = datetime.timedelta(days=7)
MAX_NAME: Final = 64


@attrs.frozen(kw_only=True)
class Invitation:
    """A ticket as its maker hands it on."""

    link: str = attrs.field(repr=False)
    """Contains the secret; it is shown once and kept nowhere."""
    expires_at: datetime.datetime


def invite_device(
    db: Database,
    authority: Authority,
    vault: Vault,
    *,
    device_name: str,
    lifetime: datetime.timedelta,
    actor: str,
    now: datetime.datetime,
) -> Invitation:
    """Write a ticket for one new device.

    Raises: InvalidRequestError — the name or the lifetime does not fit, or no relay could carry the device.
    """
    check_device_name(device_name)
    if not SHORTEST <= lifetime <= LONGEST:
        raise InvalidRequestError(f"a ticket lives from one minute to seven days, not {lifetime}")
    relays = [relay for relay in list_relays(db) if relay.state is NodeState.ACTIVE]
    if not relays:
        raise InvalidRequestError("no relay could carry the device here; add one first: helm relays add")
    link = TicketLink(
        beacons=tuple(
            BeaconAddress(relay=relay.id, host=relay.address.lower(), port=relay.ingress_port)
            for relay in relays[:MAX_BEACONS]
        ),
        root_hash=spki_hash(authority.trust.root.public_key()),
        helm_key=authority.noise.public,
        ticket_id=TicketId(secrets.token_bytes(TICKET_ID_LENGTH)),
        secret=secrets.token_bytes(TICKET_SECRET_LENGTH),
    )
    keys = link.keys()
    expires_at = now + lifetime
    at = microseconds(now.timestamp())
    ticket = Ticket(
        id=link.ticket_id,
        device_name=device_name,
        psk=vault.wrap(psk_name(link.ticket_id), PSK_VERSION, keys.psk),
        proof=keys.proof_hash,
        expires_at=microseconds(expires_at.timestamp()),
        used_keys=None,
        device_id=None,
    )
    add_ticket(db, ticket, at=at, actor=actor)
    append_entry(
        db, at=at, kind="ticket_made", subject=link.ticket_id.hex(), actor=actor, detail=f"for {device_name!r}"
    )
    return Invitation(link=link.render(), expires_at=expires_at)


PSK_VERSION: Final = 1


def psk_name(ticket_id: TicketId) -> str:
    """Return the name under which a ticket's psk is wrapped."""
    return f"ticket/{ticket_id.hex()}"


def check_device_name(name: str) -> str:
    """Return ``name`` if it can stand in a list: people call devices what they like, in any script.

    Raises: InvalidRequestError — empty, too long, padded with blanks, or with control characters in it.
    """
    if not 0 < len(name) <= MAX_NAME or name != name.strip() or not name.isprintable():
        raise InvalidRequestError(f"a device's name has 1 to {MAX_NAME} printable characters")
    return name
