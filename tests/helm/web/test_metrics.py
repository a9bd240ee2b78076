"""Numbers of the fleet: for Prometheus as its own parser reads them, as charts, and the list of sessions."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import pharos
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import Node
from pharos.helm.model.telemetry import PeerReading
from pharos.helm.store.database import Database
from pharos.helm.store.samples import HELM, note_look
from pharos.helm.store.times import rfc3339
from pharos.helm.telemetry.backlog import Backlog, Batch
from pharos.helm.telemetry.ingest import Ingest, write_batch
from pharos.helm.telemetry.readings import READ_EVERY
from pharos.helm.web import charts, metrics
from pharos.helm.web.app import make_loopback_app, make_operator_app
from pharos.helm.web.nouns import sessions
from pharos.wire.ids import DeviceId
from pharos.wire.link import LinkState
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in
from tests.support.telemetry import BORN, SECOND, event, reading

NOW = BORN + 3_600 * SECOND
STEP = round(READ_EVERY)
HOSTS = {"localhost:8440"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (charts, sessions, metrics):
        monkeypatch.setattr(module, "now_us", lambda: NOW)


@attrs.frozen
class Scene:
    helm: SampleHelm
    client: httpx.AsyncClient
    node: Node
    device: DeviceId

    async def get(self, path: str, **query: str) -> Any:
        response = await self.client.get(f"/api/v1/{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def metrics(self, **query: str) -> dict[tuple[str, str], float]:
        """Give values by name and by whatever the sample is of."""
        response = await self.client.get("/metrics", params=query)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(response.text))
        assert all(family.documentation for family in families)
        return {
            (sample.name, next(iter(sample.labels.values()), "")): sample.value
            for family in families
            for sample in family.samples
        }


def tell(db: Database, node: Node, device: DeviceId, *, until: int = 3_600) -> None:
    """Let a node be read for an hour, with an absence of helm in the third quarter: 30 bytes a second came in."""
    for seconds in range(0, until + 1, STEP):
        if 1_800 < seconds < 2_700:
            continue
        note_look(db, HELM, BORN + seconds * SECOND)
        events = [event(seconds, node=node.id, device=device, detail="198.51.100.4:1")] if seconds % 120 == 0 else []
        peer = PeerReading(received=seconds * 30, sent=seconds * 60, last_handshake=BORN + seconds * SECOND)
        one = attrs.evolve(reading(seconds, node=node.id), peers={device: peer}, count=1, sessions=1)
        write_batch(db, Batch(events=events, readings=[one], dropped={}), at=BORN + seconds * SECOND)


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        device = await helm.store.run(enrol_sample_device, 1, 'a "phone"\n')
        await helm.store.record(tell, node, device.id)
        yield Scene(helm, client, node, device.id)


async def test_prometheus_reads_how_the_fleet_stands(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        board = at.helm.context.board
        board.report(at.node.id, at.node.name, LinkState.UP, "")
        board.of(at.node.id).peers = 1
        found = await at.metrics()
    assert found["pharos_build_info", pharos.__version__] == 1
    assert found["pharos_node_up", "amsterdam"] == 1
    assert found["pharos_node_peers", "amsterdam"] == 1
    assert found["pharos_sessions", "amsterdam"] == 1
    assert found["pharos_node_receive_bytes_total", "amsterdam"] == 3_600 * 30
    assert found["pharos_node_transmit_bytes_total", "amsterdam"] == 3_600 * 60
    assert found["pharos_devices", "active"] == 1
    assert found["pharos_store_commit_seconds_count", "core"] == at.helm.store.core.commits > 0
    assert found["pharos_store_writable", "telemetry"] == 1
    assert not [name for name, _ in found if name.startswith("pharos_device_")]


async def test_devices_are_told_apart_if_somebody_asks(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        found = await at.metrics(devices="1")
        assert found["pharos_device_receive_bytes_total", 'a "phone"\n'] == 3_600 * 30
        assert (await at.client.get("/metrics", params={"devices": "2"})).status_code == 400
        assert (await at.client.get("/metrics", params={"node": "x"})).status_code == 400


async def test_queue_and_what_was_dropped_are_shown(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        context = attrs.evolve(helm.context, ingest=Ingest(Backlog(most_others=2)))
        context.ingest.offer_events(event(n, "gap", device=None) for n in range(5))
        async with asking(make_operator_app(context)) as client:
            text = (await client.get("/metrics")).text
        assert "pharos_ingest_queue_length 2.0" in text
        assert 'pharos_ingest_dropped_events_total{kind="gap"} 3.0' in text


async def test_two_helms_in_one_process_share_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir(mode=0o700)
    async with scene(tmp_path / "one") as one, open_helm(tmp_path / "two") as other:
        async with asking(make_operator_app(other.context)) as client:
            assert ("pharos_node_peers", "amsterdam") in await one.metrics()
            assert "amsterdam" not in (await client.get("/metrics")).text


PATHS = ("/metrics", "/api/v1/charts/received", "/api/v1/sessions", "/api/v1/sessions/x")


@pytest.mark.parametrize("path", PATHS)
async def test_numbers_take_a_session_and_a_viewer_is_enough(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By the scene's clock every session of today has ended.
    monkeypatch.undo()
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        assert (await client.get(path)).status_code == 401
        headers = await sign_in(helm.context, role=Role.VIEWER)
        assert (await client.get(path, headers=headers)).status_code == (404 if path.endswith("/x") else 200)


async def test_chart_of_a_node_has_a_hole_where_helm_was_away_and_its_bytes_in_the_total(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        chart = await at.get("charts/received", node=at.node.id)
    assert (chart["metric"], chart["unit"], chart["step"]) == ("received", "bytes/s", STEP)
    assert datetime.datetime.fromisoformat(chart["since"]) == datetime.datetime.fromtimestamp(
        BORN / SECOND, datetime.UTC
    )
    values = chart["values"]
    assert len(values) == 3_600 // STEP
    hole = range(1_800 // STEP, 2_700 // STEP)
    assert [number for number, value in enumerate(values) if value is None] == list(hole)
    # The first reading finds nothing; what came in the gap stands at no point, for nobody knows when it was.
    seen = [value for value in values if value is not None]
    assert seen[0] == 0
    assert set(seen[1:]) == {0.0, 30.0}
    assert seen.count(0.0) == 2
    # The reading of this very moment belongs to the next point.
    assert (chart["total"], chart["unseen"]) == (3_600 * 30 - 30 * STEP, 900 * 30)
    assert {"since": rfc3339(BORN + 1_800 * SECOND), "until": rfc3339(BORN + 2_700 * SECOND)} in chart["gaps"]


async def test_fleet_and_device_have_charts_of_their_own(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        other, _ = await at.helm.store.run(adopt_sample_node, at.helm.authority, "berlin")
        await at.helm.store.record(tell, other, at.device)
        assert (await at.get("charts/received"))["values"][5] == 60.0
        assert (await at.get("charts/received", device=at.device))["values"][5] == 60.0
        assert (await at.get("charts/received", device=at.device, node=other.id))["values"][5] == 30.0
        assert (await at.get("charts/received", device="nobody"))["values"][5] == 0.0


async def test_gauges_show_their_mean_and_range(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        latency = await at.get("charts/latency", node=at.node.id)
        assert (latency["values"][5], latency["low"][5], latency["high"][5]) == (1_500.0, 1_500, 1_500)
        assert (latency["total"], latency["unit"]) == (None, "us")
        assert (await at.get("charts/sessions"))["values"][5] == 1.0
        assert (await at.get("charts/handshakes", node=at.node.id))["total"] >= 3_600 // 120 - 10


@pytest.mark.parametrize("days", [1, 7, 90, 700])
async def test_chart_of_any_length_has_at_most_500_points(tmp_path: Path, days: int) -> None:
    async with scene(tmp_path) as at:
        since = rfc3339(NOW - days * 86_400 * SECOND)
        chart = await at.get("charts/received", since=since)
        assert 150 < len(chart["values"]) <= 500
        # The reading of this very moment may belong to the next point.
        assert 3_600 * 30 - chart["total"] in (0, 30 * STEP), "roll-ups hold what the samples held"
        assert chart["values"][0] is None, "before helm there was nothing to see"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("charts/colour", {}, 404),
        ("charts/received_unseen", {}, 404),
        ("charts/received", {"colour": "red"}, 400),
        ("charts/latency", {"device": "d"}, 400),
        ("charts/received", {"since": "yesterday"}, 400),
        ("charts/received", {"since": "2026-01-01T00:00:00"}, 400),
        ("charts/received", {"since": "0001-01-01T00:00:00Z"}, 400),
        ("charts/received", {"since": "2027-01-02T00:00:00Z", "until": "2027-01-01T00:00:00Z"}, 400),
        ("charts/received", {"since": "1999-01-01T00:00:00Z"}, 400),
        ("charts/received", {"since": "9999-12-31T23:00:00Z", "until": "9999-12-31T23:59:59Z"}, 200),
        ("charts/received", {"since": "9999-12-31T23:00:00Z", "until": "9999-12-31T23:59:59-14:00"}, 400),
        ("sessions", {"colour": "red"}, 400),
        ("sessions", {"live": "maybe"}, 400),
        ("sessions", {"sort": "node"}, 400),
        ("sessions", {"cursor": "x"}, 400),
        ("sessions", {"limit": "0"}, 400),
        ("sessions/other", {}, 404),
    ],
)
async def test_what_cannot_be_asked_is_refused(tmp_path: Path, path: str, query: dict[str, str], status: int) -> None:
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        assert (await client.get(f"/api/v1/{path}", params=query)).status_code == status


async def test_sessions_are_listed_by_page_and_shown_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        page = await at.get("sessions", limit="1")
        (live,) = page["items"]
        assert page["total"] == 2, "while helm was away the device was silent, as far as anybody can tell"
        assert (live["node_id"], live["device_id"], live["live"], live["ended_at"]) == (
            *(at.node.id, at.device, True, None),
        )
        assert live["endpoint"] == "198.51.100.4:1"
        rest = await at.get("sessions", cursor=page["cursor"])
        (ended,) = rest["items"]
        assert (ended["live"], ended["reason"], rest["cursor"]) == (False, "silent", None)
        assert await at.get(f"sessions/{ended['id']}") == ended


async def test_sessions_are_found_by_node_device_user_and_life(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        ada = await at.client.post("/api/v1/users", json={"name": "ada"})
        bob = await at.client.post("/api/v1/users", json={"name": "bob"})
        user, stranger = ada.json()["id"], bob.json()["id"]

        def give(db: Database) -> None:
            db.execute("UPDATE devices SET user_id = ? WHERE id = ?", (user, at.device))

        await at.helm.store.run(give)

        async def count(**query: str) -> int:
            page = await at.get("sessions", **query)
            assert page["total"] == len(page["items"])
            return len(page["items"])

        assert await count(node=at.node.id) == await count(device=at.device) == await count(user=user) == 2
        assert await count(live="true") == await count(live="false", user=user) == 1
        assert await count(user=stranger) == await count(user=stranger, device=at.device) == 0
        assert await count(node="other") == 0


async def test_api_describes_charts_and_sessions_and_leaves_metrics_out(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
    assert {"/api/v1/charts/{metric}", "/api/v1/sessions", "/api/v1/sessions/{session_id}"} <= paths.keys()
    assert "/metrics" not in paths
