"""The long-lived link to one buoy: reconcile, push, listen."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.dial import dial_member, errors_as_fates
from pharos.helm.fleet.reconcile import ObservedNode, observed_after, plan
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.hub import Hub
from pharos.helm.model.nodes import Node
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.database import Store
from pharos.helm.telemetry.ingest import Ingest
from pharos.helm.telemetry.readings import READ_EVERY, reading_of
from pharos.wire.convert import EventKind, NodeReport, TunnelEvent, event_from, fence_from, push_to, report_from
from pharos.wire.desired import Fence
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import CONTROL
from pharos.wire.units import SECONDS

# A buoy answers a status or a push of 2,000 peers within a second; a stuck one is redialled.
CALL_TIMEOUT: Final = 15 * SECONDS


class NodeLinks:
    """Dials nodes; holds what every link to a node needs."""

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        desired: DesiredFleet,
        board: Board,
        hub: Hub,
        ingest: Ingest,
        epoch: int,
        term: int,
    ) -> None:
        self.store = store
        self.authority = authority
        self.desired = desired
        self.board = board
        self.hub = hub
        self.ingest = ingest
        self.epoch = epoch
        self.term = term

    @asynccontextmanager
    async def dial(self, node: Node) -> AsyncIterator[NodeLink]:
        """Open the link to a node; it is up when the node's SETTINGS have arrived.

        Raises: LinkLostError, LinkRefusedError.
        """
        stream, peer = await dial_member(self.authority, Role.NODE, node.id, node.address, node.control_port)
        with errors_as_fates():
            async with open_channel(stream, windows=CONTROL, authority=node.id, peer=peer) as channel:
                yield NodeLink(self, node, channel)


class NodeLink:
    """One link that is up."""

    def __init__(self, links: NodeLinks, node: Node, channel: Channel) -> None:
        self._links = links
        self._node = node
        self._connection = channel.connection
        self._stub = control_grpc.ControlStub(channel)

    async def run(self) -> None:
        """Reconcile and listen until the link ends.

        Raises: LinkLostError. LinkRefusedError — the node obeys a newer helm, or is not the node we dialled.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reconcile)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._read_counters)
            await self._connection.wait_closed()
            raise LinkLostError(str(self._connection.error or "the node closed the link"))

    async def _reconcile(self) -> NoReturn:
        links, node = self._links, self._node
        with errors_as_fates():
            report = await self._status()
            if report.node_id != node.id or report.awg_key != node.awg_key or report.derive_key != node.derive_key:
                raise LinkRefusedError("the node reports other keys than it joined with; adopt it anew")
            observed = ObservedNode(
                applied=report.applied,
                awg=report.awg,
                addresses=report.addresses,
                peers={peer.device_id: peer.awg_key for peer in report.peers},
            )
            self._note(report.applied, len(observed.peers))
            while True:
                commits, desired = await links.desired.of(node.id)
                if desired is not None:
                    for push in plan(desired, observed, epoch=links.epoch, term=links.term):
                        reply = await self._stub.Push(push_to(push), timeout=CALL_TIMEOUT)
                        applied = fence_from(reply.applied)
                        observed = observed_after(observed, desired, applied)
                        self._note(applied, reply.peers)
                await links.store.wait_commit(commits)

    def _note(self, applied: Fence, peers: int) -> None:
        sighting = self._links.board.of(self._node.id)
        sighting.applied, sighting.peers = applied, peers

    async def _status(self) -> NodeReport:
        """Ask the node how it is, which is also a reading of its counters."""
        started = now_us()
        report = report_from(await self._stub.Status(pb.StatusRequest(), timeout=CALL_TIMEOUT))
        at = now_us()
        if report.node_id == self._node.id:
            self._links.ingest.offer_reading(reading_of(report, at=at, latency=max(at - started, 0)))
        return report

    async def _read_counters(self) -> NoReturn:
        with errors_as_fates():
            while True:
                await trio.sleep(_until_next_reading(self._node.id, now_us()))
                await self._status()

    async def _listen(self) -> None:
        with errors_as_fates():
            async with self._stub.Watch.open() as stream:
                await stream.send_message(pb.WatchRequest(), end=True)
                async for batch in stream:
                    events = [event for event in map(event_from, batch.events) if event is not None]
                    for event in events:
                        self._publish(event)
                    self._links.ingest.offer_events([self._row(event) for event in events])
        raise LinkLostError("the node ended its event stream")

    def _publish(self, event: TunnelEvent) -> None:
        # Browsers hear first; the row is for later, and the node's own clock says when it was.
        self._links.hub.publish(
            event.kind.value, at=event.at, node=self._node.id, device=event.device_id, text=event.detail
        )

    def _row(self, event: TunnelEvent) -> NodeEvent:
        return NodeEvent(
            at=event.at,
            kind=event.kind.value,
            node_id=self._node.id,
            device_id=None if event.kind is EventKind.GAP else event.device_id,
            detail=event.detail,
        )


def _until_next_reading(node_id: str, at: int) -> float:
    """Return the seconds from ``at`` to the next time at which this node is read.

    Each node has its own moment, so that not all are asked at once, and far enough from where charts begin a new point
    that every point gets one reading.
    """
    period = round(READ_EVERY * 1_000_000)
    margin = period // 15
    moment = margin + zlib.crc32(node_id.encode()) % (period - 2 * margin)
    wait = (moment - at) % period
    return (wait or period) / 1e6
