"""The embedded engine serves exactly what is desired, and refuses what it could not serve before anything is kept."""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.buoy.config import BuoyConfig
from pharos.buoy.dataplane.base import ENDED
from pharos.buoy.dataplane.drivers import open_drivers
from pharos.buoy.dataplane.manager import Planes
from pharos.buoy.dataplane.plans import Planner
from pharos.buoy.events import EventFeed
from pharos.wire.agent import AgentKeys, Membership, grant_of
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.engine import Engine
from pharos.wire.awg.generate import generate
from pharos.wire.awg.params import PLAIN
from pharos.wire.awg.tunnel import open_client_tunnel
from pharos.wire.convert import EventKind, TunnelEvent
from pharos.wire.desired import Desired, Fence, Peer
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.files import open_state_directory
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.issue import issue
from pharos.wire.pki.policy import Adoption, authorize_issue
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.seal.blind import Pairing, commitment, derive_psk
from pharos.wire.tasks import open_background
from tests.support.pki import home_fleet, utc_now

KEY = KeyPair.generate()
DERIVE = KeyPair.generate()
PEER = Peer(
    device_id=DeviceId("d1"),
    awg_key=KEY.public,
    derive_key=DERIVE.public,
    generation=1,
    addresses=("10.86.0.2/32",),
)
OTHER = attrs.evolve(PEER, device_id=DeviceId("d2"), awg_key=KeyPair.generate().public, addresses=("10.86.0.3/32",))
DESIRED = Desired(fence=Fence(1, 1, 1), awg=generate(os.urandom), addresses=("10.86.0.1",), peers={"d1": PEER})


def make_member(folder: Path) -> tuple[AgentKeys, Membership]:
    fleet = home_fleet()
    keys = AgentKeys(open_state_directory(folder), Role.NODE)
    request = keys.make_request()
    certificate = issue(
        authorize_issue(fleet.identity(Role.NODE, "n1"), Adoption(operator="test")),
        verify_csr(request.csr),
        ca=fleet.trust.fleet_ca,
        ca_key=fleet.ca_key(Authority.FLEET),
        now=utc_now(),
        serial=7,
    )
    grant = grant_of(certificate, trust=fleet.trust, role=Role.NODE)
    return keys, keys.install(grant, now=utc_now())


@asynccontextmanager
async def running_plane(folder: Path, feed: EventFeed | None = None) -> AsyncIterator[tuple[Planes, AgentKeys]]:
    keys, membership = make_member(folder)
    feed = feed or EventFeed()
    config = BuoyConfig(host="127.0.0.1", awg_port=0, reality_port=0, awg_driver="embedded", reality_driver="embedded")
    planner = Planner(membership=membership, keys=keys, awg_port=0, reality_port=0)
    with open_drivers(config, publish=feed.publish) as drivers:
        plane = Planes(planner, drivers.awg, drivers.reality, drivers.network)
        async with open_background(plane.run):
            yield plane, keys


async def test_peer_is_served_and_its_secret_is_the_one_the_device_derives(tmp_path: Path) -> None:
    async with running_plane(tmp_path / "n") as (plane, keys):
        await plane.apply(DESIRED)
        pairing = Pairing(
            fleet=home_fleet().id,
            device=DeviceId("d1"),
            node="n1",
            generation=1,
            device_derive=DERIVE.public,
            node_derive=keys.derive_key.public,
            device_awg=KEY.public,
            node_awg=KeyPair.from_private_bytes(keys.awg_key).public,
        )
        assert [entry.device_id for entry in await plane.read_counters()] == ["d1"]
        assert plane.commitment(DeviceId("d1")) == commitment(derive_psk(pairing, DERIVE))


async def test_nothing_is_served_without_parameters(tmp_path: Path) -> None:
    async with running_plane(tmp_path / "n") as (plane, _):
        await plane.apply(attrs.evolve(DESIRED, awg=None))
        assert await plane.read_counters() == []
        await plane.apply(attrs.evolve(DESIRED, awg=PLAIN))
        assert len(await plane.read_counters()) == 1


async def test_peer_with_a_new_key_replaces_the_old_one(tmp_path: Path) -> None:
    async with running_plane(tmp_path / "n") as (plane, _):
        await plane.apply(DESIRED)
        other = attrs.evolve(PEER, awg_key=KeyPair.generate().public)
        await plane.apply(attrs.evolve(DESIRED, peers={"d1": other}))
        assert [entry.device_id for entry in await plane.read_counters()] == ["d1"]
        await plane.apply(attrs.evolve(DESIRED, peers={}))
        assert await plane.read_counters() == []
        assert plane.commitment(DeviceId("d1")) == b""


