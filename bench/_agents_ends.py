"""The worker of bench.agents that is helm and its devices: one node's two ends, by one clock.

    python -m bench._agents_ends ends FOLDER CONTROL_PORT AWG_PORT AWG_KEY DERIVE_KEY

A worker (bench.support). helm dials the node's control port, watches, and asks on that stream as helm does; the devices
are real engines on loopback, whose keys follow from their numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio
from grpclib.client import Stream

from bench._agents_state import FIRST_FENCE, NODE, device_of, keys_of, parameters, peer_of
from bench._rpc_ours import say
from bench._wire_fleet import Task, answer_requests, dial, server_name, trust
from pharos.helm.fleet.reconcile import PEERS_PER_PUSH
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.events import Event, HandshakeCompleted
from pharos.wire.awg.tunnel import open_client_tunnel
from pharos.wire.convert import EventKind, event_from, fence_from, push_to
from pharos.wire.desired import Fence, Push
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.gen.pharos.buoy.v1.control_grpc import ControlStub
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.leases import LeaseClaim, lease_to
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import CONTROL
from pharos.wire.seal.blind import Pairing, derive_psk
from tests.support.rpc import HOST

_PATIENCE: Final = 10.0
"""Seconds for what takes milliseconds."""
_RETRY_EVERY: Final = 0.2
"""Seconds between two devices that try whether a node is up: by itself one tries again after five."""
_QUIET: Final = 0.3
"""Seconds: longer than a batch of events, so that each event finds the stream quiet."""
_HOLDER: Final = bytes(16)


@attrs.frozen
class Node:
    """What a device has to know of one."""

    awg_port: int
    awg_key: bytes
    derive_key: bytes

    @asynccontextmanager
    async def tunnel(self, number: int) -> AsyncIterator[trio.Event]:
        """Have a device with a tunnel; its event is set when it holds a session."""
        awg, derive = keys_of(number)
        pairing = Pairing(
            fleet=trust().fleet,
            device=device_of(number),
            node=NodeId(NODE),
            generation=peer_of(number).generation,
            device_derive=derive.public,
            node_derive=self.derive_key,
            device_awg=awg.public,
            node_awg=self.awg_key,
        )
        config = PeerConfig(
            public_key=self.awg_key, endpoint=(HOST, self.awg_port), preshared_key=derive_psk(pairing, derive)
        )
        done = trio.Event()

        def hear(event: Event) -> None:
            if isinstance(event, HandshakeCompleted):
                done.set()

        async with open_client_tunnel(
            private_key=awg.private_bytes(), peer=config, parameters=parameters(), on_event=hear
        ):
            yield done


class Helm:
    """One link with a node."""

    def __init__(self) -> None:
        self._stub: ControlStub
        self._stream: Stream[pb.WatchRequest, pb.EventBatch]
        self._revision = FIRST_FENCE.revision
        self._since = b""
        self._heard: dict[DeviceId, float] = {}
        self._news = trio.Event()

    async def run(self, port: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Dial the node, and note when each device's handshake is heard of, and answers to questions."""
        dialled = await dial(NODE, port, by="client")
        async with open_channel(dialled, authority=server_name(NODE), windows=CONTROL) as channel:
            self._stub = ControlStub(channel)
            async with self._stub.Watch.open() as stream:
                self._stream = stream
                await stream.send_message(pb.WatchRequest())
                await stream.recv_initial_metadata()
                task_status.started()
                async for batch in stream:
                    self._take(batch, time.perf_counter())

    def _take(self, batch: pb.EventBatch, at: float) -> None:
        if batch.HasField("status"):
            self._since = batch.status.token
        for event in map(event_from, batch.events):
            if event is not None and event.kind is EventKind.HANDSHAKE and event.device_id is not None:
                self._heard[event.device_id] = at
        self._news.set()
        self._news = trio.Event()

    async def hear_of(self, device: DeviceId) -> float:
        """Return when a handshake of a device was heard of."""
        while device not in self._heard:
            await self._news.wait()
        return self._heard.pop(device)

    async def ask(self) -> None:
        """Ask for what is new, and wait for the answer."""
        before = self._since
        request = pb.StatusRequest(lease=_lease(), since=self._since)
        await self._stream.send_message(pb.WatchRequest(status=request))
        while self._since == before:
            await self._news.wait()

    async def push(self, number: int) -> float:
        """Add a peer; return the seconds until that is acknowledged."""
        fence = self._next_fence()
        return await self._send([Push(fence=fence, snapshot=False, upsert=(peer_of(number),))])

    async def snapshot(self, count: int) -> tuple[float, int]:
        """Tell the node that these are its peers; return the seconds until that is acknowledged, and its octets."""
        fence, peers = self._next_fence(), [peer_of(number) for number in range(count)]
        parts = range(0, count, PEERS_PER_PUSH)
        pushes = [Push(fence=fence, snapshot=at == 0, upsert=tuple(peers[at : at + PEERS_PER_PUSH])) for at in parts]
        octets = sum(push_to(push).ByteSize() for push in pushes)
        return await self._send(pushes), octets

    def _next_fence(self) -> Fence:
        self._revision += 1
        return attrs.evolve(FIRST_FENCE, revision=self._revision)

    async def _send(self, pushes: Sequence[Push]) -> float:
        messages = [push_to(push) for push in pushes]
        for message in messages:
            message.lease.CopyFrom(_lease())
        started = time.perf_counter()
        replies = [await self._stub.Push(message) for message in messages]
        taken = time.perf_counter() - started
        if any(fence_from(reply.applied) != push.fence for reply, push in zip(replies, pushes, strict=True)):
            raise RuntimeError("the node did not take a push")
        return taken


