"""Looking at a site before a node is put before it. It changes nothing of the record but the audit.

POST /api/v1/nodes/check-target   {"target": "host:port", "server_names": […], "node": "<id>"}; without node, from here
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_request, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError, ConflictError
from pharos.helm.fleet.targets import look_from_here, look_from_node, read_target
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import LINKED, Node
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.web.acting import Answer, principal, request_noun
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Problem
from pharos.wire.reality.targetreport import TargetReport
from pharos.wire.units import MILLISECONDS


class CheckTargetBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A site, and who shall look at it."""

    target: str
    """``host:port``."""
    server_names: list[str] = msgspec.field(default_factory=list)
    """None: the host's own."""
    node: str | None = None
    """Id; without one, helm's machine."""


class TargetFound(msgspec.Struct, kw_only=True):
    """One thing that was looked at."""

    check: str
    verdict: str
    """``good``, ``note``, ``warning`` or ``forbids``."""
    name: str | None
    """For which it holds; None: for all."""
    text: str


class CheckedTarget(msgspec.Struct, kw_only=True):
    """What was found."""

    target: str
    server_names: list[str]
    node: str | None
    """Name of the one that looked; None: helm's machine."""
    usable: bool
    address: str | None
    round_trip_ms: float | None
    findings: list[TargetFound]


def make_targets_blueprint(context: HelmContext) -> Blueprint:
    """Serve the act; one look at a time."""
    blueprint = Blueprint("targets", __name__, url_prefix=f"{API}/nodes/check-target")
    turn = trio.Lock()

    @blueprint.post("")
    @tag(["nodes"])
    @document_request(CheckTargetBody)
    @document_response(CheckedTarget, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def check() -> Response:
        """Look whether a node can stand before a site"""
        body: Any = await read_body(CheckTargetBody)
        host, port, names = read_target(body.target, body.server_names)
        who, noun, at = principal(), request_noun(), now_us()

        def begin(db: Database) -> Node | None:
            check_principal(db, who, Role.ADMIN, noun=noun, at=at)
            node = None if body.node is None else get_record(db, NODES, body.node)
            if node is not None and node.state not in LINKED:
                raise ConflictError(f"helm does not speak to a node that is {node.state.value}")
            detail = f"{body.target} from {'here' if node is None else node.name}"
            append_audit(db, at=at, actor=who.name, via=who.via.value, verb="target_checked", detail=detail)
            return node

        if turn.locked():
            raise BusyError("helm is looking at another site; try again in a few seconds")
        async with turn:
            node = await context.store.run(begin)
            if node is None:
                report = await look_from_here(host, port, names)
            else:
                report = await look_from_node(context.authority, node, host, port, names)
        return Answer(body=_view(body.target, None if node is None else node.name, report)).response()

    return blueprint


def _view(target: str, node: str | None, report: TargetReport) -> dict[str, Any]:
    found = CheckedTarget(
        target=target,
        server_names=list(report.names),
        node=node,
        usable=report.usable,
        address=report.address or None,
        round_trip_ms=None if report.round_trip is None else round(report.round_trip / MILLISECONDS, 1),
        findings=[
            TargetFound(
                check=finding.check.value, verdict=finding.verdict.value, name=finding.name or None, text=finding.text
            )
            for finding in report.findings
        ],
    )
    view: dict[str, Any] = msgspec.to_builtins(found)
    return view