async def test_keys_that_cannot_be_used_are_refused_before_they_are_applied(tmp_path: Path) -> None:
    async with running_plane(tmp_path / "n") as (plane, keys):
        own = KeyPair.from_private_bytes(keys.awg_key).public
        for bad in ({"awg_key": bytes(32)}, {"derive_key": bytes(32)}, {"awg_key": own}):
            peer = attrs.evolve(PEER, **bad)
            with pytest.raises(RemoteProtocolError, match="d1"):
                plane.check(attrs.evolve(DESIRED, peers={"d1": peer}))
        assert await plane.read_counters() == []


async def test_one_peer_more_is_told_without_asking_the_engine_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_plane(tmp_path / "n") as (plane, _):
        await plane.apply(DESIRED)
        port = plane.port
        monkeypatch.setattr(Engine, "state", lambda _: pytest.fail("what it was told is known"))
        await plane.apply(attrs.evolve(DESIRED, peers={"d1": PEER, "d2": OTHER}))
        assert [entry.device_id for entry in await plane.read_counters()] == ["d1", "d2"]
        await plane.apply(attrs.evolve(DESIRED, peers={"d2": OTHER}))
        assert [entry.device_id for entry in await plane.read_counters()] == ["d2"]
        assert plane.port == port


async def test_engine_that_refused_is_asked_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_plane(tmp_path / "n") as (plane, _):
        await plane.apply(DESIRED)
        with monkeypatch.context() as refusing:
            refusing.setattr(Engine, "apply", lambda *_: errno.EIO)
            await plane.apply(attrs.evolve(DESIRED, peers={"d1": PEER, "d2": OTHER}))
        assert "amneziawg is not served as ordered" in caplog.text
        caplog.clear()
        await plane.apply(attrs.evolve(DESIRED, peers={"d1": PEER, "d2": OTHER}))
        assert [entry.device_id for entry in await plane.read_counters()] == ["d1", "d2"]


@pytest.mark.parametrize(("reasons", "told"), [({}, "removed"), ({DeviceId("d1"): "expired"}, "expired")])
async def test_removed_peer_that_was_connected_is_reported_as_gone(
    tmp_path: Path, reasons: dict[DeviceId, str], told: str
) -> None:
    feed = EventFeed()
    async with running_plane(tmp_path / "n", feed) as (plane, keys), feed.open_watcher() as watcher:
        await plane.apply(DESIRED)
        await connect_once(plane, keys)
        events: list[TunnelEvent] = []
        with trio.fail_after(10):
            while EventKind.CONNECTED not in [event.kind for event in events]:
                events += await watcher.receive_batch()
            await plane.apply(attrs.evolve(DESIRED, peers={}), reasons=reasons)
            while EventKind.DISCONNECTED not in [event.kind for event in events]:
                events += await watcher.receive_batch()
        kinds = [event.kind for event in events]
        assert kinds == [EventKind.HANDSHAKE, EventKind.CONNECTED, EventKind.DISCONNECTED]
        assert events[-1].detail == told


async def test_session_that_is_ended_is_told_of_and_the_device_comes_again(tmp_path: Path) -> None:
    feed = EventFeed()
    async with running_plane(tmp_path / "n", feed) as (plane, keys), feed.open_watcher() as watcher:
        await plane.apply(DESIRED)
        events: list[TunnelEvent] = []

        async def until(kind: EventKind) -> None:
            while kind not in [event.kind for event in events]:
                events.extend(await watcher.receive_batch())

        with trio.fail_after(20):
            for _ in range(2):
                await connect_once(plane, keys)
                await until(EventKind.CONNECTED)
                await plane.end_session(DeviceId("d1"))
                await until(EventKind.DISCONNECTED)
                assert [(event.kind, event.protocol) for event in events] == [
                    (EventKind.HANDSHAKE, "amneziawg"),
                    (EventKind.CONNECTED, "amneziawg"),
                    (EventKind.DISCONNECTED, "amneziawg"),
                ]
                assert events[-1].detail == ENDED
                events.clear()
        assert [entry.device_id for entry in await plane.read_counters()] == ["d1"]


async def connect_once(plane: Planes, keys: AgentKeys) -> None:
    node_awg = KeyPair.from_private_bytes(keys.awg_key).public
    pairing = Pairing(
        fleet=home_fleet().id,
        device=DeviceId("d1"),
        node="n1",
        generation=1,
        device_derive=DERIVE.public,
        node_derive=keys.derive_key.public,
        device_awg=KEY.public,
        node_awg=node_awg,
    )
    peer = PeerConfig(
        public_key=node_awg,
        preshared_key=derive_psk(pairing, DERIVE),
        allowed_ips=(ipaddress.ip_network("0.0.0.0/0"),),
        endpoint=("127.0.0.1", plane.port),
    )
    assert DESIRED.awg is not None
    async with open_client_tunnel(private_key=KEY.private_bytes(), peer=peer, parameters=DESIRED.awg) as tunnel:
        with trio.fail_after(10):
            await tunnel.wait_handshake()
            # The responder counts the handshake as done with the first packet that proves it.
            tunnel.send_packets_nowait([b"\x45" + bytes(19)])
