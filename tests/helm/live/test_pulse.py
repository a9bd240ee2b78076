"""Counts and figures of the whole fleet: what is in them, what is not known, and who is told of what changes."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.helm.accounts.devices import move_device
from pharos.helm.errors import DatabaseCorruptError
from pharos.helm.live import pulse as module
from pharos.helm.live.pulse import changed_figures
from pharos.helm.model.devices import DeviceAct
from pharos.helm.model.telemetry import NodeReading, PeerReading
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.link import LinkState
from pharos.wire.reports import MachineReport
from tests.support.helm import SampleHelm, open_helm, sample_act
from tests.support.live import message
from tests.support.views import give_profile, handshake, reading, settle, tell

Json = dict[str, Any]
# Readings are so long ago as of when they are made, each a moment after the one before.
about = functools.partial(pytest.approx, rel=0.01)


async def look(helm: SampleHelm) -> tuple[Json, Json]:
    """Return counts and figures as they are at this moment."""
    helm.context.pulse._taken_at = -math.inf
    picture = await helm.context.pulse.take()
    return picture.counts, picture.figures


async def test_counts_are_of_what_the_record_has_and_who_is_there(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        people = await settle(helm)
        await helm.store.run(give_profile, people.tablet, sealed_ago=8 * 86_400, held=False)
        await helm.store.run(give_profile, people.laptop, sealed_ago=60, held=True)
        counts, _ = await look(helm)
        assert counts == {
            "devices": {"all": 4, "online": 1, "disabled": 0, "revoked": 0, "stale": 1},
            "users": 2,
            "groups": 1,
            "profiles": {"synced": 1, "sending": 0, "stale": 1},
            "sessions": 1,
            "alerts": 0,
            "tickets": 0,
            "adoptions": 0,
            "admins": 0,
        }
        # Whoever is kept out is not online, though its session may live for a moment; who is online is not stale.
        await helm.store.run(move_device, sample_act(), people.phone, 1, DeviceAct.REVOKE)
        await helm.store.run(move_device, sample_act(), people.spare, 1, DeviceAct.DISABLE)
        await tell(helm, handshake(people.tablet, people.node, ago=1))
        counts, _ = await look(helm)
        assert counts["devices"] == {"all": 4, "online": 1, "disabled": 1, "revoked": 1, "stale": 0}
        assert counts["sessions"] == 2


async def test_figures_are_what_the_newest_reading_of_each_node_says(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        people = await settle(helm)
        helm.context.board.report(people.node, "amsterdam", LinkState.UP, "")
        helm.context.board.of(people.node).peers = 4
        helm.context.board.hear(people.node, (), MachineReport(load=0.256))
        _, figures = await look(helm)
        unknown = {"sessions": 1, "peers": 4, "load": 0.26, "down": None, "up": None, "latency_ms": None, "spark": []}
        assert figures["nodes"] == {people.node: unknown}
        await tell(helm, reading(people.node, ago=70, **{people.phone: (0, 0)}))
        await tell(helm, reading(people.node, ago=40, **{people.phone: (3_000, 30_000)}))
        _, figures = await look(helm)
        assert figures["nodes"][people.node]["down"] == about(8_000)
        await tell(helm, reading(people.node, ago=10, **{people.phone: (3_000, 60_000)}))
        _, figures = await look(helm)
        node = figures["nodes"][people.node]
        assert (node["down"], node["up"], node["latency_ms"]) == (about(8_000), 0, 2.5)
        assert node["spark"] == about([8_800, 8_000])
        assert figures["fleet"] == {
            "sessions": 1,
            "down": about(8_000),
            "up": 0,
            # That of yesterday was written a moment ago, and counts when it was written.
            "handshakes_per_min": 2,
            "down_by": {"amneziawg": None, "reality": None},
        }


async def test_what_came_by_each_protocol_is_known_of_nodes_that_tell(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        people = await settle(helm)

        def told(ago: float, sent: int, reality: int) -> NodeReading:
            peer = PeerReading(received=0, sent=sent, last_handshake=0, reality_sent=reality)
            plain = reading(people.node, ago=ago, **{people.phone: (0, 0)})
            return attrs.evolve(plain, peers={DeviceId(people.phone): peer}, tells_protocols=True)

        await tell(helm, told(70, 0, 0), told(40, 30_000, 3_000))
        _, figures = await look(helm)
        assert figures["fleet"]["down_by"] == about({"amneziawg": 7_200, "reality": 800})


async def test_node_that_was_not_read_lately_has_no_figures_but_what_it_had(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        people = await settle(helm)
        await tell(helm, reading(people.node, ago=160, **{people.phone: (0, 0)}))
        await tell(helm, reading(people.node, ago=130, **{people.phone: (3_000, 30_000)}))
        _, figures = await look(helm)
        node = figures["nodes"][people.node]
        assert (node["down"], node["latency_ms"], node["spark"]) == (None, None, about([8_800]))
        assert figures["fleet"]["down"] is None
        # A gap is no rate: nobody knows when that flowed.
        await tell(helm, reading(people.node, ago=1, **{people.phone: (9_000, 90_000)}))
        _, figures = await look(helm)
        assert figures["nodes"][people.node]["down"] is None
        assert figures["nodes"][people.node]["spark"] == about([8_800])


async def test_change_is_told_once_to_those_who_want_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        people = await settle(helm)
        nursery.start_soon(helm.context.pulse.run)
        hub = helm.context.hub
        async with hub.open_subscriber(figures=True) as page, hub.open_subscriber(figures=False) as other:
            first = await message(page)
            assert first["figures"]["nodes"].keys() == {people.node}
            assert first["counts"]["devices"]["online"] == 1
            await tell(helm, handshake(people.laptop, people.node, ago=1))
            second = await message(page)
            assert second["counts"]["devices"]["online"] == 2
            assert second["figures"]["nodes"][people.node]["sessions"] == 2
            with trio.move_on_after(0.1):
                raise AssertionError(await message(page))
            assert not other._batches
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_while_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    looks = 0
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        take = helm.context.pulse.take

        async def noted() -> Any:
            nonlocal looks
            looks += 1
            return await take()

        monkeypatch.setattr(helm.context.pulse, "take", noted)
        nursery.start_soon(helm.context.pulse.run)
        async with helm.context.hub.open_subscriber(figures=False):
            await trio.sleep(0.05)
            assert looks == 0
        async with helm.context.hub.open_subscriber(figures=True) as page:
            await message(page)
        nursery.cancel_scope.cancel()


async def test_damaged_telemetry_costs_figures_and_no_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm:
        await settle(helm)

        async def damaged(*_args: Any, **_kwargs: Any) -> Any:
            raise DatabaseCorruptError("telemetry.db is damaged")

        monkeypatch.setattr(helm.store, "read_telemetry", damaged)
        counts, figures = await look(helm)
        assert (counts["devices"]["all"], counts["devices"]["online"]) == (4, 0)
        assert figures["fleet"]["down"] is None


def test_part_has_the_nodes_that_changed_and_the_fleet_whole() -> None:
    one, two = NodeId("one"), NodeId("two")
    before = {"nodes": {one: {"down": 1}, two: {"down": 2}}, "fleet": {"down": 3}}
    after = {"nodes": {one: {"down": 1}, two: {"down": 5}}, "fleet": {"down": 6}}
    assert changed_figures(before, before) is None
    assert changed_figures(before, after) == {"nodes": {two: {"down": 5}}, "fleet": {"down": 6}}
    assert changed_figures({}, after) == after
