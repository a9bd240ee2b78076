"""What nodes shall be is read once per revision, however many links ask."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pharos.helm.fleet import desired as module
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.store.fleet import next_term
from pharos.wire.ids import NodeId
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device, open_helm, revoke_sample_device


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that the devices were read."""
    made: list[int] = []
    real = module.list_allowed_devices
    monkeypatch.setattr(module, "list_allowed_devices", lambda db, at: made.append(1) or real(db, at))
    return made


async def with_a_node(helm: SampleHelm) -> NodeId:
    node, _ = await helm.store.run(adopt_sample_node, helm.authority)
    return node.id


async def test_change_of_the_record_is_seen_at_the_next_question(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node_id = await with_a_node(helm)
        fleet = DesiredFleet(helm.store)
        _, first = await fleet.of(node_id)
        assert first is not None
        assert first.peers == {}
        device = await helm.store.run(enrol_sample_device, 1)
        _, second = await fleet.of(node_id)
        assert second is not None
        assert list(second.peers) == [device.id]
        assert second.revision > first.revision
        await helm.store.run(revoke_sample_device, device.id)
        _, third = await fleet.of(node_id)
        assert third is not None
        assert third.peers == {}


async def test_many_links_cost_one_read_per_revision(tmp_path: Path, reads: list[int]) -> None:
    async with open_helm(tmp_path) as helm:
        node_id = await with_a_node(helm)
        fleet = DesiredFleet(helm.store)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(fleet.of, node_id)
        assert len(reads) == 1
        await helm.store.run(enrol_sample_device, 1)
        await fleet.of(node_id)
        await fleet.of(node_id)
        assert len(reads) == 2


async def test_commit_that_no_node_must_hear_of_costs_no_read(tmp_path: Path, reads: list[int]) -> None:
    async with open_helm(tmp_path) as helm:
        node_id = await with_a_node(helm)
        fleet = DesiredFleet(helm.store)
        await fleet.of(node_id)
        await helm.store.run(next_term)
        commits, _ = await fleet.of(node_id)
        assert commits == helm.store.commits
        assert len(reads) == 1


async def test_node_that_is_not_in_the_fleet_has_nothing_to_be(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        _, nothing = await DesiredFleet(helm.store).of(NodeId("stranger"))
        assert nothing is None
