"""The one way in which a change enters the record: with its audit row and its outbox row, in the same transaction."""

from __future__ import annotations

import json
from typing import Any

import attrs

from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import Database
from pharos.helm.store.outbox import append_entry


@attrs.frozen(kw_only=True)
class Act:
    """Who changes something, and when."""

    actor: str
    """As the audit names it: an admin's name, ``operator`` for the holder of the Unix socket, ``device``, ``helm``."""
    at: int
    """Microseconds since 1970."""
    via: str = "socket"
    """How the actor came in: ``socket``, ``session``, ``token``, ``passage`` or ``helm``."""


def record_change(
    db: Database,
    act: Act,
    noun: str,
    verb: str,
    *,
    subject: str,
    version: int,
    body: dict[str, Any] | None,
    detail: str = "",
) -> None:
    """Write what was done to the audit chain and to the outbox; part of the caller's transaction.

    ``body`` is the record as views show it after the change, None when it is gone. ``detail`` is for people, and holds
    no secret: both are kept for as long as the audit is.
    """
    append_audit(
        db,
        at=act.at,
        actor=act.actor,
        via=act.via,
        verb=f"{noun}_{verb}",
        noun=noun,
        subject=subject,
        version=version,
        detail=detail,
    )
    append_entry(
        db,
        at=act.at,
        kind=f"{noun}_{verb}",
        subject=subject,
        actor=act.actor,
        detail=detail,
        noun=noun,
        version=version,
        body=None if body is None else json.dumps(body, separators=(",", ":")),
    )
