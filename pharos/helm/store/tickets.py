"""The tickets table; a ticket is consumed by one conditional UPDATE."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.model.tickets import Ticket
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun, find_record, get_record
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.world import wall_ns

_STATE: Final = (
    "CASE WHEN used_at IS NOT NULL THEN 'used' WHEN withdrawn_at IS NOT NULL THEN 'withdrawn'"
    " WHEN expires_at <= ? THEN 'expired' ELSE 'open' END = ?"
)


def _in_state(state: str) -> tuple[str, list[Any]]:
    return _STATE, [_now(), state]


def _now() -> int:
    return wall_ns() // 1000


TICKETS: Final = Noun(
    kind="ticket",
    table="tickets",
    columns=(
        *("id", "device_name", "user_id", "psk", "proof", "expires_at", "created_by"),
        *("used_at", "used_keys", "device_id", "withdrawn_at"),
    ),
    model=Ticket,
    hidden=frozenset({"psk", "proof", "used_keys"}),
    filters={"state": _in_state, "user": "user_id = ?", "device": "device_id = ?"},
    sorts={"created_at": "created_at"},
    enrich=lambda ticket: {"state": ticket.state(_now()).value},
)


def find_ticket(db: Database, ticket_id: TicketId) -> Ticket | None:
    """Return the ticket, used or not, expired or not."""
    return find_record(db, TICKETS, ticket_id.hex())


def consume_ticket(db: Database, ticket_id: TicketId, act: Act, *, keys: bytes, device_id: DeviceId) -> bool:
    """Use the ticket up for these keys, so that of two racing claims one gets True.

    False where it is used, withdrawn or expired.
    """
    row = db.execute(
        "UPDATE tickets SET used_at = ?, used_keys = ?, device_id = ?,"
        " version = version + 1, updated_at = ?, updated_by = ?"
        " WHERE id = ? AND used_at IS NULL AND withdrawn_at IS NULL AND expires_at > ? RETURNING id",
        (act.at, keys, device_id, act.at, act.actor, ticket_id.hex(), act.at),
    ).fetchone()
    if row is None:
        return False
    used = get_record(db, TICKETS, ticket_id.hex())
    record_change(
        db,
        act,
        TICKETS.kind,
        "used",
        subject=used.id,
        version=used.version,
        body=TICKETS.view(used),
        detail=f"for {used.device_name!r}",
    )
    return True
