"""Text that helm's own checks would refuse, in every field that a page shows: for what a page makes of it."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.ca.authority import Authority
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, Role, Token
from pharos.helm.model.alerts import Alert, AlertMute, AlertTarget, Severity
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.tickets import Ticket
from pharos.helm.model.users import Group, User
from pharos.helm.store.admins import ADMINS, TOKENS
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import ALERT_MUTES, ALERT_TARGETS
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.nodes import NODES
from pharos.helm.store.passkeys import PASSKEYS
from pharos.helm.store.records import Noun, add_record, change_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.store.tickets import TICKETS
from pharos.helm.store.users import GROUPS, USERS
from tests.support.helm import adopt_sample_relay

FIELDS: Final[tuple[tuple[Noun[Any], tuple[str, ...]], ...]] = (
    (NODES, ("name", "note", "place")),
    (RELAYS, ("name", "note", "place")),
    (USERS, ("name", "email", "note")),
    (GROUPS, ("name", "note")),
    (DEVICES, ("name", "note")),
    (ADMINS, ("name",)),
    (TOKENS, ("name",)),
    (PASSKEYS, ("name",)),
    (TICKETS, ("device_name",)),
    (ALERTS, ("text",)),
    (ALERT_TARGETS, ("name", "service")),
    (ALERT_MUTES, ("note",)),
)
"""Columns of each noun that hold what somebody typed, or a machine said."""
MONTH: Final = 30 * 86_400_000_000


def plant(db: Database, authority: Authority, payloads: list[str]) -> int:
    """Write ``payloads`` over what is there, one a record and round again; return how many fields there are."""
    _fill(db, authority, payloads)
    fields = 0
    for noun, columns in FIELDS:
        rows = db.execute(f"SELECT id, version FROM {noun.table} ORDER BY id").fetchall()
        for number, row in enumerate(rows):
            payload = payloads[number % len(payloads)]
            # Names are unique: a second round is told apart at its end.
            told = payload if number < len(payloads) else f"{payload}{number}"
            act = Act(actor=payload, at=now_us())
            change_record(db, noun, row["id"], row["version"], dict.fromkeys(columns, told), act, detail=payload)
            fields += len(columns)
    return fields


def _fill(db: Database, authority: Authority, payloads: list[str]) -> None:
    """Make records of nouns of which a fleet has few or none, as many as there are payloads; `plant` names them."""
    for number, payload in enumerate(payloads):
        act, name = Act(actor=payload, at=now_us()), f"filled {number}"
        relay, _grant = adopt_sample_relay(db, authority, f"relay-{number}")
        # Nobody dials it.
        change_record(db, RELAYS, relay.id, relay.version, {"state": NodeState.DISABLED}, act)
        user = add_record(db, USERS, User(id=fresh_id(), name=name), act)
        add_record(db, GROUPS, Group(id=fresh_id(), name=name), act)
        ticket = Ticket(id=fresh_id(), device_name=name, user_id=user.id, psk=b"", proof=b"", expires_at=act.at + MONTH)
        add_record(db, TICKETS, ticket, act)
        admin = add_record(db, ADMINS, Admin(id=fresh_id(), name=name, role=Role.VIEWER), act)
        token = Token(id=fresh_id(), name=name, hash=payload.encode(), admin_id=admin.id, role=Role.VIEWER)
        add_record(db, TOKENS, token, act)
        alert = Alert(
            id=fresh_id(),
            kind="node_down",
            severity=Severity.CRITICAL,
            subject=fresh_id(),
            evidence={payload: payload},
            opened_at=act.at,
        )
        add_record(db, ALERTS, alert, act)
        target = AlertTarget(id=fresh_id(), name=name, service="json", url=b"", enabled=False)
        add_record(db, ALERT_TARGETS, target, act)
        mute = AlertMute(id=fresh_id(), kind="node_down", subject=payload, until_at=act.at + MONTH)
        add_record(db, ALERT_MUTES, mute, act)
