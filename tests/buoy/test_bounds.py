"""A node ends what is over by itself, with helm gone: an expiry, a quota, a revocation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from pharos.buoy import serving
from pharos.buoy.dataplane.base import PeerCounters
from pharos.buoy.quota import KEPT_EVERY
from pharos.wire.agent import AgentKeys
from pharos.wire.desired import Fence, Peer, PreviousEndpoint, Push, QuotaLease
from pharos.wire.errors import DenyListError, ManifestError, RemoteProtocolError
from pharos.wire.ids import DeviceId
from pharos.wire.pki.denylist import DenyEntry, tunnel_key_hash
from pharos.wire.pki.roles import Role
from pharos.wire.seal.denylist import sign_deny_list
from tests.support.agents import joined
from tests.support.buoy import FakePlane, SampleBuoy, make_buoy
from tests.support.figures import Fault, record
from tests.support.pki import home_fleet, utc_now
from tests.support.strategies import parameters_of, peer_of
from tests.support.trust import SIGNING_KEY, Signer

Clock = trio.testing.MockClock
HOME, HELM = home_fleet(), Signer()
ONE, TWO = DeviceId("device-1"), DeviceId("device-2")
START = 1_800_000_000_000_000
"""When the tests begin by the wall clock, which then goes as Trio's does."""
FIRST = Push(fence=Fence(1, 1, 1), snapshot=True, upsert=(peer_of(1), peer_of(2)), awg=parameters_of(1))


def wall() -> int:
    return START + round(trio.current_time() * 1_000_000)


def at(seconds: float) -> int:
    return START + round((trio.current_time() + seconds) * 1_000_000)


def buoy(folder: Path, plane: FakePlane | None = None) -> SampleBuoy:
    new = not (folder / "identity.json").exists()
    keys = joined(folder, name="node-1") if new else AgentKeys(folder, Role.NODE)
    return make_buoy(folder, keys=keys, membership=keys.membership(now=utc_now()), plane=plane, wall=wall)


@asynccontextmanager
async def running(sample: SampleBuoy) -> AsyncIterator[SampleBuoy]:
    async with trio.open_nursery() as nursery:
        await sample.node.start()
        nursery.start_soon(sample.node.run_bounds)
        yield sample
        nursery.cancel_scope.cancel()


def with_peer(**changes: object) -> Push:
    return attrs.evolve(FIRST, upsert=(attrs.evolve(peer_of(1), **changes), peer_of(2)))  # type: ignore[arg-type]


def now_served(sample: SampleBuoy) -> list[str]:
    return list(sample.plane.applied[-1].peers)


# -- replaced parameters


async def test_parameters_of_before_end_at_their_time_with_helm_gone(tmp_path: Path, autojump_clock: Clock) -> None:
    before, longer = (
        PreviousEndpoint(port=port, awg=parameters_of(2), until=at(seconds))
        for port, seconds in ((2053, 90), (2083, 200))
    )

    def ports() -> list[int]:
        return [endpoint.port for endpoint in sample.plane.applied[-1].previous]

    async with running(buoy(tmp_path)) as sample:
        await sample.node.push(attrs.evolve(FIRST, previous=(before, longer)))
        await trio.sleep(89)
        assert ports() == [2053, 2083]
        await trio.sleep(1.5)
        assert ports() == [2083]
        assert now_served(sample) == [ONE, TWO]
        # What helm ordered is still what helm ordered.
        assert len(sample.node.desired.previous) == 2
    async with running(buoy(tmp_path)) as sample:
        assert ports() == [2083]
        await trio.sleep(200)
        assert ports() == []


# -- expiry