def _lease() -> pb.Lease:
    return lease_to(LeaseClaim(holder=_HOLDER, seconds=75))


async def main(*words: str) -> None:
    control, awg, awg_key, derive_key = words[-4:]
    node, helm = Node(int(awg), bytes.fromhex(awg_key), bytes.fromhex(derive_key)), Helm()
    async with trio.open_nursery() as nursery:

        async def first_handshake(*, device: int, patience: float) -> dict[str, Any]:
            """Wait until a node that may not be up yet has a session with a device; return that moment."""
            with trio.fail_after(patience):
                while True:
                    async with node.tunnel(device) as done:
                        with trio.move_on_after(_RETRY_EVERY):
                            await done.wait()
                            return {"at": time.monotonic()}

        async def link() -> dict[str, Any]:
            """Begin to be helm."""
            await nursery.start(helm.run, int(control))
            return {}

        async def push(*, first: int, count: int) -> dict[str, Any]:
            """Add so many peers, each by a push of its own."""
            return {"seconds": [await helm.push(number) for number in range(first, first + count)]}

        async def snapshot(*, count: int) -> dict[str, Any]:
            """Have so many peers and no others."""
            seconds, octets = await helm.snapshot(count)
            return {"seconds": seconds, "octets": octets}

        async def events(*, first: int, count: int) -> dict[str, Any]:
            """Let so many devices shake hands, one after another; return how long helm did not know of each."""
            return {"seconds": [await heard_after(node, helm, number) for number in range(first, first + count)]}

        async def status(*, count: int) -> dict[str, Any]:
            """Ask so many times how the node is."""
            for _ in range(count):
                with trio.fail_after(_PATIENCE):
                    await helm.ask()
            return {}

        say(ready=True)
        tasks: dict[str, Task] = {
            "first_handshake": first_handshake,
            "link": link,
            "push": push,
            "snapshot": snapshot,
            "events": events,
            "status": status,
        }
        await answer_requests(tasks)
        nursery.cancel_scope.cancel()


async def heard_after(node: Node, helm: Helm, number: int) -> float:
    """Let a device shake hands with the node; return how long helm did not know of it."""
    await trio.sleep(_QUIET)
    with trio.fail_after(_PATIENCE):
        async with node.tunnel(number) as done:
            await done.wait()
            completed = time.perf_counter()
            return await helm.hear_of(device_of(number)) - completed


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
