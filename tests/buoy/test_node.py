"""A push is kept before it is carried out, one at a time, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

import pharos
from pharos.buoy.dataplane.base import PeerCounters
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.convert import report_from, report_to
from pharos.wire.desired import Desired, Fence, Push
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from tests.support.agents import joined
from tests.support.buoy import FakePlane, SampleBuoy, make_buoy
from tests.support.pki import utc_now
from tests.support.strategies import parameters_of, peer_of

FIRST = Push(
    fence=Fence(5, 2, 7),
    snapshot=True,
    upsert=(peer_of(1), peer_of(2)),
    awg=parameters_of(1),
    addresses=("10.86.0.1", "fd00::1"),
)
DELTA = Push(fence=Fence(5, 2, 8), snapshot=False, remove=(DeviceId("device-1"),))


@pytest.fixture
def keys(tmp_path: Path) -> AgentKeys:
    return joined(tmp_path, name="node-1")


def buoy(tmp_path: Path, keys: AgentKeys, plane: FakePlane | None = None) -> SampleBuoy:
    return make_buoy(tmp_path, keys=keys, membership=keys.membership(now=utc_now()), plane=plane)


async def test_push_is_kept_and_carried_out(tmp_path: Path, keys: AgentKeys) -> None:
    sample = buoy(tmp_path, keys)
    held = await sample.node.push(FIRST)
    assert held == sample.node.desired == DesiredState(tmp_path).load()
    held = await sample.node.push(DELTA)
    assert list(held.peers) == ["device-2"]
    assert sample.plane.applied == [Desired().after(FIRST), held]


async def test_push_is_on_disk_before_the_engine_hears_of_it(tmp_path: Path, keys: AgentKeys) -> None:
    plane = FakePlane(before_apply=trio.Event())
    sample = buoy(tmp_path, keys, plane)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample.node.push, FIRST)
        assert plane.before_apply is not None
        await plane.before_apply.wait()
        assert DesiredState(tmp_path).load() == Desired().after(FIRST)
        plane.may_apply.set()


@pytest.mark.parametrize(
    "bad",
    [
        attrs.evolve(FIRST, fence=Fence(5, 2, 6)),
        attrs.evolve(DELTA, upsert=(attrs.evolve(peer_of(3), awg_key=peer_of(2).awg_key),)),
        attrs.evolve(DELTA, upsert=(peer_of(13),)),
    ],
    ids=["older", "the same key twice", "a key that the engine cannot use"],
)
async def test_refused_push_changes_neither_disk_nor_engine(tmp_path: Path, keys: AgentKeys, bad: Push) -> None:
    sample = buoy(tmp_path, keys, FakePlane(refuses=frozenset({DeviceId("device-13")})))
    await sample.node.push(FIRST)
    before = (tmp_path / "desired.json").read_bytes()
    with pytest.raises(RemoteProtocolError):
        await sample.node.push(bad)
    assert (tmp_path / "desired.json").read_bytes() == before
    assert len(sample.plane.applied) == 1
    assert sample.node.desired == Desired().after(FIRST)


async def test_delta_to_a_node_without_state_is_refused(tmp_path: Path, keys: AgentKeys) -> None:
    sample = buoy(tmp_path, keys)
    with pytest.raises(RemoteProtocolError, match="snapshot first"):
        await sample.node.push(DELTA)
    assert not (tmp_path / "desired.json").exists()


async def test_refused_fence_survives_a_restart(tmp_path: Path, keys: AgentKeys) -> None:
    await buoy(tmp_path, keys).node.push(FIRST)
    with pytest.raises(RemoteProtocolError, match="older"):
        await buoy(tmp_path, keys).node.push(attrs.evolve(FIRST, fence=Fence(5, 1, 99)))


async def test_push_whose_helm_went_away_is_finished_on_disk_and_engine(tmp_path: Path, keys: AgentKeys) -> None:
    plane = FakePlane(before_apply=trio.Event())
    sample = buoy(tmp_path, keys, plane)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample.node.push, FIRST)
        assert plane.before_apply is not None
        await plane.before_apply.wait()
        nursery.cancel_scope.cancel()
        plane.may_apply.set()
    assert plane.applied == [DesiredState(tmp_path).load()] == [Desired().after(FIRST)]


async def test_pushes_are_taken_one_after_the_other(tmp_path: Path, keys: AgentKeys) -> None:
    plane = FakePlane(before_apply=trio.Event())
    sample = buoy(tmp_path, keys, plane)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample.node.push, FIRST)
        assert plane.before_apply is not None
        await plane.before_apply.wait()
        nursery.start_soon(sample.node.push, DELTA)
        await trio.testing.wait_all_tasks_blocked()
        assert plane.applied == [], "the second waits for the engine to be done with the first"
        plane.may_apply.set()
    assert [desired.fence.revision for desired in plane.applied] == [7, 8]


async def test_report_says_who_the_node_is_and_what_it_serves(tmp_path: Path, keys: AgentKeys) -> None:
    plane = FakePlane(seen=[PeerCounters(device_id=DeviceId("device-2"), last_handshake=9, received=10, sent=11)])
    sample = buoy(tmp_path, keys, plane)
    fresh = await sample.node.report()
    assert (fresh.applied, fresh.awg, fresh.addresses, fresh.peers) == (Fence(), None, (), ())
    await sample.node.push(FIRST)
    report = await sample.node.report()
    assert (report.node_id, report.version) == ("node-1", pharos.__version__)
    assert report.awg_key == KeyPair.from_private_bytes(keys.awg_key).public
    assert report.derive_key == keys.derive_key.public
    assert (report.applied, report.awg, report.addresses) == (FIRST.fence, FIRST.awg, FIRST.addresses)
    assert report.awg_port == plane.port
    idle, busy = report.peers
    assert (idle.device_id, idle.last_handshake, idle.received) == ("device-1", 0, 0)
    assert (busy.device_id, busy.last_handshake, busy.received, busy.sent) == ("device-2", 9, 10, 11)
    assert busy.awg_key == peer_of(2).awg_key
    assert len(busy.commitment) == 8
    assert report_from(report_to(report)) == report, "it goes over the wire as it is"
