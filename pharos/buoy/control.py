"""The control port: what helm may ask, over mTLS, with a controller's certificate only."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.events import EventFeed
from pharos.buoy.lease import Lease, LeaseHeldError
from pharos.buoy.node import Node
from pharos.buoy.report import Teller
from pharos.buoy.targets import LookRefusedError, TargetDesk
from pharos.wire.convert import deny_order_to, event_to, fence_to, inventory_to, push_from, report_to
from pharos.wire.daemon import set_verbose
from pharos.wire.errors import (
    AgentError,
    DenyListError,
    ManifestError,
    ParameterError,
    PeerRejectedError,
    RemoteProtocolError,
)
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.leases import lease_from
from pharos.wire.pki.roles import CONTROL
from pharos.wire.rpc.flow import CONTROL as CONTROL_WINDOWS
from pharos.wire.rpc.health import Health
from pharos.wire.rpc.limits import FIRST_REQUEST_TIMEOUT
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from pharos.wire.targets import found_to, look_from

log = logging.getLogger(__name__)


class Control(control_grpc.ControlBase):
    """The service behind the control port."""

    def __init__(self, node: Node, feed: EventFeed, targets: TargetDesk | None = None) -> None:
        self._node = node
        self._feed = feed
        self._targets = targets or TargetDesk()
        self._lease = Lease()
        self._teller = Teller()

    async def Status(self, stream: Stream[pb.StatusRequest, pb.StatusReply]) -> None:
        """Say what this node is; UNAVAILABLE to a helm that asks for the lease while another one has it."""
        request = await stream.recv_message()
        await stream.send_message(await self._status(pb.StatusRequest() if request is None else request))

    async def _status(self, request: pb.StatusRequest) -> pb.StatusReply:
        # Who only looks asks for no lease.
        if request.HasField("lease"):
            self._claim(request)
        return report_to(self._teller.tell(await self._node.report(), since=request.since))

    async def Push(self, stream: Stream[pb.PushRequest, pb.PushReply]) -> None:
        """Take a change set; FAILED_PRECONDITION where it is refused, UNAVAILABLE while another helm has the lease."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "no request")
        self._claim(request)
        with refusals("push"):
            desired = await self._node.push(push_from(request))
        keeping = self._node.keeping
        await stream.send_message(
            pb.PushReply(
                applied=fence_to(desired.fence),
                peers=len(desired.peers),
                deny_list=deny_order_to(keeping.deny_order),
                manifest_version=keeping.manifest_version,
            )
        )

    async def Watch(self, stream: Stream[pb.WatchRequest, pb.EventBatch]) -> None:
        """Send every event from now on or from where the watcher was, and the status as often as it is asked for."""
        request = await stream.recv_message()
        resume = b"" if request is None else request.resume
        turn = trio.Lock()
        async with self._feed.open_watcher(resume=resume) as watcher, trio.open_nursery() as nursery:
            # The watcher is in place before helm hears that it is: no event falls between.
            await stream.send_initial_metadata()
            nursery.start_soon(self._answer, stream, turn)
            while True:
                events = await watcher.receive_batch()
                batch = pb.EventBatch(events=map(event_to, events), resume=watcher.resume_of(events))
                async with turn:
                    await stream.send_message(batch)

    async def _answer(self, stream: Stream[pb.WatchRequest, pb.EventBatch], turn: trio.Lock) -> None:
        async for request in stream:
            if request.HasField("status"):
                status = await self._status(request.status)
                async with turn:
                    await stream.send_message(pb.EventBatch(status=status))

    async def Renew(self, stream: Stream[pb.RenewRequest, pb.RenewReply]) -> None:
        """Give the CSR of the fresh key."""
        await stream.recv_message()
        await stream.send_message(pb.RenewReply(csr=await self._node.keeping.renew()))

    async def Install(self, stream: Stream[pb.InstallRequest, pb.InstallReply]) -> None:
        """Take the certificate of the fresh key into use; FAILED_PRECONDITION where it is refused."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "no request")
        with refusals("certificate"):
            fingerprint = await self._node.keeping.install(request.certificate)
        await stream.send_message(pb.InstallReply(certificate_fingerprint=fingerprint))

    async def Inventory(self, stream: Stream[pb.InventoryRequest, pb.InventoryPart]) -> None:
        """Send everything that this node holds, as it is now."""
        await stream.recv_message()
        keeping = self._node.keeping
        for part in inventory_to(self._node.desired, deny_list=keeping.deny_list, checkpoint=keeping.checkpoint):
            await stream.send_message(part)

    async def CheckTarget(self, stream: Stream[pb.CheckTargetRequest, pb.CheckTargetReply]) -> None:
        """Look at a site; RESOURCE_EXHAUSTED while another one is looked at, and to who asks too often."""
        request = await stream.recv_message()
        try:
            host, port, names = look_from(pb.CheckTargetRequest() if request is None else request)
            report = await self._targets.look(host, port, names)
        except ParameterError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        except LookRefusedError as error:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, str(error)) from error
        await stream.send_message(found_to(report))

    async def Restart(self, stream: Stream[pb.RestartRequest, pb.RestartReply]) -> None:
        """Have an engine begin anew; FAILED_PRECONDITION where that cannot be done."""
        request = await stream.recv_message()
        try:
            await self._node.restart("" if request is None else request.protocol)
        except KeyError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, "no such protocol is served here") from error
        except EngineError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        await stream.send_message(pb.RestartReply())

    async def SetLogLevel(self, stream: Stream[pb.LogLevelRequest, pb.LogLevelReply]) -> None:
        """Write more to the log, or as much as usual, until the next start."""
        request = await stream.recv_message()
        set_verbose(verbose=request is not None and request.verbose)
        await stream.send_message(pb.LogLevelReply())

    async def EndSession(self, stream: Stream[pb.EndSessionRequest, pb.EndSessionReply]) -> None:
        """End what a device has going on here; FAILED_PRECONDITION where it is not served, or that cannot be done."""
        request = await stream.recv_message()
        try:
            await self._node.end_session(DeviceId("" if request is None else request.device_id))
        except KeyError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, "the device is not served here now") from error
        except EngineError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        await stream.send_message(pb.EndSessionReply())

    async def ShowNetwork(self, stream: Stream[pb.NetworkRequest, pb.NetworkReply]) -> None:
        """Say what the firewall was told last."""
        await stream.recv_message()
        plan = self._node.read_network()
        await stream.send_message(pb.NetworkReply(plan=b"" if plan is None else json.dumps(plan.as_json()).encode()))

    def _claim(self, request: pb.StatusRequest | pb.PushRequest) -> None:
        try:
            claim = lease_from(request.lease) if request.HasField("lease") else None
            self._lease.claim(claim, trio.current_time())
        except RemoteProtocolError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        except LeaseHeldError as error:
            log.info("a second helm was refused: %s", error)
            raise GRPCError(Status.UNAVAILABLE, str(error)) from error


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Answer FAILED_PRECONDITION where helm is told no.

    Raises: GRPCError
    """
    try:
        yield
    except (RemoteProtocolError, ManifestError, DenyListError, AgentError, PeerRejectedError) as error:
        log.warning("%s refused: %s", what, error)
        raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
    except OSError as error:
        # What was before holds and is served; helm says it again until there is room.
        log.error("%s refused: the disk does not take it: %s", what, error)
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"the disk does not take it: {error.strerror}") from error


async def serve_control(
    node: Node,
    feed: EventFeed,
    *,
    host: str,
    port: int,
    targets: TargetDesk | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the control port; ``started`` is called with the bound address."""
    health, standing = Health(), node.keeping.standing
    control = Control(node, feed, targets)
    service = Service([control, health])
    health.set("pharos.buoy.v1.Control", serving=True)

    async def handle(stream: SecureStream) -> None:
        certificate = stream.peer_certificate
        identity = standing.admit(CONTROL, certificate)
        log.info("helm connected from %s", stream.peer_address[0])
        peer = Peer(address=stream.peer_address, certificate=certificate, identity=identity)
        with standing.session(identity, certificate):
            await serve_connection(
                stream, service, windows=CONTROL_WINDOWS, peer=peer, idle_timeout=FIRST_REQUEST_TIMEOUT
            )

    context = functools.partial(standing.context, CONTROL)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)