async def test_peer_is_cut_when_it_expires(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(buoy(tmp_path)) as sample:
        await sample.node.push(with_peer(expires_at=at(90)))
        await trio.sleep(89)
        assert now_served(sample) == [ONE, TWO]
        await trio.sleep(1.5)
        assert now_served(sample) == [TWO]
        assert sample.plane.reasons[-1] == {ONE: "expired"}
        # It is still what helm ordered, so that helm sees no drift.
        assert [peer.device_id for peer in (await sample.node.report()).peers] == [ONE, TWO]
        await sample.node.push(attrs.evolve(with_peer(expires_at=at(90)), fence=Fence(1, 1, 2)))
        assert now_served(sample) == [ONE, TWO]


async def test_peer_that_expired_while_the_node_was_down_is_not_served(tmp_path: Path, autojump_clock: Clock) -> None:
    await buoy(tmp_path).node.push(with_peer(expires_at=at(90)))
    await trio.sleep(100)
    async with running(buoy(tmp_path)) as sample:
        assert now_served(sample) == [TWO]


async def test_wall_clock_that_jumps_is_noticed_within_a_minute(tmp_path: Path, autojump_clock: Clock) -> None:
    jump = 0
    keys = joined(tmp_path)
    sample = make_buoy(tmp_path, keys=keys, membership=keys.membership(now=utc_now()), wall=lambda: wall() + jump)
    async with running(sample):
        await sample.node.push(with_peer(expires_at=at(7_000)))
        jump, jumped = 8_000_000_000, trio.current_time()
        await trio.sleep(serving.LOOK_EVERY + 1)
        assert now_served(sample) == [TWO]
        noticed = trio.current_time() - jumped
        record(Fault.CLOCK_JUMP, "at most, until access that ended by a jump is cut, virtual time", noticed, "s")


# -- quota


def spent(octets: int) -> list[PeerCounters]:
    return [PeerCounters(device_id=ONE, last_handshake=1, received=octets, sent=0)]


async def test_peer_is_cut_when_its_lease_is_used_up_and_back_with_the_next(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with running(buoy(tmp_path)) as sample:
        await sample.node.push(with_peer(quota=QuotaLease(id=1, octets=1_000)))
        sample.plane.seen = spent(999)
        await trio.sleep(2)
        assert now_served(sample) == [ONE, TWO]
        sample.plane.seen = spent(1_000)
        await trio.sleep(2)
        assert now_served(sample) == [TWO]
        assert sample.plane.reasons[-1] == {ONE: "quota"}
        sample.plane.seen = []
        assert (await sample.node.report()).peers[0].quota_used == 1_000
        again = with_peer(quota=QuotaLease(id=2, octets=1_000))
        await sample.node.push(attrs.evolve(again, fence=Fence(1, 1, 2)))
        assert now_served(sample) == [ONE, TWO]
        assert (await sample.node.report()).peers[0].quota_used == 0


async def test_peer_is_slowed_down_when_its_lease_is_used_up_if_that_is_what_helm_said(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    def rates(sample: SampleBuoy) -> dict[str, int]:
        return {device_id: peer.rate_limit for device_id, peer in sample.plane.applied[-1].peers.items()}

    lease = QuotaLease(id=1, octets=1_000, throttle=64_000)
    async with running(buoy(tmp_path)) as sample:
        await sample.node.push(with_peer(quota=lease, rate_limit=1_000_000))
        sample.plane.seen = spent(999)
        await trio.sleep(2)
        assert rates(sample) == {ONE: 1_000_000, TWO: 0}
        sample.plane.seen = spent(1_000)
        await trio.sleep(2)
        assert rates(sample) == {ONE: 64_000, TWO: 0}
        assert sample.plane.reasons[-1] == {}
        # What it says of the peer is what it was told, or helm would tell it again and again.
        told = attrs.evolve(peer_of(1), quota=lease, rate_limit=1_000_000)
        assert (await sample.node.report()).peers[0].digest == told.digest
    # With helm gone, and after a restart.
    async with running(buoy(tmp_path)) as again:
        assert rates(again) == {ONE: 64_000, TWO: 0}
        # The next period begins.
        fresh = with_peer(quota=attrs.evolve(lease, id=2), rate_limit=1_000_000)
        await again.node.push(attrs.evolve(fresh, fence=Fence(1, 1, 2)))
        assert rates(again) == {ONE: 1_000_000, TWO: 0}
        # Whoever has a lower rate anyway keeps it.
        slower = with_peer(quota=attrs.evolve(lease, id=3, octets=0), rate_limit=32_000)
        await again.node.push(attrs.evolve(slower, fence=Fence(1, 1, 3)))
        assert rates(again) == {ONE: 32_000, TWO: 0}
        assert again.plane.reasons[-1] == {}


async def test_engine_is_asked_for_counters_only_where_a_peer_has_a_quota_or_had_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = buoy(tmp_path)
    asked: list[None] = []

    async def read_counters(_plane: FakePlane) -> list[PeerCounters]:
        asked.append(None)
        return spent(300)

    monkeypatch.setattr(FakePlane, "read_counters", read_counters)
    await sample.node.push(FIRST)
    await sample.node.review()
    assert asked == []
    limited = with_peer(quota=QuotaLease(id=1, octets=1_000))
    await sample.node.push(attrs.evolve(limited, fence=Fence(1, 1, 2)))
    assert len(asked) == 1
    await sample.node.push(attrs.evolve(FIRST, fence=Fence(1, 1, 3)))
    assert len(asked) == 2, "what it has used is forgotten"
    await sample.node.push(attrs.evolve(FIRST, fence=Fence(1, 1, 4)))
    assert len(asked) == 2


async def test_usage_is_on_disk_after_ten_seconds_and_at_the_end(tmp_path: Path, autojump_clock: Clock) -> None:
    limited = with_peer(quota=QuotaLease(id=1, octets=1_000))
    sample = buoy(tmp_path)
    await sample.node.push(limited)
    sample.plane.seen = spent(300)
    await sample.node.review()
    assert not (tmp_path / "usage.json").exists(), "it is too early to write"
    await trio.sleep(KEPT_EVERY)
    await sample.node.review()
    assert "300" in (tmp_path / "usage.json").read_text()
    async with running(sample):
        # Counted at the very end.
        sample.plane.seen = spent(400)
    again = buoy(tmp_path)
    assert (await again.node.report()).peers[0].quota_used == 400
    # The engine counts from nothing after a restart, the node does not.
    async with running(again):
        again.plane.seen = spent(600)
        await trio.sleep(2)
        assert now_served(again) == [TWO]


async def test_full_disk_ends_no_tunnel_and_usage_is_written_later(
    tmp_path: Path, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sample = buoy(tmp_path)
    await sample.node.push(with_peer(quota=QuotaLease(id=1, octets=1_000)))

    def fail(_descriptor: int) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        sample.plane.seen = spent(300)
        await trio.sleep(KEPT_EVERY)
        await sample.node.review()
    assert "could not be written: the disk is full" in caplog.text
    await trio.sleep(KEPT_EVERY)
    await sample.node.review()
    assert "300" in (tmp_path / "usage.json").read_text()


# -- revocation


def denying(*peers: Peer, version: int = 1, by_key: bool = False) -> bytes:
    if not by_key:
        return HELM.deny_list(*(HOME.identity(Role.DEVICE, peer.device_id) for peer in peers), version=version)
    deny_list = HOME.deny_list(version=version)
    entries = [DenyEntry(tunnel_key_hash=tunnel_key_hash(peer.awg_key), not_after=2**40) for peer in peers]
    return sign_deny_list(attrs.evolve(deny_list, entries=tuple(entries)), signing_key=SIGNING_KEY)


@pytest.mark.parametrize("by_key", [False, True], ids=["the device", "its AmneziaWG key"])
async def test_a11_denied_peer_is_not_served_even_if_pushed(
    tmp_path: Path, by_key: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = buoy(tmp_path)
    await sample.node.push(attrs.evolve(FIRST, manifest=HELM.manifest()))
    assert now_served(sample) == [ONE, TWO]
    deny_list = denying(peer_of(1), by_key=by_key)
    held = await sample.node.push(attrs.evolve(FIRST, fence=Fence(1, 1, 2), deny_list=deny_list))
    assert list(held.peers) == now_served(sample) == [TWO]
    assert {ONE: "revoked"} in sample.plane.reasons
    # A helm restored from before the revocation pushes the device again; the node knows better, also after a restart.
    for node in (sample, buoy(tmp_path)):
        await node.node.push(attrs.evolve(FIRST, fence=Fence(2, 1, 1)))
        assert now_served(node) == [TWO]
        assert [peer.device_id for peer in (await node.node.report()).peers] == [TWO]
    assert not on_disk(tmp_path, ONE)
    # Red: a node that does what it is told serves it.
    monkeypatch.setattr(serving, "is_denied", lambda *_: False)
    await sample.node.push(attrs.evolve(FIRST, fence=Fence(2, 1, 2)))
    assert now_served(sample) == [ONE, TWO]


async def test_a11_deny_list_is_in_force_before_the_peers_and_although_they_are_refused(tmp_path: Path) -> None:
    sample = buoy(tmp_path, FakePlane(refuses=frozenset({DeviceId("device-13")})))
    await sample.node.push(attrs.evolve(FIRST, manifest=HELM.manifest()))
    bad = Push(fence=Fence(1, 1, 2), snapshot=False, upsert=(peer_of(13),), deny_list=denying(peer_of(1)))
    with pytest.raises(RemoteProtocolError, match="device-13"):
        await sample.node.push(bad)
    assert now_served(sample) == [TWO]
    assert sample.node.desired.fence == Fence(1, 1, 1)
    assert (await sample.node.report()).deny_list == (1, 1)


async def test_a11_deny_list_is_carried_out_although_what_came_along_is_refused(tmp_path: Path) -> None:
    sample = buoy(tmp_path)
    await sample.node.push(attrs.evolve(FIRST, manifest=HELM.manifest()))
    bad = attrs.evolve(FIRST, fence=Fence(1, 1, 2), deny_list=denying(peer_of(1)), checkpoint=b"junk")
    with pytest.raises(RemoteProtocolError, match="checkpoint"):
        await sample.node.push(bad)
    assert now_served(sample) == list(sample.node.desired.peers) == [TWO]


async def test_a11_denied_peer_is_cut_although_the_orders_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = buoy(tmp_path)
    await sample.node.push(attrs.evolve(FIRST, manifest=HELM.manifest()))

    async def fail(_desired: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(sample.state, "replace", fail)
    with pytest.raises(OSError, match="full"):
        await sample.node.push(attrs.evolve(FIRST, fence=Fence(1, 1, 2), deny_list=denying(peer_of(1))))
    assert now_served(sample) == [TWO]
    again = buoy(tmp_path)
    await again.node.start()
    assert now_served(again) == [TWO]


async def test_a12_killed_between_deny_list_and_peers_it_comes_up_with_both(tmp_path: Path) -> None:
    sample = buoy(tmp_path)
    await sample.node.push(attrs.evolve(FIRST, manifest=HELM.manifest()))
    await sample.keeping.take(deny_list=denying(peer_of(1)))
    again = buoy(tmp_path)
    await again.node.start()
    assert now_served(again) == [TWO]
    assert not on_disk(tmp_path, ONE)


@pytest.mark.parametrize(
    ("part", "blob", "error"),
    [
        ("deny_list", denying(version=1), DenyListError),
        ("deny_list", b"junk", DenyListError),
        ("manifest", HELM.manifest(1), ManifestError),
        ("checkpoint", b"junk", RemoteProtocolError),
    ],
)
async def test_a12_push_with_older_or_foreign_trust_is_refused_whole(
    tmp_path: Path, part: str, blob: bytes, error: type[Exception]
) -> None:
    sample = buoy(tmp_path)
    newest = {"manifest": HELM.manifest(2), "deny_list": denying(peer_of(1), version=2)}
    await sample.node.push(attrs.evolve(FIRST, **newest))  # type: ignore[arg-type]
    push = Push(fence=Fence(1, 1, 2), snapshot=False, remove=(TWO,))
    for node in (sample, buoy(tmp_path)):
        with pytest.raises(error):
            await node.node.push(attrs.evolve(push, **{part: blob}))  # type: ignore[arg-type]
        assert (node.node.desired.fence, list(node.node.desired.peers)) == (Fence(1, 1, 1), [TWO])
        report = await node.node.report()
        assert (report.manifest_version, report.deny_list) == (2, (1, 2))


async def test_helm_of_an_older_fence_does_not_change_the_trust_either(tmp_path: Path) -> None:
    sample = buoy(tmp_path)
    await sample.node.push(attrs.evolve(FIRST, manifest=HELM.manifest()))
    with pytest.raises(RemoteProtocolError, match="older"):
        await sample.node.push(attrs.evolve(FIRST, fence=Fence(1, 0, 9), deny_list=denying(peer_of(1))))
    assert (await sample.node.report()).deny_list == (0, 0)


def on_disk(folder: Path, device_id: DeviceId) -> bool:
    """Whether a device is in any file of orders."""
    return any(device_id in path.read_text() for path in folder.glob("desired*"))
