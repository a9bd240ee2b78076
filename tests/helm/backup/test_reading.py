"""A restored helm reads a node before it tells it anything, once an epoch."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.helm.backup.fence import set_epoch
from pharos.helm.backup.reading import FirstReading, inventory_from
from pharos.helm.fleet.dial import dial_member
from pharos.helm.fleet.lease import Lease
from pharos.helm.model.nodes import Node
from pharos.helm.store.adoptions import held_peers, must_be_read
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.wire.agent import AgentKeys
from pharos.wire.convert import inventory_to, peer_to, push_to
from pharos.wire.desired import Desired, Fence, Peer, Push
from pharos.wire.errors import LinkRefusedError, RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import CONTROL
from tests.support.buoy import make_buoy
from tests.support.helm import SampleHelm, adopt_sample_node, now, open_helm, sample_keys


def stranger(number: int) -> Peer:
    keys = sample_keys(number)
    return Peer(
        device_id=DeviceId(f"stranger-{number}"),
        awg_key=keys.awg,
        derive_key=keys.derive,
        generation=1,
        addresses=(f"10.86.{number // 250}.{number % 250}/32", f"fd00::{number:x}/128"),
    )


@attrs.define
class Stub:
    """A node's end of the call."""

    desired: Desired
    asked: int = 0

    async def Inventory(self, _request: pb.InventoryRequest, *, timeout: float) -> list[pb.InventoryPart]:
        assert timeout > 0
        self.asked += 1
        return list(inventory_to(self.desired, deny_list=b"", checkpoint=b""))


def node_with(peers: int, epoch: int = 1) -> Any:
    held = {peer.device_id: peer for peer in map(stranger, range(2, 2 + peers))}
    return Stub(Desired(fence=Fence(epoch, 1, 1), peers=held))


@asynccontextmanager
async def restored(folder: Path) -> AsyncIterator[tuple[SampleHelm, Node, FirstReading]]:
    def lay_out(db: Database, helm: SampleHelm) -> Node:
        node, _ = adopt_sample_node(db, helm.authority)
        set_epoch(db, get_fleet(db).epoch + 1)
        db.execute("UPDATE fleet SET restored_at = 1")
        return node

    async with open_helm(folder) as helm:
        node = await helm.store.run(lay_out, helm)
        fleet = await helm.store.run(get_fleet)
        yield helm, node, FirstReading(helm.store, helm.context.authorities, fleet.epoch)


async def test_node_is_asked_once_and_its_strangers_are_held(tmp_path: Path) -> None:
    async with restored(tmp_path) as (helm, node, first):
        stub = node_with(2_500)
        await first(node, stub)
        await first(node, stub)
        assert stub.asked == 1
        assert len(await helm.store.read(held_peers, node.id)) == 2_500


async def test_later_epoch_of_a_node_raises_what_pushes_name(tmp_path: Path) -> None:
    async with restored(tmp_path) as (helm, node, first):
        epoch = first.epoch
        await first(node, node_with(0, epoch + 3))
        assert first.epoch == epoch + 4 == (await helm.store.read(get_fleet)).epoch


async def test_node_that_tells_what_cannot_be_is_refused_and_stays_unread(tmp_path: Path) -> None:
    async with restored(tmp_path) as (helm, node, first):
        with pytest.raises(LinkRefusedError, match="no helm of this fleet"):
            await first(node, node_with(0, 2**62))
        assert await helm.store.read(must_be_read, node.id)


async def test_fleet_that_was_not_restored_asks_nobody(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node, _ = await helm.store.run(lambda db: adopt_sample_node(db, helm.authority))
        stub = node_with(1)
        await FirstReading(helm.store, helm.context.authorities, 1)(node, stub)
        assert stub.asked == 0


def test_inventory_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.helm.backup.reading.MAX_PEERS", 3)
    part = pb.InventoryPart(peers=[peer_to(stranger(n)) for n in range(2, 6)])
    with pytest.raises(RemoteProtocolError, match="more than 3"):
        inventory_from([part])


async def test_real_buoy_is_read_over_its_control_port(tmp_path: Path) -> None:
    """It serves a peer that the record does not know, on a later helm's word."""
    for name in ("helm", "buoy"):
        (tmp_path / name).mkdir(mode=0o700)
    async with restored(tmp_path / "helm") as (helm, _, first), trio.open_nursery() as nursery:
        keys = AgentKeys(tmp_path / "buoy", Role.NODE)
        node, grant = await helm.store.run(
            lambda db: adopt_sample_node(db, helm.authority, "oslo", request=keys.make_request())
        )
        buoy = make_buoy(tmp_path / "buoy", keys=keys, membership=keys.install(grant, now=now()))
        serve = functools.partial(serve_control, buoy.node, EventFeed(), host="127.0.0.1", port=0)
        host, port = await nursery.start(serve)
        stream, peer = await dial_member(helm.authority, Role.NODE, node.id, host, port)
        with trio.fail_after(10):
            async with open_channel(stream, windows=CONTROL, authority=node.id, peer=peer) as channel:
                stub = control_grpc.ControlStub(channel)
                late = stranger(2)
                told = Push(fence=Fence(first.epoch + 5, 1, 9), snapshot=True, upsert=(late,))
                message = push_to(told)
                message.lease.CopyFrom(Lease(holder=b"h" * 16, previous=b"", term=1).message())
                await stub.Push(message)
                await first(node, stub)
        assert await helm.store.read(held_peers, node.id) == [late]
        assert first.epoch == told.fence.epoch + 1
        assert not await helm.store.read(must_be_read, node.id)
        nursery.cancel_scope.cancel()
