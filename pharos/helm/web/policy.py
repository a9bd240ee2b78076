"""What devices may reach through a node, and the rules of its firewall that say so.

GET  /api/v1/nodes/{id}/policy           the fleet's settings, and the rules as nft lists them
POST /api/v1/nodes/{id}/policy/preview   the same for other settings; it changes nothing
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
from quart import Blueprint, Response
from quart_schema import document_request, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.firewalls import Firewalls, assumed_plan
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import Node
from pharos.helm.model.settings import KNOWN
from pharos.helm.store.admins import check_principal
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.web.acting import Answer, principal, request_noun
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Problem
from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.nfttext import nft_text


class PolicyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Settings to try, each as its setting ``policy.…`` has it; what is left out is as it is."""

    internet: bool | Unset = UNSET
    peer_to_peer: bool | Unset = UNSET
    closed: list[str] | Unset = UNSET
    resolvers: list[str] | Unset = UNSET


class PolicySettings(msgspec.Struct, kw_only=True):
    """Of the fleet; every node has the same."""

    internet: bool
    peer_to_peer: bool
    closed: list[str]
    resolvers: list[str]


class PolicyShown(msgspec.Struct, kw_only=True):
    """What devices may reach through a node."""

    settings: PolicySettings
    rules: str
    """As ``nft list table inet pharos`` prints them on the node."""
    assumed: str | None
    """Why the rules are those of a machine as the package sets it up; null: they are by the node's own word."""


def make_policy_blueprint(context: HelmContext) -> Blueprint:
    """Serve both."""
    blueprint = Blueprint("policy", __name__, url_prefix=f"{API}/nodes")
    firewalls = Firewalls()

    async def show(node_id: str, wanted: dict[str, Any]) -> Response:
        who, noun = principal(), request_noun()

        def read(db: Database) -> tuple[Node, NetworkPlan]:
            check_principal(db, who, Role.VIEWER, noun=noun, at=now_us())
            return get_record(db, NODES, node_id), assumed_plan(db)

        node, assumed = await context.store.read(read)
        policy = _changed(assumed.policy, wanted)
        firewall = await firewalls.of(context.authority, node, assumed)
        rules = nft_text(attrs.evolve(firewall.plan, policy=policy))
        body = PolicyShown(settings=PolicySettings(**policy.as_json()), rules=rules, assumed=firewall.told or None)
        return Answer(body=msgspec.to_builtins(body)).response()

    @blueprint.get("/<record_id>/policy")
    @document_response(PolicyShown, 200)
    @document_response(Problem, 404)
    @tag(["nodes"])
    async def get(record_id: str) -> Response:
        """Show what devices may reach through a node, and the rules that say so"""
        return await show(record_id, {})

    @blueprint.post("/<record_id>/policy/preview")
    @document_request(PolicyChange)
    @document_response(PolicyShown, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @tag(["nodes"])
    async def preview(record_id: str) -> Response:
        """Show the rules that other settings would make; nothing changes"""
        body: Any = await read_body(PolicyChange)
        return await show(record_id, given(body))

    return blueprint


def _changed(policy: Policy, wanted: dict[str, Any]) -> Policy:
    """Raises: InvalidRequestError — a value is none that its setting could have."""
    for name, value in wanted.items():
        known = KNOWN[f"policy.{name}"]
        if not known.check(list(value) if isinstance(value, tuple) else value):
            raise InvalidRequestError(f"{name} has to be {known.wants}")
    return attrs.evolve(policy, **wanted)
