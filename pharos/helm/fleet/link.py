"""The long-lived link to one buoy: reconcile, push, listen, and look now and then whether it still is so."""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn, cast

import attrs
import trio

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.fleet.acks import Acknowledged, Acks
from pharos.helm.fleet.care import KeepCheckpoint
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.dial import dial_member, errors_as_fates
from pharos.helm.fleet.lease import Lease
from pharos.helm.fleet.meter import Healing, Meter, believable
from pharos.helm.fleet.reconcile import (
    NO_TRUST,
    DesiredNode,
    DesiredTrust,
    ObservedNode,
    for_earlier,
    observed_after,
    plan,
)
from pharos.helm.fleet.stir import Stir
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.hub import Hub
from pharos.helm.model.nodes import Node
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.database import Store
from pharos.helm.telemetry.ingest import Ingest
from pharos.helm.telemetry.readings import READ_EVERY, reading_of
from pharos.wire.convert import (
    EventKind,
    NodeReport,
    TunnelEvent,
    event_from,
    fence_from,
    fence_to,
    push_to,
    report_from,
)
from pharos.wire.desired import Fence, PeerSet, Policy
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import NodeId
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.client import Channel, ClientStream, open_channel
from pharos.wire.rpc.flow import CONTROL
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

# A buoy answers a status or a push of 2,000 peers within a second; a stuck one is redialled.
CALL_TIMEOUT: Final = 15 * SECONDS
_TOGETHER: Final = 500_000
"""Microseconds between the moments at which nodes are read."""


async def no_trust() -> DesiredTrust:
    """Tell nodes nothing of trust."""
    return NO_TRUST


async def nothing_first(_node: Node, _stub: control_grpc.ControlStub) -> None:
    """Do nothing before the first push."""


@attrs.frozen(kw_only=True)
class NodeLinks:
    """Dials nodes; holds what every link to a node needs."""

    store: Store
    authorities: LiveAuthority
    desired: DesiredFleet
    board: Board
    hub: Hub
    ingest: Ingest
    lease: Lease
    epoch: Callable[[], int]
    """The fleet's, which a restored helm may raise by what it reads at a node."""
    stir: Stir = attrs.field(factory=Stir)
    acks: Acks = attrs.field(factory=Acks)
    heard: dict[NodeId, bytes] = attrs.field(factory=dict)
    """What stands for the events that we have of a node, so that a link that was lost loses none."""
    trust: Callable[[], Awaitable[DesiredTrust]] = no_trust
    """Whom nodes shall believe, as of now."""
    first: Callable[[Node, control_grpc.ControlStub], Awaitable[None]] = nothing_first
    """Awaited before the first push over a link: what a restored helm has to learn from the node."""
    care: Callable[[Node, NodeReport, control_grpc.ControlStub, KeepCheckpoint], Awaitable[bool]] | None = None
    """Awaited after each status: what is due on the node, such as the renewal of its certificate.

    It says whether the next status has to tell of every peer.
    """

    @asynccontextmanager
    async def dial(self, node: Node) -> AsyncIterator[NodeLink]:
        """Open the link to a node; it is up when the node's SETTINGS have arrived.

        Raises: LinkLostError, LinkRefusedError.
        """
        stream, peer = await dial_member(self.authorities.current, Role.NODE, node.id, node.address, node.control_port)
        with errors_as_fates():
            async with open_channel(stream, windows=CONTROL, authority=node.id, peer=peer) as channel:
                yield NodeLink(self, node, channel)


