"""How it goes with sinks, and a record to try one with. Neither is a change of the record.

GET  /api/v1/sinks/health      of each sink, how many rows it is behind by source, and its last error
POST /api/v1/sinks/{id}/test   sends one record at once, whether the sink is enabled or not
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError, SinkError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.model.sinks import Cursor, Health, Sink, Source
from pharos.helm.siem.acts import open_headers
from pharos.helm.siem.records import of_test
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import append_audit, audit_head
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.records import get_record
from pharos.helm.store.sinks import SINKS, UNKNOWN, cursors_of, health_of, list_sinks, newest_event
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, principal, request_noun
from pharos.helm.web.resources import API, Problem
from pharos.wire.errors import StateFileError
from pharos.wire.units import MILLISECONDS, SECONDS

# Somebody waits before a screen.
TEST_TIMEOUT: Final = 10 * SECONDS


class SinkHealth(msgspec.Struct, kw_only=True):
    """How it goes with one sink."""

    id: str
    name: str
    state: str
    behind: dict[str, int]
    """Rows that were not acknowledged yet, by source."""
    sent_at: str | None
    """When it last acknowledged something."""
    failing_since_at: str | None
    error: str
    """Why it failed last; empty while it does not fail."""


class SinkHealthList(msgspec.Struct, kw_only=True):
    """All of them."""

    items: list[SinkHealth]


class SinkTest(msgspec.Struct, kw_only=True):
    """What came of it."""

    ok: bool
    detail: str
    milliseconds: float


def make_sinks_blueprint(context: HelmContext) -> Blueprint:
    """Serve both; one test at a time."""
    blueprint = Blueprint("sinkwatch", __name__, url_prefix=f"{API}/sinks")
    turn = trio.Lock()

    @blueprint.get("/health")
    @document_response(SinkHealthList, 200)
    @tag(["sinks"])
    async def health() -> Response:
        """Show how it goes with each sink"""
        found, head = await context.store.read(_healths, principal())
        newest = await context.store.read_telemetry(newest_event)
        ends = {Source.AUDIT: head, Source.EVENTS: newest}
        items = [_view(sink, cursors, state, ends) for sink, cursors, state in found]
        return Answer(body=msgspec.to_builtins(SinkHealthList(items=items))).response()

    @blueprint.post("/<sink_id>/test")
    @document_response(SinkTest, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    @tag(["sinks"])
    async def test(sink_id: str) -> Response:
        """Send a record to see whether it arrives"""
        if turn.locked():
            raise BusyError("helm tries another sink; try again in a few seconds")
        async with turn:
            sink, fleet = await context.store.run(_begin_test, principal(), request_noun(), sink_id)
            found = await _try(context, sink, fleet, principal().name)
        return Answer(body=msgspec.to_builtins(found)).response()

    return blueprint


def _healths(db: Database, who: Principal) -> tuple[list[tuple[Sink, dict[Source, Cursor], Health]], int]:
    check_principal(db, who, Role.ADMIN, noun="sinks", at=now_us())
    sinks = [(sink, cursors_of(db, sink.id), health_of(db, sink.id)) for sink in list_sinks(db)]
    return sinks, audit_head(db).sequence


def _view(sink: Sink, cursors: dict[Source, Cursor], health: Health, ends: dict[Source, int]) -> SinkHealth:
    return SinkHealth(
        id=sink.id,
        name=sink.name,
        state=sink.state.value,
        behind={
            source.value: 0 if cursor.sequence == UNKNOWN else max(ends[source] - cursor.sequence, 0)
            for source, cursor in cursors.items()
        },
        sent_at=None if health.sent_at is None else rfc3339(health.sent_at),
        failing_since_at=None if health.failing_since_at is None else rfc3339(health.failing_since_at),
        error=health.error,
    )


def _begin_test(db: Database, who: Principal, noun: str, sink_id: str) -> tuple[Sink, str]:
    at = now_us()
    check_principal(db, who, Role.ADMIN, noun=noun, at=at)
    sink = get_record(db, SINKS, sink_id)
    detail = f"{sink.name}: {sink.kind.value} to {sink.host}"
    append_audit(db, at=at, actor=who.name, via=who.via.value, verb="sink_tested", subject=sink.id, detail=detail)
    return sink, get_fleet(db).id


async def _try(context: HelmContext, sink: Sink, fleet: str, actor: str) -> SinkTest:
    # Encoders and clients of every kind take longer to import than most commands take.
    from pharos.helm.siem.send import open_sender

    began = trio.current_time()
    try:
        headers = open_headers(context.vault, sink)
        async with open_sender(sink, headers, fleet, timeout=TEST_TIMEOUT) as send:
            detail, ok = await send([of_test(fleet, actor, at=now_us())]) or "it was acknowledged", True
    except (SinkError, StateFileError) as error:
        detail, ok = str(error), False
    took: Any = round((trio.current_time() - began) / MILLISECONDS, 1)
    return SinkTest(ok=ok, detail=detail, milliseconds=took)
