"""One picture of the fleet: whole for `GET /api/v1/status`, and in brief, without its devices, for open pages."""

from __future__ import annotations

import functools
from typing import Any, Final

import attrs
from quart import Blueprint

import pharos
from pharos.helm.context import HelmContext
from pharos.helm.live.board import Board, Sighting, now_us
from pharos.helm.model.alerts import Alert
from pharos.helm.model.devices import Device
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node
from pharos.helm.model.relays import Relay
from pharos.helm.store.alerts import ALERTS, list_standing
from pharos.helm.store.database import Database
from pharos.helm.store.devices import list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.handshakes import newest_handshakes
from pharos.helm.store.members import member_states
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.relays import list_relays
from pharos.helm.store.settings import setting
from pharos.helm.store.times import microseconds, rfc3339
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.link import LinkState
from pharos.wire.pki.keys import certificate_from_der

Json = dict[str, Any]

# Beyond that nobody reads one by one.
MOST_ALERTS: Final = 100


@attrs.frozen(kw_only=True)
class Picture:
    """The fleet at one moment."""

    sequence: int
    """Of the outbox: what of it the picture holds."""
    epoch: int
    """Of the fleet: sequences of another one say nothing."""
    body: Json


@attrs.frozen(kw_only=True)
class BriefPicture:
    """What open pages begin with; what of it is not for everybody is apart."""

    sequence: int
    epoch: int
    body: Json
    counts: Json
    """Whole (`pharos.helm.live.deltas.readable_counts`)."""


async def take_brief(context: HelmContext) -> BriefPicture:
    """Return the picture without devices, with what counts and figures say."""
    pulse = await context.pulse.take()
    at = now_us()
    facts = await context.store.read(_read_brief)
    board, revision = context.board, facts.fleet.revision
    members: list[Node | Relay] = [*facts.nodes, *facts.relays]
    said = {
        member.id: {
            "version": member.version,
            "place": member.place,
            "latitude": member.latitude,
            "longitude": member.longitude,
            "certificate_ends_at": _certificate_end(member.certificate),
            "last_word_at": _last_word(board.of(member.id), facts.heard.get(member.id, 0), at),
            "note": member.note,
        }
        for member in members
    }
    body = _heading(context, facts.fleet) | {
        "nodes": [_node(node, board, revision) | said[node.id] for node in facts.nodes],
        "relays": [_relay(relay, board) | said[relay.id] for relay in facts.relays],
        "events": [event.as_json() for event in context.hub.recent()],
        "alerts": [ALERTS.view(alert) for alert in facts.alerts],
        "figures": pulse.figures,
    }
    body["fleet"] |= {"name": facts.name, "revision": revision, "epoch": facts.fleet.epoch}
    return BriefPicture(sequence=facts.sequence, epoch=facts.fleet.epoch, body=body, counts=pulse.counts)


async def take_picture(context: HelmContext) -> Picture:
    """Return the whole picture, every device in it."""
    handshakes = await context.store.read_telemetry(newest_handshakes)
    sequence, fleet, nodes, relays, devices = await context.store.read(_read, handshakes)
    body = _heading(context, fleet) | {
        "nodes": [_node(node, context.board, fleet.revision) for node in nodes],
        "relays": [_relay(relay, context.board) for relay in relays],
        "devices": devices,
        "events": [event.as_json() for event in context.hub.recent()],
    }
    return Picture(sequence=sequence, epoch=fleet.epoch, body=body)


def _heading(context: HelmContext, fleet: Fleet) -> Json:
    return {
        "fleet": {"id": fleet.id, "posture": fleet.posture.value},
        "version": pharos.__version__,
        "started_at": rfc3339(context.started_at),
        "beacon_warning": context.beacon_warning or None,
    }


def make_status_blueprint(context: HelmContext) -> Blueprint:
    """Serve the picture."""
    blueprint = Blueprint("status", __name__)

    @blueprint.get("/api/v1/status")
    async def status() -> Json:
        """Show the fleet at a glance"""
        return (await take_picture(context)).body

    return blueprint


def sighting_json(sighting: Sighting) -> Json:
    """Return how a link stands, as pages read it."""
    return {
        "link": sighting.state.value,
        "since": rfc3339(sighting.since),
        "detail": sighting.detail or None,
        "unreachable": sighting.unreachable,
        "clock_skew_ms": sighting.skew // 1000,
    }


