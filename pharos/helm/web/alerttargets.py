"""What of alert targets takes more than the record: their URLs are looked at by apprise, and tried.

POST /api/v1/alert-targets             {"name":…, "url":…, "minimum":…, "kinds":[…]}
POST /api/v1/alert-targets/{id}/move   {"url":…}
POST /api/v1/alert-targets/{id}/test   {"delivered":…, "detail":…}
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_headers, document_request, document_response, tag

from pharos.helm.alerts.deliver import Post
from pharos.helm.alerts.message import TEST
from pharos.helm.alerts.send import service_of
from pharos.helm.alerts.targets import Place, add_target, move_target
from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.alerts import AlertTarget
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import append_audit
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import ALERT_TARGETS, try_now
from pharos.helm.store.records import get_record
from pharos.helm.web.acting import Answer, acting, principal, request_noun
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.nouns.alerts import target_view
from pharos.helm.web.requests import read_body, seen_version
from pharos.helm.web.resources import API, Once, Problem, Versioned
from pharos.wire.world import in_thread


class AlertTargetBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new target."""

    name: str
    url: str
    """Of a service, as apprise knows it. It is shown to nobody again."""
    minimum: str | Unset = UNSET
    """``info``, ``warning`` or ``critical``; by default ``warning``."""
    kinds: list[str] | Unset = UNSET
    """Empty: every kind."""
    enabled: bool | Unset = UNSET


class AlertTargetMove(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a target is from now on."""

    url: str


class AlertTargetTested(msgspec.Struct, kw_only=True):
    """What came of a test."""

    delivered: bool
    detail: str | None
    """Why it was not."""


class AlertTargetShown(msgspec.Struct, kw_only=True):
    """A target, and how its deliveries stand."""

    id: str
    name: str
    service: str
    """The scheme of its URL."""
    minimum: str
    kinds: list[str]
    enabled: bool
    waiting: int
    waiting_since: str | None
    next_try_at: str | None
    last_error: str | None
    delivered_at: str | None
    version: int
    created_at: str
    updated_at: str
    updated_by: str


def make_alert_targets_blueprint(context: HelmContext) -> Blueprint:
    """Serve the acts; one test at a time."""
    blueprint = Blueprint("alert_posts", __name__, url_prefix=f"{API}/alert-targets")
    post = Post(context.vault)
    turn, looking = trio.Lock(), trio.CapacityLimiter(1)

    async def place_of(url: str) -> Place:
        # Outside of the transaction, for at first apprise has to be loaded.
        return Place(url=url, service=await in_thread(service_of, url, limiter=looking))

    @blueprint.post("")
    @tag(["alert_targets"])
    @document_request(AlertTargetBody)
    @document_headers(Once)
    @document_response(AlertTargetShown, 201)
    @document_response(Problem, 400)
    @document_response(Problem, 409)
    async def add() -> Response:
        """Add a target that alerts are delivered to"""
        body: Any = await read_body(AlertTargetBody)
        place, values = await place_of(body.url), given(body)
        del values["url"]

        def write(db: Database, act: Act) -> Answer:
            target = add_target(db, act, context.vault, place, values)
            location = f"{API}/alert-targets/{target.id}"
            return Answer(body=target_view(db, target), status=201, version=target.version, location=location)

        return await acting(context, Role.ADMIN, write)

    @blueprint.post("/<target_id>/move")
    @tag(["alert_targets"])
    @document_request(AlertTargetMove)
    @document_headers(Versioned)
    @document_response(AlertTargetShown, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    async def move(target_id: str) -> Response:
        """Let a target be at another URL"""
        version = seen_version()
        body: Any = await read_body(AlertTargetMove)
        place = await place_of(body.url)

        def write(db: Database, act: Act) -> Answer:
            target = move_target(db, act, context.vault, target_id, version, place)
            return Answer(body=target_view(db, target), version=target.version)

        return await acting(context, Role.ADMIN, write)

    @blueprint.post("/<target_id>/test")
    @tag(["alert_targets"])
    @document_response(AlertTargetTested, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def test(target_id: str) -> Response:
        """Send a target a message, and say whether it arrived; if it did, what waits for it is tried again at once"""
        who, noun, at = principal(), request_noun(), now_us()

        def begin(db: Database) -> AlertTarget:
            check_principal(db, who, Role.ADMIN, noun=noun, at=at)
            target = get_record(db, ALERT_TARGETS, target_id)
            append_audit(
                db,
                at=at,
                actor=who.name,
                via=who.via.value,
                verb="alert_target_tested",
                noun=ALERT_TARGETS.kind,
                subject=target.id,
                version=target.version,
                detail=target.name,
            )
            return target

        if turn.locked():
            raise BusyError("helm is testing another target; try again in a few seconds")
        async with turn:
            target = await context.store.run(begin)
            reason = await post(target, lambda _room: TEST)
            if not reason:
                await context.store.run(try_now, target_id, at=now_us())
        return Answer(
            body=msgspec.to_builtins(AlertTargetTested(delivered=not reason, detail=reason or None))
        ).response()

    return blueprint
