"""Nodes, as REST serves them."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.nodes import change_node, move_node, push_node, remove_node
from pharos.helm.fleet.reality import change_target
from pharos.helm.fleet.reissue import BOTH, reissue_node
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import Node, NodeAct
from pharos.helm.model.users import Protocol
from pharos.helm.onboard.agents import NewNode, adopt_node
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.members import member_state
from pharos.helm.store.nodes import NODES
from pharos.helm.store.realitykeys import reality_keys
from pharos.helm.store.reissues import count_unaware, newest_reissues, reissues_of
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.nouns.readopt import readopt_act
from pharos.helm.web.resources import API, ItemAct, Resource, View
from pharos.helm.web.status import node_sighting_json
from pharos.wire.agent import AgentRequest
from pharos.wire.pki import roles


class NodeBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A machine that asks to become a node, and what it shall be called."""

    request: str
    """What `buoy csr` printed there."""
    name: str
    address: str
    control_port: int
    awg_port: int
    tags: list[str] = msgspec.field(default_factory=list)
    note: str = ""
    place: str = ""
    """Where it stands, as people say it; at most 80 characters."""
    latitude: float | None = None
    """Degrees north, -90 to 90; with ``longitude``, or neither."""
    longitude: float | None = None
    """Degrees east, -180 to 180."""
    ssh_destination: str = ""
    """How it is reached by SSH, where it is."""
    ssh_host_key: str = ""


class NodeChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a node changes; what is left out stays."""

    name: str | Unset = UNSET
    address: str | Unset = UNSET
    control_port: int | Unset = UNSET
    awg_port: int | Unset = UNSET
    spare_ports: list[int] | Unset = UNSET
    tags: list[str] | Unset = UNSET
    note: str | Unset = UNSET
    place: str | Unset = UNSET
    latitude: float | Unset | None = UNSET
    longitude: float | Unset | None = UNSET
    ssh_destination: str | Unset = UNSET
    ssh_host_key: str | Unset = UNSET


class ReissueBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which parameters are replaced."""

    protocols: list[Protocol] = msgspec.field(default_factory=lambda: sorted(BOTH, key=lambda one: one.value))


class TargetBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The site that a node's REALITY stands before."""

    target: str
    """``host:port``."""
    server_names: list[str] = msgspec.field(default_factory=list)
    """None: the host's own."""


def _add(context: HelmContext, db: Database, act: Act, body: NodeBody) -> Answer:
    values = given(body)
    request = AgentRequest.parse(values.pop("request"))
    node, grant = adopt_node(db, act, context.authority, request, NewNode(**values))
    return Answer(
        body=_view(context, db, node) | {"grant": grant.render()},
        status=201,
        version=node.version,
        location=f"{API}/{NODES.table}/{node.id}",
    )


def _view(context: HelmContext, db: Database, node: Node) -> View:
    key = None if node.reality is None else reality_keys(db, node.id).get(node.reality.generation)
    return NODES.view(node) | {
        **node_sighting_json(context.board.of(node.id)),
        "reality_key": None if key is None else key.public_key.hex(),
        "reality_port": member_state(db, node.id).reality_port or None,
        "parameters_since": _parameters_since(db, node),
        "previous_parameters": [
            {
                "port": reissue.port,
                "until": rfc3339(reissue.until_at),
                "devices": count_unaware(db, reissue, now_us()),
                "protocols": sorted(protocol.value for protocol in reissue.replaced),
            }
            for reissue in reissues_of(db, node.id)
        ],
        "certificates": [{"id": c.id, "state": c.state.value} for c in certificates_of(db, node.id)],
    }


def _parameters_since(db: Database, node: Node) -> dict[str, str]:
    """Return since when the parameters in use are, by protocol; those of a node's first are as old as it is."""
    newest = newest_reissues(db, now_us()).get(node.id, {})
    return {protocol.value: rfc3339(newest.get(protocol, node.created_at)) for protocol in Protocol}


def _reissue(db: Database, act: Act, node_id: str, version: int, body: ReissueBody) -> Node:
    if not body.protocols:
        raise InvalidRequestError("name a protocol, or leave them out to replace the parameters of all")
    return reissue_node(db, act, node_id, version, body.protocols)


def _aim(db: Database, act: Act, node_id: str, version: int, body: TargetBody) -> Node:
    return change_target(db, act, node_id, version, body.target, body.server_names)


def _move(verb: NodeAct, db: Database, act: Act, node_id: str, version: int) -> Node:
    return move_node(db, act, node_id, version, verb)


SAYS = {
    NodeAct.DRAIN: "Leave a {noun} out of new profiles; it serves who is there",
    NodeAct.RESUME: "End draining a {noun}",
    NodeAct.DISABLE: "Let a {noun} serve nobody until it is enabled",
    NodeAct.ENABLE: "Let a {noun} serve again",
    NodeAct.REVOKE: "Put a {noun} out of the fleet for ever",
}
"""What people can do; joining is what a machine does."""


NODE_RESOURCE: Resource[Node] = Resource(
    noun=NODES,
    in_helm=True,
    view=_view,
    writes=Role.ADMIN,
    add_body=NodeBody,
    add=_add,
    change_body=NodeChange,
    change=lambda db, act, node_id, version, body: change_node(db, act, node_id, version, given(body)),
    remove=remove_node,
    acts={"push": ItemAct[Any](do=push_node, role=Role.OPERATOR, says="Dial a node anew, and tell it what it lacks")}
    | {
        "reissue": ItemAct[Any](
            do=_reissue,
            role=Role.ADMIN,
            body=ReissueBody,
            body_optional=True,
            says="Give a node new parameters and REALITY keys",
        ),
        "target": ItemAct[Any](
            do=_aim, role=Role.ADMIN, body=TargetBody, says="Put a node's REALITY before another site"
        ),
    }
    | {"readopt": readopt_act(roles.Role.NODE)}
    | {
        verb.value: ItemAct[Any](
            do=functools.partial(_move, verb),
            role=Role.ADMIN if verb is NodeAct.REVOKE else Role.OPERATOR,
            says=says.format(noun="node"),
        )
        for verb, says in SAYS.items()
    },
)
