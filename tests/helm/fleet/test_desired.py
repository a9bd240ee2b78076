"""What nodes shall be is read once per revision, however many links ask."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pharos.helm.accounts.devices import change_device
from pharos.helm.accounts.users import add_group, add_user, change_group, change_user
from pharos.helm.fleet import desired as module
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.reality import change_target
from pharos.helm.fleet.reissue import reissue_node
from pharos.helm.live.board import now_us
from pharos.helm.model.users import Protocol, QuotaAction
from pharos.helm.profiles.leases import renew_leases
from pharos.helm.store.fleet import next_term
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.store.reissues import previous_endpoints
from pharos.helm.store.settings import put_setting
from pharos.wire.desired import Peer, Policy, QuotaLease
from pharos.wire.ids import NodeId
from tests.support.helm import (
    SampleHelm,
    adopt_sample_node,
    enrol_sample_device,
    open_helm,
    revoke_sample_device,
    sample_act,
)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that the record was read."""
    made: list[int] = []
    real = module.current_leases
    monkeypatch.setattr(module, "current_leases", lambda db: made.append(1) or real(db))
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


async def test_nodes_share_the_peers_that_are_equal(tmp_path: Path) -> None:
    """Digests are computed once a device, not once a device and node."""
    async with open_helm(tmp_path) as helm:
        a = await with_a_node(helm)
        b = (await helm.store.run(adopt_sample_node, helm.authority, "berlin"))[0].id
        device = await helm.store.run(enrol_sample_device, 1)
        fleet = DesiredFleet(helm.store)
        (_, at_a), (_, at_b) = await fleet.of(a), await fleet.of(b)
        assert at_a is not None
        assert at_b is not None
        assert at_a.peers is at_b.peers
        await helm.store.run(enrol_sample_device, 2)
        _, later = await fleet.of(a)
        assert later is not None
        assert later.peers[device.id] is at_a.peers[device.id]


async def test_what_of_a_device_changes_changes_its_peer(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node_id = await with_a_node(helm)
        ada = await helm.store.run(add_user, sample_act(), {"name": "Ada"})
        device = await helm.store.run(enrol_sample_device, 1, user_id=ada.id)
        fleet = DesiredFleet(helm.store)

        async def peer() -> Peer:
            _, desired = await fleet.of(node_id)
            assert desired is not None
            return desired.peers[device.id]

        assert (await peer()).expires_at == 0
        in_an_hour = now_us() + 3_600_000_000
        ada = await helm.store.run(change_user, sample_act(), ada.id, ada.version, {"expires_at": in_an_hour})
        assert (await peer()).expires_at == in_an_hour
        values = {"expires_at": in_an_hour - 1_000_000, "rate_limit": 8_000_000}
        changed = await helm.store.run(change_device, sample_act(), device.id, device.version, values)
        seen = await peer()
        assert (seen.expires_at, seen.rate_limit) == (in_an_hour - 1_000_000, 8_000_000)
        # A quota without a share at this node yet lets nothing through.
        user = {"quota_action": QuotaAction.CUT, "quota_bytes": 10**9}
        await helm.store.run(change_user, sample_act(), ada.id, ada.version, user)
        assert (await peer()).quota == QuotaLease(id=0, octets=0)
        await helm.store.run(renew_leases, now_us())
        quota = (await peer()).quota
        assert quota is not None
        assert 0 < quota.octets < 10**9
        assert changed.version == device.version + 1


async def test_group_and_policy_reach_nodes(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node_id = await with_a_node(helm)
        device = await helm.store.run(enrol_sample_device, 1)
        fleet = DesiredFleet(helm.store)
        group = await helm.store.run(add_group, sample_act(), {"name": "nobody"})
        _, desired = await fleet.of(node_id)
        assert desired is not None
        assert desired.peers == {}
        values = {"everybody": True, "protocols": (Protocol.AMNEZIAWG,)}
        await helm.store.run(change_group, sample_act(), group.id, group.version, values)
        await helm.store.run(put_setting, sample_act(), "policy.closed", 0, ["10.0.0.0/8"])
        _, desired = await fleet.of(node_id)
        assert desired is not None
        assert desired.peers[device.id].protocols == ("amneziawg",)
        assert desired.policy == Policy(closed=("10.0.0.0/8",))


async def test_reissue_of_one_protocol_concerns_its_node_alone(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        nodes = [(await helm.store.run(adopt_sample_node, helm.authority, name))[0] for name in "ab"]
        fleet = DesiredFleet(helm.store, previous_of=previous_endpoints)
        await fleet.changed()
        for protocol in Protocol:
            node = await helm.store.read(get_record, NODES, nodes[0].id)
            await helm.store.run(reissue_node, sample_act(), node.id, node.version, {protocol})
            assert (await fleet.changed())[1] == {node.id}
        _, told = await fleet.of(nodes[0].id)
        assert told is not None
        assert told.reality is not None
        assert (told.reality.generation, len(told.previous)) == (2, 2)
        await helm.store.run(change_target, sample_act(), nodes[1].id, nodes[1].version, "own.example:443")
        assert (await fleet.changed())[1] == {nodes[1].id}
