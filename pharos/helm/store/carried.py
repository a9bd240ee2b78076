"""What m0002 carries over from the first schema that SQL alone cannot: addresses, ticket ids, certificates."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlite_utils import Database

from pharos.helm.model.certificates import CertificateState, facts_of
from pharos.helm.model.pools import last_host_of
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.pki.keys import certificate_from_der
from pharos.wire.pki.roles import Role

_FIRST_POOL: Final = "00000000-0000-7000-8000-000000000001"
_TICKET: Final = (
    "device_name, psk, proof, expires_at, created_at, created_by, used_at, used_keys, device_id, created_at, created_by"
)

_OF_DEVICES: Final = (
    "SELECT device_id, device_certificates.certificate, state, created_at"
    " FROM device_certificates JOIN devices ON devices.id = device_id"
)


def carry_pool(db: Database) -> None:
    """Make the fleet's two networks its first pool."""
    for network4, network6, next_host, at in _rows(db, "SELECT pool4, pool6, next_host, created_at FROM fleet"):
        db.execute(
            "INSERT INTO pools (id, name, network4, network6, next_host, last_host, preferred, version,"
            " created_at, updated_at, updated_by) VALUES (?, 'devices', ?, ?, ?, ?, 1, 1, ?, ?, 'helm')",
            (_FIRST_POOL, network4, network6, next_host, last_host_of(network4), at, at),
        )


def read_tickets(db: Database) -> list[Sequence[Any]]:
    """Return the tickets as they were, their ids in hexadecimal: every noun's id is text now."""
    return [(ticket_id.hex(), *rest) for ticket_id, *rest in _rows(db, f"SELECT id, {_TICKET} FROM tickets")]  # noqa: S608


def write_tickets(db: Database, tickets: list[Sequence[Any]]) -> None:
    """Write them into their new table."""
    columns = f"id, {_TICKET.removesuffix(', created_at, created_by')}, updated_at, updated_by"
    for ticket in tickets:
        db.execute(f"INSERT INTO tickets ({columns}) VALUES ({', '.join('?' for _ in ticket)})", ticket)  # noqa: S608


def carry_certificates(db: Database) -> None:
    """Fill the certificates table with what was issued so far; what does not parse was never a certificate."""
    for query, role in (
        ("SELECT controller_id, controller, 'active', created_at FROM fleet", Role.CONTROLLER),
        ("SELECT id, certificate, state, created_at FROM nodes", Role.NODE),
        ("SELECT id, certificate, state, created_at FROM relays", Role.RELAY),
        (
            _OF_DEVICES,
            Role.DEVICE,
        ),
    ):
        for subject, der, state, at in _rows(db, query):
            try:
                facts = facts_of(certificate_from_der(bytes(der)), role, subject)
            except RemoteProtocolError:
                continue
            kept = CertificateState.REVOKED if state == "revoked" else CertificateState.ACTIVE
            db.execute(
                "INSERT INTO certificates (id, role, subject, serial, spki, certificate, state, not_before_at,"
                " not_after_at, version, created_at, updated_at, updated_by)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, 'helm')"
                " ON CONFLICT DO NOTHING",
                (
                    *(facts.id, facts.role, facts.subject, facts.serial, facts.spki, facts.certificate, kept.value),
                    *(facts.not_before_at, facts.not_after_at, at, at),
                ),
            )


def _rows(db: Database, query: str) -> Iterator[Sequence[Any]]:
    # Tuples, whatever the connection makes of rows; and all at once, for the caller writes to the same database.
    cursor = db.conn.cursor()
    cursor.row_factory = None
    rows: list[sqlite3.Row] = cursor.execute(query).fetchall()
    return iter(rows)
