"""What nodes told, as long as it is kept.

GET /api/v1/events?node=&device=&kind=&before=&limit=   newest first
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.model.users import Protocol
from pharos.helm.store.admins import check_principal
from pharos.helm.store.database import Database
from pharos.helm.store.history import EventQuery, PastEvent, names_of, search_events
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, principal
from pharos.helm.web.requests import read_query
from pharos.helm.web.resources import API, Problem

_FILTERS: Final = frozenset({"node", "device", "kind", "before"})
# A sequence has at most 19 digits.
_MAX_DIGITS: Final = 18


class EventListQuery(msgspec.Struct, kw_only=True):
    """Which events."""

    node: str | None = None
    """Id."""
    device: str | None = None
    """Id."""
    kind: str | None = None
    """``handshake``, ``connected``, ``disconnected``, ``gap``, ``dropped``."""
    before: str | None = None
    """The ``cursor`` of the page before, or an event's ``id``."""
    limit: int | None = None
    """At most 200."""


class EventView(msgspec.Struct, kw_only=True):
    """One event; its time is the node's own."""

    id: str
    at: str
    kind: str
    node: str | None
    """Id; null: helm says it of itself."""
    device: str | None
    """Id."""
    name: str | None
    """Of the device, where it is still in the record."""
    protocol: Protocol | None
    """Null where the node did not tell."""
    text: str
    """The device's outer address, why it went, or how many events were lost."""


class EventPageView(msgspec.Struct, kw_only=True):
    """Some events, newest first."""

    items: list[EventView]
    cursor: str | None
    """Where the next page begins; null behind the last. A page may hold fewer than were asked for, and not be it."""


def make_events_blueprint(context: HelmContext) -> Blueprint:
    """Serve the history."""
    blueprint = Blueprint("events", __name__, url_prefix=f"{API}/events")

    @blueprint.get("", endpoint="list")
    @document_querystring(EventListQuery)
    @document_response(EventPageView, 200)
    @document_response(Problem, 400)
    @tag(["events"])
    async def list_() -> Response:
        """List what nodes told of devices, the newest first"""
        who, wanted = principal(), _read_query()
        await context.store.read(_allowed, who)
        page = await context.store.read_telemetry(search_events, wanted)
        devices = {event.device_id for event in page.items if event.device_id is not None}
        names = await context.store.read(names_of, devices) if devices else {}
        return Answer(
            body={
                "items": [_view(event, names) for event in page.items],
                "cursor": None if page.before is None else str(page.before),
            }
        ).response()

    return blueprint


def _allowed(db: Database, who: Principal) -> None:
    check_principal(db, who, Role.VIEWER, noun="events", at=now_us())


def _read_query() -> EventQuery:
    query = read_query()
    if query.cursor or (query.sort, query.descending) != ("created_at", False):
        raise InvalidRequestError("events are listed newest first; the next page has before=, the cursor of this one")
    if unknown := query.filters.keys() - _FILTERS:
        raise InvalidRequestError(
            f"events can be filtered by {', '.join(sorted(_FILTERS))}, not {', '.join(sorted(unknown))}"
        )
    before = query.filters.get("before")
    if before is not None and not (before.isascii() and before.isdigit() and len(before) <= _MAX_DIGITS):
        raise InvalidRequestError("before has to be the cursor of a page, or an event's id")
    return EventQuery(
        node_id=query.filters.get("node"),
        device_id=query.filters.get("device"),
        kind=query.filters.get("kind"),
        before=None if before is None else int(before),
        limit=query.limit,
    )


def _view(event: PastEvent, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": str(event.sequence),
        "at": rfc3339(event.at),
        "kind": event.kind,
        "node": event.node_id,
        "device": event.device_id,
        "name": None if event.device_id is None else names.get(event.device_id),
        "protocol": event.protocol or None,
        "text": event.detail,
    }
