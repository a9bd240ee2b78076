"""The control port: what helm may ask, over mTLS, with a controller's certificate only."""

from __future__ import annotations

import datetime
import logging
from typing import NoReturn

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.events import EventFeed
from pharos.buoy.node import Node
from pharos.wire.agent import Membership
from pharos.wire.convert import event_to, fence_to, push_from, report_to
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.pki.roles import CONTROL
from pharos.wire.pki.tls import server_context
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.flow import CONTROL as CONTROL_WINDOWS
from pharos.wire.rpc.health import Health
from pharos.wire.rpc.limits import FIRST_REQUEST_TIMEOUT
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls

log = logging.getLogger(__name__)


class Control(control_grpc.ControlBase):
    """The service behind the control port."""

    def __init__(self, node: Node, feed: EventFeed) -> None:
        self._node = node
        self._feed = feed

    async def Status(self, stream: Stream[pb.StatusRequest, pb.StatusReply]) -> None:
        """Say what this node is."""
        await stream.recv_message()
        await stream.send_message(report_to(self._node.report()))

    async def Push(self, stream: Stream[pb.PushRequest, pb.PushReply]) -> None:
        """Take a change set; FAILED_PRECONDITION where it is refused."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "no request")
        try:
            desired = await self._node.push(push_from(request))
        except RemoteProtocolError as error:
            log.warning("push refused: %s", error)
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        await stream.send_message(pb.PushReply(applied=fence_to(desired.fence), peers=len(desired.peers)))

    async def Watch(self, stream: Stream[pb.WatchRequest, pb.EventBatch]) -> None:
        """Send every event from now on."""
        await stream.recv_message()
        async with self._feed.open_watcher() as watcher:
            # The watcher is in place before helm hears that it is: no event falls between.
            await stream.send_initial_metadata()
            while True:
                batch = await watcher.receive_batch()
                await stream.send_message(pb.EventBatch(events=[event_to(event) for event in batch]))


async def serve_control(
    node: Node,
    feed: EventFeed,
    *,
    membership: Membership,
    host: str,
    port: int,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the control port; ``started`` is called with the bound address."""
    health = Health()
    control = Control(node, feed)
    service = Service([control, health])
    health.set("pharos.buoy.v1.Control", serving=True)

    async def handle(stream: SecureStream) -> None:
        now = datetime.datetime.now(datetime.UTC)
        identity = admit_peer(CONTROL, stream.peer_certificate, trust=membership.trust, now=now)
        log.info("helm connected from %s", stream.peer_address[0])
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
        await serve_connection(stream, service, windows=CONTROL_WINDOWS, peer=peer, idle_timeout=FIRST_REQUEST_TIMEOUT)

    context = server_context(membership.credentials, trust=membership.trust, policy=CONTROL)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)
