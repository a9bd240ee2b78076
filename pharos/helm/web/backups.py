"""When the record was last backed up: noted by the command that made the backup, after it was read back.

GET  /api/v1/backups   {"backed_up_at":…, "restored_at":…, "unread": [nodes], "adoptions": {"waiting": n, …}}
POST /api/v1/backups   {"at":…, "sha256":…, "with_root":…, "to":…}
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from quart import Blueprint, Response
from quart_schema import document_request, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import LINKED
from pharos.helm.store.adoptions import count_adoptions, must_be_read
from pharos.helm.store.audit import append_audit
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
MAX_PLACE: Final = 300


class BackupBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A backup that was made."""

    at: int
    """Microseconds since 1970."""
    sha256: str
    """Of the file."""
    with_root: bool
    to: str
    """Where it went."""


class BackupsView(msgspec.Struct, kw_only=True):
    """What is known of backups, and how far a restored helm has come."""

    backed_up_at: str | None
    restored_at: str | None
    unread: list[dict[str, str]]
    """Nodes that a restored helm has not asked yet what they have: they are told nothing until then."""
    adoptions: dict[str, int]
    """Peers that the record did not know, by what was decided about them."""


def make_backups_blueprint(context: HelmContext) -> Blueprint:
    """Serve when the record was backed up."""
    blueprint = Blueprint("backups", __name__, url_prefix=f"{API}/backups")

    @blueprint.get("")
    @document_response(BackupsView, 200)
    @tag(["backups"])
    async def show() -> Response:
        """Show when the record was last backed up and restored"""
        return await reading(context, Role.VIEWER, lambda db: Answer(body=_view(db)))

    @blueprint.post("")
    @tag(["backups"])
    @document_request(BackupBody)
    async def note() -> Response:
        """Note a backup that was made and read back"""
        body: Any = await read_body(BackupBody)
        if not _SHA256.fullmatch(body.sha256) or len(body.to) > MAX_PLACE or not body.to.isprintable():
            raise InvalidRequestError(
                f"a backup has a SHA-256 of 64 digits and a place of at most {MAX_PLACE} characters"
            )

        def write(db: Database, act: Act) -> Answer:
            # A clock that is wrong, or a caller that is, cannot put off the next one for ever.
            at = max(min(body.at, act.at), 0)
            db.execute("UPDATE fleet SET backed_up_at = ?", (at,))
            detail = f"to {body.to}, {'with' if body.with_root else 'without'} the root's key, SHA-256 {body.sha256}"
            append_audit(db, at=act.at, actor=act.actor, via=act.via, verb="fleet_backed_up", detail=detail)
            return Answer(body=_view(db), status=201)

        return await acting(context, Role.ADMIN, write)

    return blueprint


def _view(db: Database) -> dict[str, Any]:
    row = db.execute("SELECT backed_up_at, restored_at FROM fleet").fetchone()
    times = {name: None if row[name] is None else rfc3339(row[name]) for name in ("backed_up_at", "restored_at")}
    unread = [node for node in list_nodes(db) if node.state in LINKED and must_be_read(db, node.id)]
    return times | {
        "unread": [{"id": node.id, "name": node.name} for node in unread],
        "adoptions": count_adoptions(db),
    }
