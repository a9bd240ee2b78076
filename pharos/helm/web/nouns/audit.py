"""The audit, as REST serves it: to be read, verified and taken away, never changed.

GET /api/v1/audit         a page, newest first; filters actor, verb, noun, subject, since, until, and q on the detail
GET /api/v1/audit/{sequence}  one act, with the record before and after it
GET /api/v1/audit/verify  whether the chain holds; ``checkpoint`` is one from other hands, base64url
GET /api/v1/audit/export  JSON lines, oldest first: everything that somebody needs to verify the chain elsewhere
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, hide, tag

from pharos.helm.audit.chain import AuditRow
from pharos.helm.audit.checkpoints import signing_keys
from pharos.helm.audit.pruning import missed_from
from pharos.helm.audit.verify import Verification, verify_audit
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.model.fleet import Fleet
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import audit_rows, search_audit
from pharos.helm.store.checkpoints import checkpoints_between
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import states_of
from pharos.helm.store.pages import MAX_LIMIT, Query
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, principal, reading
from pharos.helm.web.bodies import Time
from pharos.helm.web.requests import MAX_DIGITS, read_query
from pharos.helm.web.resources import API, Problem
from pharos.wire.ids import FleetId
from pharos.wire.seal.checkpoint import Checkpoint, verify_checkpoint

# A row is some 400 octets of JSON, so a page of the export is 400 kB.
_EXPORTED: Final = 1_000
_LARGEST: Final = 2**63 - 1


class AuditView(msgspec.Struct, kw_only=True):
    """One act."""

    sequence: int
    at: str
    actor: str
    via: str
    verb: str
    noun: str
    subject: str
    version: int
    detail: str
    hash: str
    """Hexadecimal."""


class MarkView(msgspec.Struct, kw_only=True):
    """A checkpoint in its place: the row that it covers the audit up to."""

    sequence: int
    at: str
    """When it was signed."""


class ChangeView(msgspec.Struct, kw_only=True):
    """One act with the record that it was about."""

    row: AuditView
    before: dict[str, Any] | None
    """The record as it was; null where it is not kept any more, or there was none."""
    after: dict[str, Any] | None
    kept: bool
    """Whether what the act left is still known; states of records are kept for a day."""


class AuditPageView(msgspec.Struct, kw_only=True):
    """Some acts, newest first. A search may give few at a time, even none, and still have a cursor."""

    items: list[AuditView]
    cursor: str | None
    checkpoints: list[MarkView]
    """Those of the rows from the newest to the oldest of this page, newest first."""


class AuditQuery(msgspec.Struct, kw_only=True):
    """Which acts."""

    actor: str | None = None
    verb: str | None = None
    noun: str | None = None
    subject: str | None = None
    since: Time | None = None
    until: Time | None = None
    q: str | None = None
    """Part of the detail."""
    cursor: str | None = None
    limit: int | None = None


class HeadView(msgspec.Struct, kw_only=True):
    """The newest row that holds."""

    sequence: int
    hash: str


class CheckpointView(msgspec.Struct, kw_only=True):
    """The newest checkpoint."""

    size: int
    head: str
    at: str
    signed: str
    """As a witness keeps it, base64url."""


class VerificationView(msgspec.Struct, kw_only=True):
    """Whether the audit holds."""

    ok: bool
    rows: int
    head: HeadView
    checkpoint: CheckpointView | None
    detail: str


class VerifyQuery(msgspec.Struct, kw_only=True):
    """Against what."""

    checkpoint: str | None = None


def make_audit_blueprint(context: HelmContext) -> Blueprint:
    """Serve the audit."""
    blueprint = Blueprint("audit", __name__, url_prefix=f"{API}/audit")
    # Each verification keeps a core busy for seconds; whoever asks for many waits.
    turn = trio.CapacityLimiter(1)

    @blueprint.get("", endpoint="list")
    @document_querystring(AuditQuery)
    @document_response(AuditPageView, 200)
    @document_response(Problem, 400)
    @tag(["audit"])
    async def list_() -> Response:
        """List what was done"""
        return await reading(context, Role.ADMIN, _list, read_query())

    @blueprint.get("/verify")
    @document_querystring(VerifyQuery)
    @document_response(VerificationView, 200)
    @document_response(Problem, 400)
    @tag(["audit"])
    async def verify() -> Response:
        """Verify the whole audit"""
        who = principal()
        query = read_query()
        fleet = await context.store.read(_allowed, who, Role.VIEWER)
        keys = signing_keys(context.authority)
        witness = _witness(query, fleet.id, keys)
        async with turn:
            found = await verify_audit(
                context.store,
                fleet=fleet.id,
                keys=keys,
                kept_from=await context.store.read(missed_from, now_us()),
                witness=witness,
            )
        return Answer(body=_verification(found, fleet.id)).response()

    @blueprint.get("/<sequence>")
    @document_response(ChangeView, 200)
    @document_response(Problem, 404)
    @tag(["audit"])
    async def show(sequence: str) -> Response:
        """Show one act, with the record before and after it"""
        return await reading(context, Role.ADMIN, _show, sequence)

    # Left out of the description, which cannot say that each line of an answer is a document.
    @blueprint.get("/export")
    @hide
    async def export() -> Response:
        """Give out the whole audit"""
        who = principal()
        await context.store.read(_allowed, who, Role.ADMIN)
        response = Response(_export(context, who), content_type="application/jsonl")
        # It lasts as long as its reader takes.
        response.timeout = None
        return response

    return blueprint


def _allowed(db: Database, who: Principal, needed: Role) -> Fleet:
    """Raises: NotSignedInError, NotAllowedError."""
    check_principal(db, who, needed, noun="audit", at=now_us())
    return get_fleet(db)


def _list(db: Database, query: Query) -> Answer:
    if (query.sort, query.descending) not in {("created_at", False), ("sequence", True)}:
        raise InvalidRequestError("the audit is sorted by -sequence only")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidRequestError(f"a page has 1 to {MAX_LIMIT} rows, not {query.limit}")
    filters: dict[str, Any] = dict(query.filters)
    for name in _TIMES & filters.keys():
        filters[name] = _time(name, filters[name])
    page = search_audit(db, filters, before=_before(query.cursor), limit=query.limit)
    cursor = None if page.before is None else str(page.before)
    body = {"items": [_view(row) for row in page.rows], "cursor": cursor, "checkpoints": _marks(db, page.rows)}
    return Answer(body=body)


def _marks(db: Database, rows: list[AuditRow]) -> list[dict[str, Any]]:
    if not rows:
        return []
    found = checkpoints_between(db, rows[-1].sequence - 1, rows[0].sequence)
    return [{"sequence": one.sequence, "at": rfc3339(one.at)} for one in reversed(found)]


def _show(db: Database, text: str) -> Answer:
    sequence = int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else 0
    row = next(iter(audit_rows(db, min(sequence, _LARGEST) - 1, 1)), None) if sequence else None
    if row is None or row.sequence != sequence:
        raise NotFoundError(f"the audit has no row {text!r}; the oldest are removed after some time")
    before, after = states_of(db, row.noun, row.subject, row.version) if row.noun and row.version else (None, None)
    body = {
        "row": _view(row),
        "before": None if before is None or before.body is None else json.loads(before.body),
        "after": None if after is None or after.body is None else json.loads(after.body),
        "kept": after is not None,
    }
    return Answer(body=body)


def _time(name: str, text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it names no offset")
        return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
    except ValueError as error:
        raise InvalidRequestError(f"{name} has to be a time such as 2026-07-01T00:00:00Z, not {text!r}") from error


def _before(cursor: str) -> int | None:
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < MAX_DIGITS and int(cursor) <= _LARGEST):
        raise InvalidRequestError("the cursor is not one that this list gave out")
    return int(cursor)


def _witness(query: Query, fleet: FleetId, keys: tuple[bytes, ...]) -> Checkpoint | None:
    unknown = query.filters.keys() - {"checkpoint"}
    if unknown:
        raise InvalidRequestError(f"a verification takes a checkpoint, not {', '.join(sorted(unknown))}")
    text = query.filters.get("checkpoint")
    if text is None:
        return None
    try:
        blob = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError as error:
        raise InvalidRequestError("the checkpoint is not base64url") from error
    return verify_checkpoint(blob, fleet=fleet, signing_keys=keys)


async def _export(context: HelmContext, who: Principal) -> AsyncIterator[bytes]:
    def read(db: Database, after: int) -> list[AuditRow]:
        # Asked again with each page, for a session may end meanwhile.
        _allowed(db, who, Role.ADMIN)
        return audit_rows(db, after, _EXPORTED)

    after = 0
    while rows := await context.store.read(read, after):
        yield b"".join(json.dumps(_view(row), separators=(",", ":")).encode() + b"\n" for row in rows)
        after = rows[-1].sequence


def _view(row: AuditRow) -> dict[str, Any]:
    """Show a row even if somebody put values into it that helm never writes."""
    shown = {name: value if isinstance(value, str | int) else repr(value) for name, value in row._asdict().items()}
    with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):
        shown["at"] = rfc3339(row.at)
    if isinstance(row.hash, bytes):
        shown["hash"] = row.hash.hex()
    return shown


def _verification(found: Verification, fleet: FleetId) -> dict[str, Any]:
    checkpoint = found.checkpoint
    return {
        "ok": found.ok,
        "rows": found.rows,
        "head": {"sequence": found.head.sequence, "hash": found.head.hash.hex()},
        "checkpoint": checkpoint
        and {
            "size": checkpoint.sequence,
            "head": checkpoint.hash.hex(),
            "at": rfc3339(checkpoint.at),
            "signed": base64.urlsafe_b64encode(checkpoint.blob(fleet)).decode(),
        },
        "detail": found.detail,
    }


_TIMES: Final = frozenset({"since", "until"})
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
