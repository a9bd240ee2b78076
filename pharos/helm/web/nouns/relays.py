"""Relays, as REST serves them."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from pharos.helm.context import HelmContext
from pharos.helm.fleet.relays import change_relay, move_relay, remove_relay
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import NodeAct
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.agents import NewRelay, adopt_relay
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.relays import RELAYS
from pharos.helm.web.acting import Answer
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.nouns.nodes import SAYS
from pharos.helm.web.nouns.readopt import readopt_act
from pharos.helm.web.resources import API, ItemAct, Resource, View
from pharos.helm.web.status import relay_sighting_json
from pharos.wire.agent import AgentRequest
from pharos.wire.pki import roles


class RelayBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A machine that asks to become a relay, and what it shall be called."""

    request: str
    """What `beacon csr` printed there."""
    name: str
    address: str
    ingress_port: int
    tunnel_port: int
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


class RelayChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a relay changes; what is left out stays."""

    name: str | Unset = UNSET
    address: str | Unset = UNSET
    ingress_port: int | Unset = UNSET
    tunnel_port: int | Unset = UNSET
    note: str | Unset = UNSET
    place: str | Unset = UNSET
    latitude: float | Unset | None = UNSET
    longitude: float | Unset | None = UNSET
    ssh_destination: str | Unset = UNSET
    ssh_host_key: str | Unset = UNSET


def _add(context: HelmContext, db: Database, act: Act, body: RelayBody) -> Answer:
    values = given(body)
    request = AgentRequest.parse(values.pop("request"))
    relay, grant = adopt_relay(db, act, context.authority, request, NewRelay(**values))
    return Answer(
        body=_view(context, db, relay) | {"grant": grant.render()},
        status=201,
        version=relay.version,
        location=f"{API}/{RELAYS.table}/{relay.id}",
    )


def _view(context: HelmContext, db: Database, relay: Relay) -> View:
    return RELAYS.view(relay) | {
        **relay_sighting_json(relay, context.board.of(relay.id)),
        "certificates": [{"id": c.id, "state": c.state.value} for c in certificates_of(db, relay.id)],
    }


def _move(verb: NodeAct, db: Database, act: Act, relay_id: str, version: int) -> Relay:
    return move_relay(db, act, relay_id, version, verb)


RELAY_RESOURCE: Resource[Relay] = Resource(
    noun=RELAYS,
    in_helm=True,
    view=_view,
    writes=Role.ADMIN,
    add_body=RelayBody,
    add=_add,
    change_body=RelayChange,
    change=lambda db, act, relay_id, version, body: change_relay(db, act, relay_id, version, given(body)),
    remove=remove_relay,
    acts={"readopt": readopt_act(roles.Role.RELAY)}
    | {
        verb.value: ItemAct[Any](
            do=functools.partial(_move, verb),
            role=Role.ADMIN if verb is NodeAct.REVOKE else Role.OPERATOR,
            says=says.format(noun="relay"),
        )
        for verb, says in SAYS.items()
    },
)