class NodeLink:
    """One link that is up."""

    def __init__(self, links: NodeLinks, node: Node, channel: Channel) -> None:
        self._links = links
        self._node = node
        self._stub = control_grpc.ControlStub(channel)
        self._settled_at = -1
        """At which stir the node was what it shall be."""
        self._drifted: ObservedNode | None = None
        self._stream: ClientStream[pb.WatchRequest, pb.EventBatch] | None = None
        """Of events, while it is open; the status is asked for on it too."""
        self._answers: list[pb.StatusReply] = []
        self._answered = trio.Event()
        self._since = b""
        """Token of the last status of which everything was taken; empty: the next one has to tell all."""
        self._meter = Meter()
        self._healing = Healing()
        self._pushing = trio.Lock()
        self._applied = Fence()
        """The largest that the node said it holds; no push may go below it."""

    async def run(self) -> None:
        """Reconcile and listen until the link ends.

        Raises: LinkLostError. LinkRefusedError — the node obeys a newer helm, or is not the node we dialled.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reconcile)
            nursery.start_soon(self._listen)
            await self._look()

    async def _reconcile(self) -> NoReturn:
        links, node = self._links, self._node
        with errors_as_fates():
            report = await self._status(self._stub.Status)
            if report.node_id != node.id or report.awg_key != node.awg_key or report.derive_key != node.derive_key:
                raise LinkRefusedError("the node reports other keys than it joined with; adopt it anew")
            await links.first(node, self._stub)
            # What was read first may have raised the epoch, and what is due may have changed what the node holds.
            await self._care(report)
            observed = observed_of(report)
            self._note(observed, len(observed.peers), report)
            while True:
                seen = links.stir.count(node.id)
                (_, desired), trust = await links.desired.of(node.id), await links.trust()
                desired = _spoken(desired, report)
                if self._drifted is not None:
                    observed, self._drifted = self._drifted, None
                if desired is not None:
                    reality = observed.reality
                    observed = await self._push(desired, observed, trust, report)
                    # Where nothing had to be said, this revision is in force there as well; and so is one that came
                    # while it was pushed, and does not concern the node.
                    revision = max(desired.revision, links.stir.revision if links.stir.count(node.id) == seen else 0)
                    links.board.of(node.id).applied = attrs.evolve(observed.applied, revision=revision)
                    if observed.reality != reality and report.reality is not None:
                        # It has derived another key, and serves it where it did not; profiles wait for that.
                        await self._care(await self._status(self._stub.Status))
                if self._drifted is None:
                    self._settled_at = seen
                    await links.stir.wait(node.id, seen)

    async def _push(
        self, desired: DesiredNode, observed: ObservedNode, trust: DesiredTrust, report: NodeReport
    ) -> ObservedNode:
        links = self._links
        for push in plan(desired, observed, trust, epoch=links.epoch(), term=links.lease.term):
            message = push_to(push)
            message.lease.CopyFrom(links.lease.message())
            async with self._pushing:
                reply = await self._stub.Push(message, timeout=CALL_TIMEOUT)
                applied = fence_from(reply.applied)
                if applied != push.fence:
                    raise LinkLostError(f"the node says that it holds {applied}, and was told {push.fence}")
                self._applied = applied
            observed = observed_after(observed, desired, applied, trust)
            self._note(observed, reply.peers, report)
        return observed

    async def _keep_checkpoint(self, checkpoint: bytes) -> None:
        """Give the node a checkpoint of the audit, under the fence that it holds when its turn has come."""
        async with self._pushing:
            fence, lease = fence_to(self._applied), self._links.lease.message()
            await self._stub.Push(pb.PushRequest(fence=fence, checkpoint=checkpoint, lease=lease), timeout=CALL_TIMEOUT)

    def _note(self, observed: ObservedNode, peers: int, report: NodeReport) -> None:
        sighting = self._links.board.of(self._node.id)
        sighting.applied, sighting.peers = observed.applied, peers
        self._links.acks.note(
            self._node.id,
            Acknowledged(
                applied=observed.applied,
                deny_order=observed.deny_order,
                manifest_version=observed.manifest_version,
                heard_at=now_us(),
            ),
        )

    async def _status(self, ask: Callable[..., Awaitable[pb.StatusReply]], since: bytes = b"") -> NodeReport:
        """Ask the node how it is, or what is new; that is also a reading of its counters and renews the lease."""
        started = now_us()
        request = pb.StatusRequest(lease=self._links.lease.message(), since=since)
        report = report_from(await ask(request, timeout=CALL_TIMEOUT))
        at = now_us()
        self._applied = max(self._applied, report.applied)
        if report.node_id == self._node.id:
            board = self._links.board
            sighting = board.of(self._node.id)
            sighting.skew, sighting.version = report.now - at if report.now else 0, report.version
            board.hear(self._node.id, report.engines, report.machine)
            self._links.ingest.offer_reading(reading_of(report, at=at, latency=max(at - started, 0)))
        return report

    async def _ask(self, request: pb.StatusRequest, *, timeout: float) -> pb.StatusReply:
        """Ask on the stream of events; one question at a time."""
        if self._stream is None:
            return await self._stub.Status(request, timeout=timeout)
        self._answered = trio.Event()
        with trio.fail_after(timeout):
            await self._stream.send_message(pb.WatchRequest(status=request))
            await self._answered.wait()
        return self._answers.pop()

    async def _look(self) -> NoReturn:
        """Look at the node at its own moment of each half minute: it may have drifted from what it acknowledged."""
        links = self._links
        with errors_as_fates():
            while True:
                await trio.sleep(_until_next_reading(self._node.id, now_us()))
                believed = self._settled_at
                report = await self._status(self._ask, self._since)
                desired, trust = await links.desired.now(self._node.id), await links.trust()
                desired = _spoken(desired, report)
                # Nothing was pushed or became due while the node answered.
                if desired is not None and believed == self._settled_at == links.stir.count(self._node.id):
                    if not _tells_enough(report, desired):
                        # The next status may be whole: it says what has drifted.
                        self._since = b""
                        report = await self._status(self._ask)
                        if believed != self._settled_at or believed != links.stir.count(self._node.id):
                            await self._care(report)
                            continue
                    self._heal(desired, observed_of(report, desired), trust)
                await self._care(report)

    async def _care(self, report: NodeReport) -> None:
        links, all_again = self._links, False
        if links.care is not None:
            try:
                all_again = await links.care(self._node, report, self._stub, self._keep_checkpoint)
            except (BusyError, DatabaseCorruptError) as error:
                log.warning("what is due at node %s waits: %s", self._node.name, error)
                all_again = True
        self._since = b"" if all_again else report.token

    def _heal(self, desired: DesiredNode, observed: ObservedNode, trust: DesiredTrust) -> None:
        links, node = self._links, self._node
        if not plan(desired, observed, trust, epoch=links.epoch(), term=links.lease.term):
            return
        if not self._healing.may(trio.current_time()):
            log.warning("node %s has drifted again; it is put right once a minute", node.name)
            return
        links.hub.publish("drifted", at=now_us(), node=node.id, text=f"{node.name} is not what it was told to be")
        self._drifted = observed
        links.stir.stir([node.id])

    async def _listen(self) -> None:
        with errors_as_fates():
            async with self._stub.Watch.open() as stream:
                await stream.send_message(pb.WatchRequest(resume=self._links.heard.get(self._node.id, b"")))
                self._stream = cast("ClientStream[pb.WatchRequest, pb.EventBatch]", stream)
                async for batch in stream:
                    if batch.events:
                        self._take([event for event in map(event_from, batch.events) if event is not None], now_us())
                        self._links.heard[self._node.id] = batch.resume
                    if batch.HasField("status"):
                        self._answers = [batch.status]
                        self._answered.set()
        raise LinkLostError("the node ended its event stream")

    def _take(self, events: list[TunnelEvent], now: int) -> None:
        admitted = self._meter.admit(len(events), trio.current_time())
        rows = []
        for event in events[:admitted]:
            at = believable(event.at, now)
            # Browsers hear first; the row is for later, and the node's own clock says when it was.
            self._links.hub.publish(
                event.kind.value, at=at, node=self._node.id, device=event.device_id, text=event.detail
            )
            rows.append(self._row(event, at))
        if dropped := len(events) - admitted:
            text = f"{dropped} events of {self._node.name} were dropped: it tells more than a node can have to tell"
            self._links.hub.publish("flood", at=now, node=self._node.id, text=text)
            gap = NodeEvent(
                at=now, kind=EventKind.GAP.value, node_id=self._node.id, device_id=None, detail=str(dropped)
            )
            rows.append(gap)
        self._links.ingest.offer_events(rows)

    def _row(self, event: TunnelEvent, at: int) -> NodeEvent:
        return NodeEvent(
            at=at,
            kind=event.kind.value,
            node_id=self._node.id,
            device_id=None if event.kind is EventKind.GAP else event.device_id,
            detail=event.detail,
            protocol=event.protocol,
        )


def _spoken(desired: DesiredNode | None, report: NodeReport) -> DesiredNode | None:
    """Return what is desired in words that the node understands."""
    return desired if desired is None or report.throttles else for_earlier(desired)


def _tells_enough(report: NodeReport, desired: DesiredNode) -> bool:
    """Whether a report says of every peer that the node holds whether it is as desired."""
    return report.summary is None or report.summary.digest == PeerSet.of(desired.peers).digest


def observed_of(report: NodeReport, desired: DesiredNode | None = None) -> ObservedNode:
    """Return what a node says that it is; in a report with a summary its peers are those desired."""
    same = None if report.summary is None or desired is None else desired.peers
    return ObservedNode(
        applied=report.applied,
        awg=report.awg,
        knows_reality=report.reality is not None,
        reality=None if report.reality is None else report.reality.parameters,
        addresses=report.addresses,
        peers={peer.device_id: peer.digest for peer in report.peers} if same is None else same,
        policy=report.policy or Policy(),
        previous=report.previous,
        manifest_version=report.manifest_version,
        deny_order=report.deny_list,
    )


def _until_next_reading(node_id: str, at: int) -> float:
    """Return the seconds from ``at`` to the next time at which this node is read.

    Each node has its own moment, so that not all are asked at once, and far enough from where charts begin a new point
    that every point gets one reading. Some have the same one: a helm of a thousand nodes wakes up for twenty at a time.
    """
    period = round(READ_EVERY * 1_000_000)
    margin = period // 15
    moments = (period - 2 * margin) // _TOGETHER
    moment = margin + zlib.crc32(node_id.encode()) % moments * _TOGETHER
    wait = (moment - at) % period
    return (wait or period) / 1e6
