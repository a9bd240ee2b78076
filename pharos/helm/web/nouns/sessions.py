"""VPN sessions, as REST serves them: worked out of what nodes tell, so nothing about them is changed here.

GET  /api/v1/sessions            a page, newest first; filters node, device, user, live
GET  /api/v1/sessions/{id}
POST /api/v1/sessions/{id}/end   the node ends it now; the device may come again
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.fleet.asking import end_session
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.model.nodes import LINKED, Node
from pharos.helm.model.sessions import Session
from pharos.helm.model.users import Protocol
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import Database
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.nodes import NODES
from pharos.helm.store.pages import Query
from pharos.helm.store.records import find_record, get_record
from pharos.helm.store.sessions import SessionQuery, count_sessions, devices_of_user, get_session, search_sessions
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, principal, request_noun
from pharos.helm.web.requests import read_query
from pharos.helm.web.resources import API, Problem

_FILTERS: Final = frozenset({"node", "device", "user", "live"})


class SessionView(msgspec.Struct, kw_only=True):
    """One device's stay at one node; times are the node's own."""

    id: str
    node_id: str
    device_id: str
    opened_at: str
    seen_at: str
    """The last handshake."""
    ended_at: str | None
    """None while it lives."""
    reason: str
    """Why it ended: ``silent``, or as the node named it; empty while it lives."""
    endpoint: str
    protocol: Protocol | None
    """By which the device was seen last; null where the node does not tell."""
    live: bool


class SessionPageView(msgspec.Struct, kw_only=True):
    """Some sessions, newest first."""

    items: list[SessionView]
    cursor: str | None
    total: int = 0
    """With the first page."""


class SessionListQuery(msgspec.Struct, kw_only=True):
    """Which sessions."""

    node: str | None = None
    device: str | None = None
    user: str | None = None
    live: str | None = None
    """``true`` or ``false``."""
    cursor: str | None = None
    limit: int | None = None


def make_sessions_blueprint(context: HelmContext) -> Blueprint:
    """Serve the sessions."""
    blueprint = Blueprint("sessions", __name__, url_prefix=f"{API}/sessions")

    @blueprint.get("", endpoint="list")
    @document_querystring(SessionListQuery)
    @document_response(SessionPageView, 200)
    @document_response(Problem, 400)
    @tag(["sessions"])
    async def list_() -> Response:
        """List sessions"""
        query = _read_query()
        of_user = await context.store.read(_allowed, principal(), query.filters.get("user"))
        wanted = _session_query(query, of_user)
        return (await context.store.read_telemetry(_list, wanted, now_us())).response()

    @blueprint.get("/<session_id>")
    @document_response(SessionView, 200)
    @document_response(Problem, 404)
    @tag(["sessions"])
    async def get(session_id: str) -> Response:
        """Show one session"""
        await context.store.read(_allowed, principal(), None)
        session = await context.store.read_telemetry(get_session, session_id)
        return Answer(body=session_view(session, now_us())).response()

    @blueprint.post("/<session_id>/end")
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    @tag(["sessions"])
    async def end(session_id: str) -> Response:
        """Have the node end a session now; the device may come again, unless it is disabled"""
        who, noun, at = principal(), request_noun(), now_us()
        await context.store.read(check_principal, who, Role.OPERATOR, noun=noun, at=at)
        session = await context.store.read_telemetry(get_session, session_id)
        if session.until_at <= at:
            raise ConflictError("this session has ended already")

        def write_down(db: Database) -> Node:
            check_principal(db, who, Role.OPERATOR, noun=noun, at=at)
            node = get_record(db, NODES, session.node_id)
            if node.state not in LINKED:
                raise ConflictError(f"helm does not speak to a node that is {node.state.value}")
            device = find_record(db, DEVICES, session.device_id)
            said = f"{session.device_id if device is None else device.name} at {node.name}"
            append_audit(
                db, at=at, actor=who.name, via=who.via.value, verb="session_ended", subject=session.id, detail=said
            )
            return node

        await end_session(context.authority, await context.store.run(write_down), session.device_id)
        return Answer(body=None, status=204).response()

    return blueprint


def session_view(session: Session, now: int) -> dict[str, Any]:
    """Return a session as REST and the CLI show it at a moment, in microseconds since 1970."""
    live = session.until_at > now
    return {
        "id": session.id,
        "node_id": session.node_id,
        "device_id": session.device_id,
        "opened_at": rfc3339(session.opened_at),
        "seen_at": rfc3339(session.seen_at),
        "ended_at": None if live else rfc3339(session.until_at),
        "reason": "" if live else session.reason or "silent",
        "endpoint": session.endpoint,
        "protocol": session.protocol or None,
        "live": live,
    }


def _allowed(db: Database, who: Principal, user_id: str | None) -> list[str] | None:
    check_principal(db, who, Role.VIEWER, noun="sessions", at=now_us())
    return None if user_id is None else devices_of_user(db, user_id)


def _read_query() -> Query:
    query = read_query()
    if (query.sort, query.descending) not in {("created_at", False), ("opened_at", True)}:
        raise InvalidRequestError("sessions are sorted by -opened_at only")
    if unknown := query.filters.keys() - _FILTERS:
        raise InvalidRequestError(
            f"sessions can be filtered by {', '.join(sorted(_FILTERS))}, not {', '.join(sorted(unknown))}"
        )
    if query.filters.get("live", "true") not in ("true", "false"):
        raise InvalidRequestError("live is true or false")
    return query


def _session_query(query: Query, of_user: list[str] | None) -> SessionQuery:
    filters = query.filters
    device_ids = of_user
    if "device" in filters:
        device_ids = [filters["device"]] if of_user is None or filters["device"] in of_user else []
    return SessionQuery(
        node_id=filters.get("node"),
        device_ids=device_ids,
        live=None if "live" not in filters else filters["live"] == "true",
        limit=query.limit,
        cursor=query.cursor,
    )


def _list(db: Database, query: SessionQuery, now: int) -> Answer:
    page = search_sessions(db, query, now=now)
    body: dict[str, Any] = {
        "items": [session_view(session, now) for session in page.items],
        "cursor": page.cursor or None,
    }
    if not query.cursor:
        body["total"] = count_sessions(db, query, now=now)
    return Answer(body=body)
