"""One picture of the fleet, and the live feed that keeps it current."""

from __future__ import annotations

import datetime
import json
from typing import Any

from quart import Blueprint, websocket

import pharos
from pharos.helm.context import HelmContext
from pharos.helm.live.board import Board, Sighting
from pharos.helm.live.hub import LiveEvent
from pharos.helm.model.devices import Device
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node
from pharos.helm.model.relays import Relay
from pharos.helm.store.database import Database
from pharos.helm.store.devices import list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.handshakes import newest_handshakes
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.wire.ids import DeviceId, NodeId


async def picture(context: HelmContext) -> dict[str, Any]:
    """Return the whole picture as the overview page reads it."""
    fleet, nodes, relays, devices = await context.store.run(_read)
    handshakes = await context.store.record(newest_handshakes)
    return {
        "fleet": {"id": fleet.id, "posture": fleet.posture.value},
        "version": pharos.__version__,
        "started_at": rfc3339(context.started_at),
        "nodes": [_node(node, context.board, fleet.revision) for node in nodes],
        "relays": [_relay(relay, context.board) for relay in relays],
        "devices": [_device(device, handshakes) for device in devices],
        "events": [event_json(event) for event in context.hub.recent()],
    }


def make_status_blueprint(context: HelmContext) -> Blueprint:
    """Serve the picture and the feed; both only read."""
    blueprint = Blueprint("status", __name__)

    @blueprint.get("/api/v1/status")
    async def status() -> dict[str, Any]:
        return await picture(context)

    @blueprint.websocket("/api/v1/live")
    async def live() -> None:
        async with context.hub.open_subscriber() as subscriber:
            # The snapshot is read after subscribing, so no change falls between the two.
            await websocket.send(json.dumps({"snapshot": await picture(context)}))
            while True:
                events = await subscriber.receive()
                lost, subscriber.lost = subscriber.lost, 0
                await websocket.send(json.dumps({"events": [event_json(event) for event in events], "lost": lost}))

    return blueprint


def event_json(event: LiveEvent) -> dict[str, Any]:
    """Return an event as pages read it."""
    return event.as_json() | {"at": rfc3339(event.at)}


def rfc3339(microseconds: int) -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.datetime.fromtimestamp(microseconds / 1e6, datetime.UTC).isoformat().replace("+00:00", "Z")


def _read(db: Database) -> tuple[Fleet, list[Node], list[Relay], list[Device]]:
    return get_fleet(db), list_nodes(db), list_relays(db), list_devices(db)


def _seen(sighting: Sighting) -> dict[str, Any]:
    return {
        "link": sighting.state.value,
        "since": rfc3339(sighting.since),
        "detail": sighting.detail or None,
    }


def _node(node: Node, board: Board, revision: int) -> dict[str, Any]:
    sighting = board.of(node.id)
    return {
        "id": node.id,
        "name": node.name,
        "address": node.address,
        "control_port": node.control_port,
        "awg_port": node.awg_port,
        "tags": list(node.tags),
        "state": node.state.value,
        **_seen(sighting),
        "applied_revision": sighting.applied.revision,
        "desired_revision": revision,
        "peers": sighting.peers,
    }


def _relay(relay: Relay, board: Board) -> dict[str, Any]:
    sighting = board.of(relay.id)
    return {
        "id": relay.id,
        "name": relay.name,
        "address": relay.address,
        "ingress_port": relay.ingress_port,
        "tunnel_port": relay.tunnel_port,
        "state": relay.state.value,
        **_seen(sighting),
        "passages": sighting.peers,
    }


def _device(device: Device, handshakes: dict[DeviceId, tuple[NodeId, int]]) -> dict[str, Any]:
    node, at = handshakes.get(device.id, (None, None))
    return {
        "id": device.id,
        "name": device.name,
        "state": device.state.value,
        "created_at": rfc3339(device.created_at),
        "last_handshake_at": None if at is None else rfc3339(at),
        "node": node,
    }
