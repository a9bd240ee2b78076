"""Muting: alerts of a kind, or about one thing, are raised and shown and not delivered, until a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pharos.helm.alerts.kinds import check_kind
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.alerts import AlertMute
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import ALERT_MUTES, list_mutes
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, remove_record

MAX_MUTES: Final = 500
MAX_SUBJECT: Final = 100
MAX_NOTE: Final = 1_000
# Who wants no alerts of a kind at all says so at the target. Microseconds.
LONGEST: Final = 366 * 86_400 * 1_000_000


def add_mute(db: Database, act: Act, values: Mapping[str, Any]) -> AlertMute:
    """Write a new mute.

    Raises: InvalidRequestError — a value does not fit. ConflictError — there are too many.
    """
    mute = AlertMute(id=fresh_id(), **values)
    check_kind(mute.kind)
    if not mute.subject.isprintable() or len(mute.subject) > MAX_SUBJECT or len(mute.note) > MAX_NOTE:
        raise InvalidRequestError(f"a subject has at most {MAX_SUBJECT} characters, and a note at most {MAX_NOTE}")
    if not act.at < mute.until_at <= act.at + LONGEST:
        raise InvalidRequestError("a mute ends in the future, and within a year")
    if len(list_mutes(db)) >= MAX_MUTES:
        raise ConflictError(f"there are {MAX_MUTES} mutes already; remove one first")
    return add_record(db, ALERT_MUTES, mute, act, detail=_detail(mute))


def remove_mute(db: Database, act: Act, mute_id: str, version: int) -> None:
    """Let alerts be delivered again; those that stand and were held back are told now.

    Raises: StaleVersionError, NotFoundError.
    """
    remove_record(db, ALERT_MUTES, mute_id, version, act)


def end_mutes(db: Database, at: int) -> None:
    """Remove the mutes whose time is over."""
    act = Act(actor="helm", at=at, via="helm")
    for mute in list_mutes(db):
        if mute.until_at <= at:
            remove_record(db, ALERT_MUTES, mute.id, mute.version, act, verb="ended", detail=_detail(mute))


def _detail(mute: AlertMute) -> str:
    return f"{mute.kind} of {mute.subject}" if mute.subject else mute.kind