def relay_sighting_json(relay: Relay, sighting: Sighting) -> Json:
    """Return how a relay's link stands and what came through it, as pages read it; counts are since helm's start."""
    return sighting_json(sighting) | {
        "aboard": relay.aboard,
        "passages": sighting.peers,
        "accepted": sighting.accepted,
        "refused": sighting.refused,
        "refusals": dict(sighting.refusals),
        "last_error": sighting.error or None,
        "last_error_at": rfc3339(sighting.error_at) if sighting.error else None,
        "certificate_ends_at": _certificate_end(relay.certificate),
        "agent_version": sighting.version or None,
    }


def node_sighting_json(sighting: Sighting) -> Json:
    """Return how a node's link, its engines and its machine are, as pages read it; None is not known."""
    machine = sighting.machine
    return sighting_json(sighting) | {
        "agent_version": sighting.version or None,
        "engines": [
            {"protocol": engine.protocol, "driver": engine.driver, "trouble": engine.trouble or None}
            for engine in sighting.engines
        ],
        "machine": None
        if machine is None
        else {
            "load": round(machine.load, 2),
            "load5": round(machine.load5, 2),
            "processors": machine.processors or None,
            "memory_bytes": machine.memory or None,
            "memory_available_bytes": machine.memory_available if machine.memory else None,
            "disk_bytes": machine.disk or None,
            "disk_free_bytes": machine.disk_free if machine.disk else None,
        },
    }


# Some 40 µs each; a fleet's are the same at every look.
@functools.lru_cache(maxsize=2_000)
def _certificate_end(certificate: bytes) -> str:
    return rfc3339(microseconds(certificate_from_der(certificate).not_valid_after_utc.timestamp()))


def _last_word(sighting: Sighting, heard_at: int, now: int) -> str | None:
    """Return when a member was heard last: now while its link is up; after a restart of helm, as the record has it."""
    at = now if sighting.state is LinkState.UP else max(sighting.heard_at, heard_at)
    return rfc3339(at) if at else None


@attrs.frozen(kw_only=True)
class _Facts:
    sequence: int
    fleet: Fleet
    name: str
    nodes: list[Node]
    relays: list[Relay]
    alerts: list[Alert]
    heard: dict[str, int]


def _read_brief(db: Database) -> _Facts:
    return _Facts(
        sequence=last_sequence(db),
        fleet=get_fleet(db),
        name=setting(db, "fleet.name"),
        nodes=list_nodes(db),
        relays=list_relays(db),
        alerts=list_standing(db, MOST_ALERTS),
        heard={member_id: state.heard_at for member_id, state in member_states(db).items()},
    )


def _read(
    db: Database, handshakes: dict[DeviceId, tuple[NodeId, int]]
) -> tuple[int, Fleet, list[Node], list[Relay], list[Json]]:
    # Devices are many: their JSON is made here, in the reader's thread, and not in the loop that serves everybody.
    devices = [_device(device, handshakes) for device in list_devices(db)]
    return last_sequence(db), get_fleet(db), list_nodes(db), list_relays(db), devices


def _node(node: Node, board: Board, revision: int) -> Json:
    sighting = board.of(node.id)
    return {
        "id": node.id,
        "name": node.name,
        "address": node.address,
        "control_port": node.control_port,
        "awg_port": node.awg_port,
        "tags": list(node.tags),
        "state": node.state.value,
        **node_sighting_json(sighting),
        "applied_revision": sighting.applied.revision,
        "desired_revision": revision,
        "peers": sighting.peers,
    }


def _relay(relay: Relay, board: Board) -> Json:
    sighting = board.of(relay.id)
    return {
        "id": relay.id,
        "name": relay.name,
        "address": relay.address,
        "ingress_port": relay.ingress_port,
        "tunnel_port": relay.tunnel_port,
        "state": relay.state.value,
        **relay_sighting_json(relay, sighting),
    }


def _device(device: Device, handshakes: dict[DeviceId, tuple[NodeId, int]]) -> Json:
    node, at = handshakes.get(device.id, (None, None))
    return {
        "id": device.id,
        "name": device.name,
        "state": device.state.value,
        "created_at": rfc3339(device.created_at),
        "last_handshake_at": None if at is None else rfc3339(at),
        "node": node,
    }
