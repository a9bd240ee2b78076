"""hypercorn's server for Trio, with the ways closed in which one connection takes more than its share (row 42).

hypercorn 0.18 by itself always accepts permessage-deflate, goes on filling the buffer of a message that was refused as
too long, takes HTTP/2 from whoever asks in plain text, counts no fields, and shields what it sends from cancellation,
so that a client that does not read keeps the whole server from stopping. Each class here is hypercorn's own with one of
these changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import attrs
import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr, wrap_app
from quart_trio import QuartTrio

from pharos.helm.web.websockets import WebSocketStream
from pharos.wire.rpc import limits
from pharos.wire.units import SECONDS

# A browser on this machine reads within milliseconds; one that was put to sleep for longer connects anew.
SEND_PATIENCE: Final = 30 * SECONDS
# After our last octet: time for the other end to read it. Closing over unread octets would reset the connection and
# take the last answer with it (RFC 9112 §9.6).
LINGER: Final = 1 * SECONDS


async def serve(
    app: QuartTrio, config: Config, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve ``app`` on the plain sockets that ``config`` binds, until cancelled; ``started`` gives their addresses."""
    async with open_application(app, config) as application:
        listeners = [_listener(sock, config.backlog) for sock in config.create_sockets().insecure_sockets]
        task_status.started([_name(listener) for listener in listeners])

        async def serve_connection(stream: trio.SocketStream) -> None:
            await Connection(application, stream)

        await trio.serve_listeners(serve_connection, listeners)


@attrs.frozen
class Application:
    """An app that is ready to be asked, and what hypercorn hands to each of its connections."""

    app: Any
    config: Config
    context: WorkerContext
    state: LifespanState


@asynccontextmanager
async def open_application(app: QuartTrio, config: Config) -> AsyncIterator[Application]:
    """Run what ``app`` runs beside its requests (ASGI's lifespan), while the block lasts."""
    wrapped: Any = wrap_app(app, config.wsgi_max_body_size, "asgi")
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        yield Application(wrapped, config, WorkerContext(None), state)
        lifespan_nursery.cancel_scope.cancel()


def _listener(sock: Any, backlog: int) -> trio.SocketListener:
    sock.listen(backlog)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _name(listener: trio.SocketListener) -> str:
    address = listener.socket.getsockname()
    return f"unix:{address}" if isinstance(address, str) else f"http://{address[0]}:{address[1]}"


class Connection(TCPServer):
    """One connection, HTTP/1.1. Its last octets are waited for, and everything on it ends with it.

    What stands in ``facts`` goes to the app with each request, in the ASGI scope's ``state``.
    """

    def __init__(self, application: Application, stream: Any, *, secure: bool = False, **facts: Any) -> None:
        state = {**application.state, **facts}
        super().__init__(application.app, application.config, application.context, state, stream)
        self._secure = secure
        self._scope = trio.CancelScope()
        self._finishing = False
        self._read_to_end = trio.Event()

    async def run(self) -> None:
        sock = self.stream.socket
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            with self._scope:
                async with TaskGroup() as task_group:
                    self._task_group = task_group
                    # Its wrapper does nothing but choose between this and HTTP/2.
                    self.protocol = _Http1(  # type: ignore[assignment]
                        self.app,
                        self.config,
                        self.context,
                        task_group,
                        ConnectionState(self.state),
                        ssl=self._secure,
                        client=client,
                        server=server,
                        send=self.protocol_send,
                    )
                    await self.idle_task.restart(task_group, self._idle_timeout)
                    await self._read_data()
        except OSError:
            # Gone before it could be asked who it is.
            pass
        finally:
            await trio.aclose_forcefully(self.stream)

    def cut(self) -> None:
        """End it at once, with whatever goes on there."""
        self._scope.cancel()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            try:
                # It is free but for rare races, and to queue for it would cost each message one more turn of the loop.
                self.send_lock.acquire_nowait()
            except trio.WouldBlock:
                await self.send_lock.acquire()
            try:
                await self._send(event.data)
            finally:
                self.send_lock.release()
        elif isinstance(event, Closed):
            self._finish()
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated) and event.idle:
            # This runs in the app's task, which quart cancels as soon as it has heard that the answer is complete.
            with trio.CancelScope(shield=True):
                await self.idle_task.restart(self._task_group, self._idle_timeout)
        elif isinstance(event, Updated):
            await self.idle_task.stop()

    async def _send(self, data: bytes) -> None:
        sent = False
        try:
            with trio.move_on_after(SEND_PATIENCE):
                await self.stream.send_all(data)
                sent = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            if not sent:
                # Half of it may be out: nothing sensible can follow.
                await trio.aclose_forcefully(self.stream)
        if not sent:
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        while True:
            try:
                data = await self.stream.receive_some(MAX_RECV)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            # What comes after our last octet is read, so that it does not reset the connection, and dropped.
            if not self._finishing:
                await self.protocol.handle(RawData(bytes(data)))
            if not data:
                break
        await self.protocol.handle(Closed())
        self._read_to_end.set()

    def _finish(self) -> None:
        if not self._finishing:
            self._finishing = True
            # In a task of the connection's, for the app's may be cancelled at any time from now on.
            self._task_group.spawn(self._linger)

    async def _linger(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await self.stream.send_eof()
        with trio.move_on_after(LINGER):
            await self._read_to_end.wait()
            return
        # The other end does not leave, or a reader waits for an app that has ended.
        self._scope.cancel()


class _Http1(H11Protocol):
    """HTTP/1.1 without a way to HTTP/2, and WebSockets without extensions."""

    async def stream_send(self, event: StreamEvent) -> None:
        if (
            isinstance(event, Response)
            and isinstance(self.connection, h11.Connection)
            and self.connection.their_state is h11.SEND_BODY
        ):
            # Answered before its body was there: no request can follow, and whoever would send one has to know.
            event = Response(
                stream_id=event.stream_id,
                headers=[*event.headers, (b"connection", b"close")],
                status_code=event.status_code,
            )
        await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay with HTTP/1.1. No browser asks for more in plain text, and only attacks need two protocols."""

    async def _create_stream(self, request: h11.Request) -> None:
        if len(request.headers) > limits.MAX_HEADER_FIELDS:
            # h11 bounds their octets alone, and 16 KiB are four thousand fields (row 35).
            await self._send_error_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            await self.send(Closed())
            return
        if not _is_websocket(request):
            # hypercorn would look at the same headers in its own way, and might find a WebSocket after all.
            rest = [(name, value) for name, value in request.headers if name != b"upgrade"]
            await super()._create_stream(
                h11.Request(
                    method=request.method, target=request.target, headers=rest, http_version=request.http_version
                )
            )
            return
        self.stream = WebSocketStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        assert isinstance(self.connection, h11.Connection), "a connection is taken over once"
        self.connection = H11WSConnection(self.connection)
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                # An extension that is not seen is not negotiated.
                headers=[(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"],
                http_version=request.http_version.decode(),
                method="GET",
                raw_path=request.target,
                state=self.connection_state,
            )
        )


def _is_websocket(request: h11.Request) -> bool:
    upgrades = [value.strip().lower() for name, value in request.headers if name == b"upgrade"]
    connection = b",".join(value for name, value in request.headers if name == b"connection")
    tokens = [token.strip().lower() for token in connection.split(b",")]
    return request.method == b"GET" and b"websocket" in upgrades and b"upgrade" in tokens
