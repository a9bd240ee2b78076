"""The way to helm's desk: one passage, dialled when somebody asks, and calls in it that carry HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio
from grpclib.client import Stream
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import failures_as_no_answer, open_device_passage
from pharos.wire.errors import LinkLostError, RemoteProtocolError
from pharos.wire.gen.pharos.account.v1 import admin_grpc
from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.passage.client import Passage
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.limits import INNER_STREAMS
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

DIAL_TIMEOUT: Final = 30 * SECONDS
"""A relay on a bad mobile link, and helm behind it (`pharos.caravel.relays`)."""
ANSWER_TIMEOUT: Final = 60 * SECONDS
"""For the head of an answer: helm gives a node 30 s to do as it is told."""
LANES: Final = INNER_STREAMS - 2
"""At once; two are left for a command beside the page."""
LANE_TIMEOUT: Final = 10 * SECONDS
"""For one of them to become free."""

Headers = tuple[tuple[str, str], ...]


@attrs.frozen(kw_only=True)
class Request:
    """One request to helm's page or API."""

    method: str
    target: str
    headers: Headers = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    websocket: bool = False


@attrs.frozen(kw_only=True)
class Head:
    """The beginning of an answer; 101 where a WebSocket is accepted."""

    status: int
    headers: Headers = attrs.field(repr=False)


class Lane:
    """One call: exchanges one after another, or one WebSocket. `DeskLink.open_lane` makes it.

    Everything raises NoAnswerError where the way breaks, and HelmRefusedError where helm lets this device in no more.
    """

    def __init__(self, call: Stream[pb.HttpUp, pb.HttpDown]) -> None:
        self._call = call
        self._body: pb.HttpBody | None = None
        self.begun = False
        """Whether anything was said in it."""

    async def ask(self, request: Request) -> Head:
        """Send a request and wait for the head of its answer; the body is then to be read to its end."""
        up = pb.HttpRequest(
            method=request.method,
            target=request.target,
            headers=[pb.HttpHeader(name=name, value=value) for name, value in request.headers],
            body=request.body,
            websocket=request.websocket,
        )
        self.begun = True
        with failures_as_no_answer(), _in_time():
            await self._call.send_message(pb.HttpUp(request=up))
            down = await self._receive("response")
        head = down.response
        self._body = head.body
        return Head(status=head.status, headers=tuple((header.name, header.value) for header in head.headers))

    async def read_body(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces of the answer's body."""
        body = self._body
        assert body is not None, "an answer has begun"
        while True:
            if body.data:
                yield body.data
            if body.last:
                self._body = None
                return
            with failures_as_no_answer():
                body = (await self._receive("body")).body

    async def send_text(self, text: str) -> None:
        """Send a message in a WebSocket."""
        await self._say(pb.HttpUp(message=pb.SocketMessage(text=text)))

    async def send_binary(self, data: bytes) -> None:
        """Send a message in a WebSocket."""
        await self._say(pb.HttpUp(message=pb.SocketMessage(binary=data)))

    async def send_close(self, code: int, reason: str) -> None:
        """Close a WebSocket."""
        await self._say(pb.HttpUp(close=pb.SocketClose(code=code, reason=reason)))

    async def receive(self) -> pb.SocketMessage | pb.SocketClose | None:
        """Return what comes in a WebSocket; None when helm has ended it without a word."""
        with failures_as_no_answer():
            down = await self._call.recv_message()
        if down is None:
            return None
        return down.close if down.WhichOneof("said") == "close" else down.message

    async def _say(self, up: pb.HttpUp) -> None:
        with failures_as_no_answer():
            await self._call.send_message(up)

    async def _receive(self, kind: str) -> pb.HttpDown:
        down = await self._call.recv_message()
        if down is None:
            # The trailers say why.
            await self._call.recv_trailing_metadata()
            raise LinkLostError("helm ended the conversation")
        if down.WhichOneof("said") != kind:
            raise RemoteProtocolError("helm said at its desk what has no place there")
        return down


class DeskLink:
    """The passage to the desk; `open_desk_link` makes it. It is dialled again when somebody asks after it was lost."""

    def __init__(self, store: ProfileStore, nursery: trio.Nursery) -> None:
        self._store = store
        self._nursery = nursery
        self._passage: Passage | None = None
        self._dialling = trio.Lock()
        self._lanes = trio.CapacityLimiter(LANES)

    @asynccontextmanager
    async def open_lane(self) -> AsyncIterator[Lane]:
        """Open a call for the block.

        Raises: NoAnswerError — nobody answered, or too much is asked at once. HelmRefusedError — this device is no
        admin's, or none any more.
        """
        holder = object()
        await self._take_place(holder)
        try:
            with failures_as_no_answer():
                passage = await self._current()
                async with passage.channel() as channel, open_lane(channel) as lane:
                    yield lane
        finally:
            self._lanes.release_on_behalf_of(holder)

    async def _take_place(self, holder: object) -> None:
        with trio.move_on_after(LANE_TIMEOUT):
            await self._lanes.acquire_on_behalf_of(holder)
            return
        raise NoAnswerError(f"{LANES} requests are under way; close a few tabs")

    async def _current(self) -> Passage:
        async with self._dialling:
            if self._passage is None:
                with trio.move_on_after(DIAL_TIMEOUT):
                    self._passage = await self._nursery.start(self._hold)
            if self._passage is None:
                raise NoAnswerError(f"no relay led to helm within {DIAL_TIMEOUT:g} s")
            return self._passage

    async def _hold(self, *, task_status: trio.TaskStatus[Passage]) -> None:
        held = False
        try:
            with failures_as_no_answer():
                async with open_device_passage(self._store, beside=True) as passage:
                    held = True
                    task_status.started(passage)
                    await passage.wait_ended()
                    self._passage = None
        except (NoAnswerError, HelmRefusedError):
            if not held:
                raise
            # Whoever was using it has been told by their call.
        finally:
            if held:
                self._passage = None


@asynccontextmanager
async def open_lane(channel: Channel) -> AsyncIterator[Lane]:
    """Open a call over a channel to helm, for the block."""
    async with admin_grpc.AdminStub(channel).Http.open() as call:
        lane = Lane(call)
        yield lane
        if lane.begun:
            # helm waits for another exchange, or tells of a WebSocket that nobody follows any more.
            await call.cancel()


@asynccontextmanager
async def open_desk_link(store: ProfileStore) -> AsyncIterator[DeskLink]:
    """Keep the way to the desk for the block; nothing is dialled before somebody asks."""

    async def run(*, task_status: trio.TaskStatus[DeskLink]) -> None:
        async with trio.open_nursery() as passage_nursery:
            task_status.started(DeskLink(store, passage_nursery))
            await trio.sleep_forever()

    async with open_background(run) as link:
        yield link


@contextmanager
def _in_time() -> Iterator[None]:
    with trio.move_on_after(ANSWER_TIMEOUT) as patience:
        yield
    if patience.cancelled_caught:
        raise GRPCError(Status.DEADLINE_EXCEEDED, "helm took too long to answer")
