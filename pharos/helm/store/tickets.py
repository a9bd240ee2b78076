"""Rows of the tickets table; a ticket is consumed by one conditional UPDATE."""

from __future__ import annotations

import sqlite3

from pharos.helm.model.tickets import Ticket
from pharos.helm.store.database import Database
from pharos.wire.ids import DeviceId, TicketId

_COLUMNS = "id, device_name, psk, proof, expires_at, used_keys, device_id"


def add_ticket(db: Database, ticket: Ticket, *, at: int, actor: str) -> None:
    """Write a new ticket; its id is random, so no conflict is expected."""
    db.execute(
        "INSERT INTO tickets (id, device_name, psk, proof, expires_at, created_at, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (ticket.id, ticket.device_name, ticket.psk, ticket.proof, ticket.expires_at, at, actor),
    )


def find_ticket(db: Database, ticket_id: TicketId) -> Ticket | None:
    """Return the ticket, used or not, expired or not."""
    row = db.execute(f"SELECT {_COLUMNS} FROM tickets WHERE id = ?", (ticket_id,)).fetchone()  # noqa: S608 -- constant
    return None if row is None else _ticket(row)


def consume_ticket(db: Database, ticket_id: TicketId, *, keys: bytes, device_id: DeviceId, at: int) -> bool:
    """Use the ticket up for these keys; False where it is used or expired, so that two racing claims get one True."""
    row = db.execute(
        "UPDATE tickets SET used_at = ?, used_keys = ?, device_id = ?"
        " WHERE id = ? AND used_at IS NULL AND expires_at > ? RETURNING id",
        (at, keys, device_id, ticket_id, at),
    ).fetchone()
    return row is not None


def _ticket(row: sqlite3.Row) -> Ticket:
    values = dict(row)
    device_id = values["device_id"]
    return Ticket(
        **values | {"id": TicketId(values["id"]), "device_id": None if device_id is None else DeviceId(device_id)}
    )
