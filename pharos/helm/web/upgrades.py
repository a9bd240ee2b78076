"""Upgrades of nodes and relays, by helm's own hand (docs/guide/upgrade.md).

POST /api/v1/upgrades               {"kind": "nodes" | "relays", "names": […], …}; from a browser with a fresh proof
GET  /api/v1/upgrades               those since helm started
GET  /api/v1/upgrades/{id}?after=N  one, with what was told beyond event N
POST /api/v1/upgrades/{id}/stop     where it is; the same upgrade again goes on
GET  /api/v1/nodes/{id}/health?since=µs      how a node is, asked of it now
GET  /api/v1/relays/{id}/health?since=µs     how a relay is
"""

from __future__ import annotations

import enum
from typing import Any, Final

import msgspec
from quart import Blueprint, Response, request
from quart_schema import document_request, document_response, tag

from pharos.helm.accounts.signin import check_fresh
from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, InvalidRequestError, NodeAwayError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role, Via
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.upgrade.desk import Health
from pharos.helm.onboard.upgrade.health import HelmDesk, node_health, relay_health
from pharos.helm.onboard.upgrade.member import Options
from pharos.helm.onboard.upgrade.plan import AT_ONCE, Rollout
from pharos.helm.onboard.upgrade.run import choose
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import Database
from pharos.helm.web.acting import Answer, principal, request_noun
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Problem
from pharos.helm.web.session import signed_in

_LATEST: Final = 2**63 - 1


class Kind(enum.Enum):
    """Who is upgraded."""

    NODES = "nodes"
    RELAYS = "relays"

    @property
    def part(self) -> Part:
        """What they are made of."""
        return Part.BUOY if self is Kind.NODES else Part.BEACON


class UpgradeBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An upgrade to the version that helm has with it."""

    kind: Kind
    names: list[str] = msgspec.field(default_factory=list)
    """Names or ids; none: all that are reached by ssh."""
    canaries: int = 0
    """How many come first, one at a time."""
    at_once: int = AT_ONCE
    allow_downgrade: bool = False
    dry_run: bool = False


class UpgradeView(msgspec.Struct, kw_only=True):
    """An upgrade, and what it tells."""

    id: str
    state: str
    """``running``, ``done``, ``failed`` or ``stopped``."""
    text: str | None
    members: list[str]
    started_by: str
    dry_run: bool
    events: list[dict[str, Any]]


class UpgradeList(msgspec.Struct, kw_only=True):
    """Newest first, without what they told."""

    items: list[UpgradeView]


class HealthView(msgspec.Struct, kw_only=True):
    """How a member is."""

    answers: bool
    why: str | None = None
    """It does not answer."""
    version: str = ""
    started_at_us: int = 0
    settled: bool = False
    """What is in force there is what helm wants there."""
    troubles: list[str] = msgspec.field(default_factory=list)
    now_us: int = 0
    tunnels: int = 0
    """Devices with a handshake since then."""


def make_upgrades_blueprint(context: HelmContext) -> Blueprint:
    """Serve them."""
    blueprint = Blueprint("upgrades", __name__, url_prefix=API)

    async def allow(needed: Role) -> Principal:
        who, noun = principal(), request_noun()
        await context.store.read(check_principal, who, needed, noun=noun, at=now_us())
        return who

    @blueprint.post("/upgrades")
    @tag(["upgrades"])
    @document_request(UpgradeBody)
    @document_response(UpgradeView, 202)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def begin() -> Response:
        """Bring nodes or relays to the version that helm has with it; takes a fresh proof"""
        body: Any = await read_body(UpgradeBody)
        who, noun, at = principal(), request_noun(), now_us()
        if who.via is Via.SESSION:
            check_fresh(signed_in().session)
        members = await choose(HelmDesk(context), body.kind.part, body.names)
        # The numbers are judged here, where somebody hears of it.
        Rollout.of(members, canaries=body.canaries, at_once=body.at_once)
        if not members:
            raise ConflictError(f"none of the {body.kind.value} is reached by ssh")

        def write_down(db: Database) -> None:
            check_principal(db, who, Role.ADMIN, noun=noun, at=at)
            detail = f"{body.kind.value}: {', '.join(member.name for member in members)}"[:300]
            append_audit(db, at=at, actor=who.name, via=who.via.value, verb="upgrade_begun", detail=detail)

        await context.store.run(write_down)
        run = context.upgrades.begin(
            members,
            Options(allow_downgrade=body.allow_downgrade, dry_run=body.dry_run),
            canaries=body.canaries,
            at_once=body.at_once,
            by=who.name,
        )
        return Answer(body=run.view(), status=202, location=f"{API}/upgrades/{run.id}").response()

    @blueprint.get("/upgrades")
    @tag(["upgrades"])
    @document_response(UpgradeList, 200)
    async def list_() -> Response:
        """List the upgrades since helm started"""
        await allow(Role.ADMIN)
        return Answer(body={"items": [run.view(_LATEST) for run in context.upgrades.all()]}).response()

    @blueprint.get("/upgrades/<run_id>")
    @tag(["upgrades"])
    @document_response(UpgradeView, 200)
    @document_response(Problem, 404)
    async def show(run_id: str) -> Response:
        """Show an upgrade, and what it told beyond the event ``after``"""
        await allow(Role.ADMIN)
        return Answer(body=context.upgrades.get(run_id).view(_number("after"))).response()

    @blueprint.post("/upgrades/<run_id>/stop")
    @tag(["upgrades"])
    @document_response(UpgradeView, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    async def stop(run_id: str) -> Response:
        """Stop an upgrade where it is; the same one again goes on from there"""
        who, noun, at = principal(), request_noun(), now_us()

        def write_down(db: Database) -> None:
            check_principal(db, who, Role.ADMIN, noun=noun, at=at)
            append_audit(db, at=at, actor=who.name, via=who.via.value, verb="upgrade_stopped", detail=run_id[:20])

        context.upgrades.get(run_id)
        await context.store.run(write_down)
        return Answer(body=context.upgrades.stop(run_id).view(_LATEST)).response()

    @blueprint.get("/nodes/<record_id>/health")
    @tag(["nodes"])
    @document_response(HealthView, 200)
    @document_response(Problem, 404)
    async def node(record_id: str) -> Response:
        """Ask a node how it is"""
        await allow(Role.ADMIN)
        try:
            view = _view(await node_health(context, record_id, _number("since")))
        except (NodeAwayError, ConflictError) as error:
            view = HealthView(answers=False, why=str(error))
        return Answer(body=msgspec.to_builtins(view)).response()

    @blueprint.get("/relays/<record_id>/health")
    @tag(["relays"])
    @document_response(HealthView, 200)
    @document_response(Problem, 404)
    async def relay(record_id: str) -> Response:
        """Say how a relay is"""
        await allow(Role.ADMIN)
        health = relay_health(context, record_id)
        view = HealthView(answers=False, why="its tunnel is down") if health is None else _view(health)
        return Answer(body=msgspec.to_builtins(view)).response()

    return blueprint


def _view(health: Health) -> HealthView:
    return HealthView(
        answers=True,
        version=health.version,
        started_at_us=health.started_at,
        settled=health.settled,
        troubles=list(health.troubles),
        now_us=health.now,
        tunnels=health.tunnels,
    )


def _number(name: str) -> int:
    """Raises: InvalidRequestError."""
    text = request.args.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequestError(f"{name} is a number")
    return int(text)
