"""One look at a member over mTLS, beside the link that helm keeps to it; helm need not run for it.

POST /api/v1/nodes/{id}/see
POST /api/v1/relays/{id}/see
"""

from __future__ import annotations

import attrs
import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import LINKED, Node
from pharos.helm.model.relays import TUNNELLED, Relay
from pharos.helm.onboard.join.desk import Seen
from pharos.helm.onboard.join.seeing import see_node, see_relay
from pharos.helm.store.admins import check_principal
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.web.acting import Answer, principal, request_noun
from pharos.helm.web.resources import API, Problem
from pharos.wire.link import LinkState


class SeenMember(msgspec.Struct, kw_only=True):
    """What a member said of itself."""

    version: str
    """Of its agent; empty where a look does not tell."""
    ordered: bool
    """helm has told it what to serve."""
    troubles: list[str]
    """Of its engines."""
    reality_port: int
    """TCP, where it serves REALITY; 0: it does not."""


def make_seeing_blueprint(context: HelmContext) -> Blueprint:
    """Serve both looks."""
    blueprint = Blueprint("seeing", __name__, url_prefix=API)

    @blueprint.post("/nodes/<record_id>/see")
    @document_response(SeenMember, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    @tag(["nodes"])
    async def node(record_id: str) -> Response:
        """Dial a node once, and show what it says of itself"""
        who, noun = principal(), request_noun()

        def read(db: Database) -> Node:
            check_principal(db, who, Role.OPERATOR, noun=noun, at=now_us())
            found = get_record(db, NODES, record_id)
            if found.state not in LINKED:
                raise ConflictError(f"helm does not speak to a node that is {found.state.value}")
            return found

        return _shown(await see_node(context.authority, await context.store.read(read)))

    @blueprint.post("/relays/<record_id>/see")
    @document_response(SeenMember, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    @tag(["relays"])
    async def relay(record_id: str) -> Response:
        """Dial a relay once, and have it prove itself"""
        who, noun = principal(), request_noun()

        def read(db: Database) -> Relay:
            check_principal(db, who, Role.OPERATOR, noun=noun, at=now_us())
            found = get_record(db, RELAYS, record_id)
            if found.state not in TUNNELLED or found.aboard:
                raise ConflictError(f"helm does not dial {found.name}: it is {found.state.value}, or aboard of helm")
            return found

        seen = await see_relay(context.authority, await context.store.read(read))
        # What a relay is told, it is told on the link that helm keeps.
        return _shown(attrs.evolve(seen, ordered=context.board.of(record_id).state is LinkState.UP))

    return blueprint


def _shown(seen: Seen) -> Response:
    body = SeenMember(
        version=seen.version,
        ordered=seen.ordered,
        troubles=list(seen.troubles),
        reality_port=seen.reality_port,
    )
    return Answer(body=msgspec.to_builtins(body)).response()
