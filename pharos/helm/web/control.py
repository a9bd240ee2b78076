"""What is asked of a node that changes nothing of the record but the audit.

POST /api/v1/nodes/{id}/restart     {"protocol": "amneziawg" | "vless-reality"}
POST /api/v1/nodes/{id}/log-level   {"level": "debug" | "info"}
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_request, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError
from pharos.helm.fleet.asking import restart_engine, set_log_level
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
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY


class EngineProtocol(enum.Enum):
    """Whose engine, by the name that nodes report it under."""

    AMNEZIAWG = AMNEZIAWG
    VLESS_REALITY = VLESS_REALITY


class LogLevel(enum.Enum):
    """How much a node writes to its log."""

    INFO = "info"
    DEBUG = "debug"


class RestartBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which engine begins anew."""

    protocol: EngineProtocol


class LogLevelBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How much the node writes from now on."""

    level: LogLevel


class Done(msgspec.Struct, kw_only=True):
    """The node has done it."""

    id: str
    name: str
    protocol: EngineProtocol | None = None
    level: LogLevel | None = None


def make_control_blueprint(context: HelmContext) -> Blueprint:
    """Serve both acts."""
    blueprint = Blueprint("control", __name__, url_prefix=f"{API}/nodes")

    async def begin(node_id: str, needed: Role, verb: str, detail: str) -> Node:
        who, noun, at = principal(), request_noun(), now_us()

        def write_down(db: Database) -> Node:
            check_principal(db, who, needed, noun=noun, at=at)
            node = get_record(db, NODES, node_id)
            if node.state not in LINKED:
                raise ConflictError(f"helm does not speak to a node that is {node.state.value}")
            said = f"{node.name}: {detail}"
            append_audit(db, at=at, actor=who.name, via=who.via.value, verb=verb, subject=node.id, detail=said)
            return node

        return await context.store.run(write_down)

    @blueprint.post("/<record_id>/restart")
    @tag(["nodes"])
    @document_request(RestartBody)
    @document_response(Done, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def restart(record_id: str) -> Response:
        """Have an engine of a node begin anew, which ends its sessions"""
        body: Any = await read_body(RestartBody)
        node = await begin(record_id, Role.OPERATOR, "engine_restarted", body.protocol.value)
        await restart_engine(context.authority, node, body.protocol.value)
        return _done(node, protocol=body.protocol)

    @blueprint.post("/<record_id>/log-level")
    @tag(["nodes"])
    @document_request(LogLevelBody)
    @document_response(Done, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def log_level(record_id: str) -> Response:
        """Say how much a node writes to its own log, until it starts again"""
        body: Any = await read_body(LogLevelBody)
        # What a debug log holds of people is more than an operator is there for.
        node = await begin(record_id, Role.ADMIN, "log_level_set", body.level.value)
        await set_log_level(context.authority, node, verbose=body.level is LogLevel.DEBUG)
        return _done(node, level=body.level)

    return blueprint


def _done(node: Node, **more: Any) -> Response:
    return Answer(body=msgspec.to_builtins(Done(id=node.id, name=node.name, **more))).response()
