"""A whole fleet whose parameters are re-issued: devices hear of it one by one, and the old ones end with the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.buoy.dataplane.manager import Planes
from pharos.helm.fleet import link, reissue
from tests.support.buoy import orders_on_disk
from tests.support.fleet import Fleet, running_fleet

pytestmark = pytest.mark.journey

DEVICES = ("laptop", "phone", "tablet")
BUOYS = ("a", "b")
PORT = 8444


def kept_by(fleet: Fleet, name: str) -> dict[str, Any]:
    """What a buoy has on disk of its orders."""
    return orders_on_disk(fleet.folder / name)


async def nodes_of(fleet: Fleet) -> list[dict[str, Any]]:
    found = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
    return [await fleet.ask("GET", f"/api/v1/nodes/{node['id']}") for node in found]


async def keyed(fleet: Fleet, generation: int) -> list[dict[str, Any]]:
    """Return the nodes once helm knows their keys of this generation."""
    while True:
        nodes = await nodes_of(fleet)
        if all(node["reality_key"] and node["reality"]["generation"] == generation for node in nodes):
            return nodes
        await trio.sleep(0.02)


async def syncs(fleet: Fleet, name: str) -> list[list[tuple[int, int]]]:
    """Fetch the newest profile and say that it is held; return port and generation of the ways in by REALITY."""
    async with fleet.client(name) as client:
        while (await client.sync()).changed:
            pass
        return [[(way.port, way.generation) for way in node.node.reality] for node in client.examined().values()]


async def waited_for(fleet: Fleet) -> list[list[int]]:
    """How many devices each node's old parameters wait for."""
    return [[old["devices"] for old in node["previous_parameters"]] for node in await nodes_of(fleet)]


async def test_reissue_of_a_fleet_ends_when_its_last_device_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planes, "reality_port", PORT)
    monkeypatch.setattr(reissue, "LOOK_EVERY", 0.05)
    async with running_fleet(tmp_path, buoys=BUOYS) as fleet:
        before = await keyed(fleet, 1)
        for name in DEVICES:
            await fleet.enrol(name)
            assert await syncs(fleet, name) == [[(PORT, 1), (2053, 1)]] * 2
        old = {name: kept_by(fleet, name) for name in BUOYS}
        for node in before:
            await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", version=node["version"])
        after = await keyed(fleet, 2)
        assert all(now["reality_key"] != then["reality_key"] for now, then in zip(after, before, strict=True))
        for name in BUOYS:
            (previous,) = kept_by(fleet, name)["previous"]
            assert (previous["awg"], previous["reality"]) == (old[name]["awg"], old[name]["reality"])
            assert previous["port"] == 2053
        for left, name in zip((2, 1), DEVICES, strict=False):
            # The current ways in first, then the old key where it went, and where it was.
            assert await syncs(fleet, name) == [[(PORT, 2), (2053, 2), (2053, 1), (PORT, 1)]] * 2
            assert await waited_for(fleet) == [[left], [left]]
        await syncs(fleet, DEVICES[-1])
        await fleet.until(lambda: all(kept_by(fleet, name)["previous"] == [] for name in BUOYS))
        assert await waited_for(fleet) == [[], []]
        for name in DEVICES:
            assert await syncs(fleet, name) == [[(PORT, 2), (2053, 2)]] * 2


async def test_node_without_an_engine_keeps_derives_and_reports_and_is_no_way_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_until_next_reading", lambda *_: 0.1)
    monkeypatch.setattr(Planes, "reality_port", 0)
    async with running_fleet(tmp_path, reality=False) as fleet:
        (node,) = await keyed(fleet, 1)
        assert node["reality_port"] is None
        assert kept_by(fleet, "a")["reality"] == node["reality"]
        await fleet.enrol()
        assert await syncs(fleet, "laptop") == [[]]
        parameters = node["awg_parameters"]
        body = {"protocols": ["reality"]}
        await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", body, version=node["version"])
        (node,) = await keyed(fleet, 2)
        assert node["awg_parameters"] == parameters


async def test_target_by_hand_reaches_the_node_and_the_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planes, "reality_port", PORT)
    async with running_fleet(tmp_path) as fleet:
        (node,) = await keyed(fleet, 1)
        await fleet.enrol()
        body = {"target": "203.0.113.9:443", "server_names": ["own.example"]}
        await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/target", body, version=node["version"])
        await fleet.until(lambda: kept_by(fleet, "a")["reality"]["target"] == "203.0.113.9:443")
        await syncs(fleet, "laptop")
        async with fleet.client() as client:
            assert {way.server_names for way in client.profile().nodes[0].reality} == {("own.example",)}
