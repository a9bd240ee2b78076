"""What the operator's own commands may ask, over the Unix socket only: file permissions are its authentication."""

from __future__ import annotations

import datetime
import json
from typing import Any, TypeVar

from quart import Blueprint, request

from pharos.helm.accounts.devices import revoke_device
from pharos.helm.accounts.tickets import invite_device
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.onboard.agents import NewNode, NewRelay, adopt_node, adopt_relay
from pharos.wire.agent import AgentRequest

# Who acts, for the outbox, until admins have names of their own.
OPERATOR = "operator"

T = TypeVar("T")


def make_acts_blueprint(context: HelmContext) -> Blueprint:
    """Serve the acts; each is one transaction."""
    blueprint = Blueprint("acts", __name__)
    store, authority = context.store, context.authority

    @blueprint.post("/api/v1/nodes")
    async def add_node() -> dict[str, Any]:
        body = await _body()
        agent_request = AgentRequest.parse(_member(body, "request", str))
        wanted = NewNode(
            name=_member(body, "name", str),
            address=_member(body, "address", str),
            control_port=_member(body, "control_port", int),
            awg_port=_member(body, "awg_port", int),
            tags=_texts(body, "tags"),
        )
        node, grant = await store.run(adopt_node, authority, agent_request, wanted, actor=OPERATOR, now=_now())
        return {"id": node.id, "name": node.name, "grant": grant.render()}

    @blueprint.post("/api/v1/relays")
    async def add_relay() -> dict[str, Any]:
        body = await _body()
        agent_request = AgentRequest.parse(_member(body, "request", str))
        wanted = NewRelay(
            name=_member(body, "name", str),
            address=_member(body, "address", str),
            ingress_port=_member(body, "ingress_port", int),
            tunnel_port=_member(body, "tunnel_port", int),
        )
        relay, grant = await store.run(adopt_relay, authority, agent_request, wanted, actor=OPERATOR, now=_now())
        return {"id": relay.id, "name": relay.name, "grant": grant.render()}

    @blueprint.post("/api/v1/tickets")
    async def add_ticket() -> dict[str, Any]:
        body = await _body()
        invitation = await store.run(
            invite_device,
            authority,
            context.vault,
            device_name=_member(body, "device_name", str),
            lifetime=_seconds(body, "seconds"),
            actor=OPERATOR,
            now=_now(),
        )
        return {"link": invitation.link, "expires_at": invitation.expires_at.isoformat()}

    @blueprint.post("/api/v1/devices/revoke")
    async def revoke() -> dict[str, Any]:
        # In the body, for a name may hold what a path cannot: slashes, or nothing but two dots.
        device = _member(await _body(), "device", str)
        revoked = await store.run(revoke_device, device, actor=OPERATOR, now=_now())
        return {"id": revoked.id, "name": revoked.name, "state": revoked.state.value}

    return blueprint


async def _body() -> dict[str, Any]:
    try:
        body = json.loads(await request.get_data())
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError too
        body = None
    if not isinstance(body, dict):
        raise InvalidRequestError("the request body is not a JSON object")
    return body


def _member(body: dict[str, Any], name: str, kind: type[T]) -> T:
    value = body.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequestError(f"{name!r} has to be there and of type {kind.__name__}")
    return value


def _texts(body: dict[str, Any], name: str) -> tuple[str, ...]:
    values = _member(body, name, list)
    if not all(isinstance(value, str) for value in values):
        raise InvalidRequestError(f"{name!r} has to be a list of texts")
    return tuple(values)


def _seconds(body: dict[str, Any], name: str) -> datetime.timedelta:
    try:
        return datetime.timedelta(seconds=_member(body, name, int))
    except OverflowError as error:
        raise InvalidRequestError(f"{name!r} is too large") from error


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
