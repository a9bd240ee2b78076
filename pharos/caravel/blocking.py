"""caravel for programs without Trio: the same verbs, each waiting for its end.

    with blocking.open_client(path) as client:
        client.sync()
        with client.connect() as tunnel:
            with tunnel.open_socket("example.org", 80) as sock:
                sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")

Trio runs in one thread of its own while the outer block lasts. Any thread may call; what one waits for keeps no other
from calling.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from pharos.caravel import client as trio_client
from pharos.caravel.enrolment import ENROLMENT_TIMEOUT, enroll
from pharos.caravel.errors import NoAnswerError
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.sync import SyncOutcome
from pharos.wire.profile import Profile
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.units import KIB, SECONDS

if TYPE_CHECKING:
    from pharos.caravel.events import Event
    from pharos.caravel.tunnel import session

T = TypeVar("T")

READ_BYTES: Final = 64 * KIB
WAIT_UP: Final = 15 * SECONDS
LINGER: Final = 5 * SECONDS
"""For what was written before a socket was closed to go out."""


def join(path: Path, link: str, *, device_name: str = "") -> None:
    """Join the fleet of a ticket link, beside those that the device of ``path`` is in already.

    Raises: as `pharos.caravel.enrolment.enroll`.
    """
    ticket = TicketLink.parse(link)
    store = Fleets(path).store_for(ticket.fleet)

    async def main() -> None:
        with trio.move_on_after(ENROLMENT_TIMEOUT):
            await enroll(store, ticket, device_name=device_name)
            return
        raise NoAnswerError(f"no relay of the fleet let us in within {ENROLMENT_TIMEOUT:.0f} s; try again")

    trio.run(main)


class Client:
    """One enrolled device; `open_client` makes it. Errors are those of `pharos.caravel.client.Client`."""

    def __init__(self, portal: BlockingPortal, inner: trio_client.Client) -> None:
        self._portal = portal
        self._inner = inner

    def profile(self) -> Profile:
        """Return the newest profile this device holds; needs nobody."""
        return self._inner.profile()

    def profiles(self) -> tuple[trio_client.KnownNode, ...]:
        """Return the nodes of that profile, each with what this device makes of it."""
        return self._inner.profiles()

    def sync(self) -> SyncOutcome:
        """Ask helm for the newest profile, and keep it."""
        return self._portal.call(self._inner.sync)

    @contextmanager
    def connect(self, node: str | None = None, *, timeout: float = WAIT_UP, **options: Any) -> Iterator[Tunnel]:
        """Hold a tunnel while the block lasts, and begin with it up; ``options`` as `Client.connect` of Trio has them.

        Raises: NoAnswerError — no node answered within ``timeout`` seconds; and as `Client.connect`.
        """
        opened = self._portal.call(functools.partial(self._inner.connect, node, **options))
        with self._portal.wrap_async_context_manager(opened) as inner:
            self._portal.call(inner.wait_up, timeout)
            yield Tunnel(self._portal, inner)


class Tunnel:
    """A tunnel that is up."""

    def __init__(self, portal: BlockingPortal, inner: session.Tunnel) -> None:
        self._portal = portal
        self._inner = inner

    def status(self) -> Any:
        """Return what `pharos.caravel.client.Tunnel.status` does."""
        return self._portal.call(self._inner.status)

    def watch(self) -> Iterator[Event]:
        """Give events as they happen, until the tunnel ends or the iterator is closed."""
        events = self._portal.call(self._inner.watch)
        try:
            while True:
                try:
                    yield self._portal.call(events.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self._portal.call(events.aclose)

    @contextmanager
    def open_socket(self, host: str, port: int, *, timeout: float = 30 * SECONDS) -> Iterator[socket.socket]:
        """Connect to a host beyond the node, by a socket that anything takes: `ssl`, `http.client`, `select`.

        ``timeout`` is for the connecting; afterwards `socket.settimeout` says how long one waits.

        Raises: OSError, trio.BrokenResourceError, WireError — it cannot be reached; TimeoutError.
        """

        async def connect() -> trio.abc.HalfCloseableStream:
            with trio.move_on_after(timeout):
                return await self._inner.open_tcp_stream(host, port)
            raise TimeoutError(f"{host}:{port} did not answer within {timeout:g} s")

        stream = self._portal.call(connect)
        near, far = socket.socketpair()
        bridge = self._portal.call(_Bridge, far, stream)
        running = self._portal.start_task_soon(bridge.run)
        try:
            with near:
                yield near
        finally:
            self._portal.call(bridge.leave)
            running.result()


@contextmanager
def open_client(path: Path, **options: Any) -> Iterator[Client]:
    """Open the store of an enrolled device; ``options`` as `pharos.caravel.client.open_client` has them.

    Raises: as that.
    """
    with start_blocking_portal("trio") as portal:
        opened = trio_client.open_client(path, **options)
        with portal.wrap_async_context_manager(opened) as inner:
            yield Client(portal, inner)


class _Bridge:
    """Carries octets between a socket of ours and a stream, each direction to its end."""

    def __init__(self, far: socket.socket, stream: trio.abc.HalfCloseableStream) -> None:
        far.setblocking(False)  # noqa: FBT003 -- the standard library's
        self._near = trio.SocketStream(trio.socket.from_stdlib_socket(far))
        self._stream = stream
        self._sent = trio.Event()
        """Everything that was written at our end is on its way."""
        self._left = trio.Event()

    def leave(self) -> None:
        """Whoever had our end has closed it: there is nobody to read any more."""
        self._left.set()

    async def run(self) -> None:
        async with self._near, self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._end, nursery.cancel_scope)
            await _pump(self._near, self._stream)
            self._sent.set()

    async def _end(self, scope: trio.CancelScope) -> None:
        await self._left.wait()
        with trio.move_on_after(LINGER):
            await self._sent.wait()
        scope.cancel()

    async def _receive(self) -> None:
        await _pump(self._stream, self._near)


async def _pump(source: trio.abc.HalfCloseableStream, sink: trio.abc.HalfCloseableStream) -> None:
    try:
        while piece := await source.receive_some(READ_BYTES):
            await sink.send_all(piece)
        await sink.send_eof()
    except trio.BrokenResourceError:
        # Both ends learn at once, as from a connection that was reset.
        await trio.aclose_forcefully(source)
        await trio.aclose_forcefully(sink)
    except trio.ClosedResourceError:
        return
