"""One picture of the fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pharos
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.handshakes import NodeEvent, add_events
from pharos.helm.store.times import rfc3339
from pharos.helm.web.app import make_operator_app
from pharos.wire.convert import MAX_TIME
from pharos.wire.desired import Fence
from pharos.wire.link import LinkState
from pharos.wire.reports import EngineReport, MachineReport
from tests.support.helm import (
    STARTED_AT,
    SampleHelm,
    adopt_sample_node,
    adopt_sample_relay,
    enrol_sample_device,
    open_helm,
)
from tests.support.http import asking


async def status_of(helm: SampleHelm) -> dict[str, Any]:
    async with asking(make_operator_app(helm.context)) as client:
        answer = await client.get("/api/v1/status")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def test_empty_fleet_is_a_picture_too(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        picture = await status_of(helm)
        fleet = await helm.store.run(get_fleet)
    assert picture == {
        "beacon_warning": None,
        "fleet": {"id": fleet.id, "posture": "personal"},
        "version": pharos.__version__,
        "started_at": rfc3339(STARTED_AT),
        "nodes": [],
        "relays": [],
        "devices": [],
        "events": [],
    }


async def test_picture_shows_record_sightings_and_handshakes_together(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority, tags=("eu",))
        relay, _ = await helm.store.run(adopt_sample_relay, helm.authority)
        phone = await helm.store.run(enrol_sample_device, 1, "phone")
        await helm.store.run(enrol_sample_device, 2, "laptop")
        handshake = NodeEvent(at=STARTED_AT, kind="handshake", node_id=node.id, device_id=phone.id, detail="")
        await helm.store.record(add_events, [handshake])
        board = helm.context.board
        board.report(node.id, node.name, LinkState.UP, "")
        board.of(node.id).applied, board.of(node.id).peers = Fence(1, 1, 3), 2
        board.report(relay.id, relay.name, LinkState.LOST, "no route")
        board.of(node.id).skew, board.of(node.id).version = -400_000_000, "0.1.0"
        engine = EngineReport(protocol="amneziawg", driver="kernel", trouble="no interface")
        board.hear(node.id, (engine,), MachineReport(load=0.256, load5=0.1, processors=2, disk=1000, disk_free=10))
        board.unreachable(relay.id)
        picture = await status_of(helm)
        revision = (await helm.store.run(get_fleet)).revision

    (seen_node,), (seen_relay,) = picture["nodes"], picture["relays"]
    assert (seen_node["id"], seen_node["name"], seen_node["tags"]) == (node.id, "amsterdam", ["eu"])
    assert (seen_node["link"], seen_node["detail"], seen_node["peers"]) == ("up", None, 2)
    assert (seen_node["applied_revision"], seen_node["desired_revision"]) == (3, revision)
    assert (seen_node["unreachable"], seen_node["clock_skew_ms"]) == (False, -400_000)
    assert seen_node["agent_version"] == "0.1.0"
    assert seen_node["engines"] == [{"protocol": "amneziawg", "driver": "kernel", "trouble": "no interface"}]
    assert seen_node["machine"] == {
        "load": 0.26,
        "load5": 0.1,
        "processors": 2,
        "memory_bytes": None,
        "memory_available_bytes": None,
        "disk_bytes": 1000,
        "disk_free_bytes": 10,
    }
    assert "engines" not in seen_relay
    assert (seen_relay["unreachable"], seen_relay["clock_skew_ms"]) == (True, 0)
    assert (seen_relay["link"], seen_relay["detail"], seen_relay["passages"]) == ("lost", "no route", 0)
    seen_phone, seen_laptop = picture["devices"]
    assert (seen_phone["name"], seen_phone["state"], seen_phone["node"]) == ("phone", "active", node.id)
    assert seen_phone["last_handshake_at"] == rfc3339(STARTED_AT)
    assert (seen_laptop["last_handshake_at"], seen_laptop["node"]) == (None, None)
    assert [event["kind"] for event in picture["events"]] == ["link_up", "link_lost", "engine_trouble", "unreachable"]


async def test_picture_holds_no_key_or_certificate(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        await helm.store.run(adopt_sample_node, helm.authority)
        device = await helm.store.run(enrol_sample_device, 1)
        text = json.dumps(await status_of(helm))
    for key in device.keys.in_order():
        assert key.hex() not in text
    for word in ("key", "certificate", "secret", "BEGIN"):
        assert word not in text


def test_time_is_rfc_3339_in_utc_up_to_the_last_that_fits() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_500_000) == "1970-01-01T00:00:01.500000Z"
    assert rfc3339(MAX_TIME) == "9999-12-31T23:59:59Z"
