"""helm's page on this machine's loopback: what browsers ask goes to the desk, and nothing is kept."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, Protocol

import attrs
import h11
import trio

from pharos.caravel.admin.guard import Guard, TurnedAwayError, passed
from pharos.caravel.admin.http1 import Asked, BodyTooLargeError, BrowserConnection
from pharos.caravel.admin.link import Head, Lane, Request, open_desk_link
from pharos.caravel.admin.socket import begin_socket, carry_socket
from pharos.caravel.client import Client
from pharos.caravel.errors import CaravelError, HelmRefusedError, NoAnswerError
from pharos.wire.listen import naming_address
from pharos.wire.tasks import open_background

log = logging.getLogger(__name__)

PORT: Final = 8440
"""That of helm's own page: what a browser knows by the page's address, such as passkeys, is known here too."""
LOOPBACKS: Final = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
"""Both: a browser takes ``localhost`` for either, and nobody else shall be at the other."""
CONNECTIONS: Final = 64
"""At once; a browser opens six, and one for each tab's feed."""
TRIES: Final = 20
"""For a free port that is free on both."""
# A page has no business with a GET that cannot be repeated; nothing else is.
_REPEATABLE: Final = frozenset({"GET", "HEAD"})


@attrs.frozen(kw_only=True)
class AdminPage:
    """The page, while it is served."""

    guard: Guard

    @property
    def address(self) -> str:
        """Where it is."""
        return self.guard.address

    @property
    def link(self) -> str:
        """What lets one browser in; after that there is another."""
        return self.guard.link


@asynccontextmanager
async def open_admin(
    client: Client, *, port: int = PORT, opened: Callable[[], None] = lambda: None
) -> AsyncIterator[AdminPage]:
    """Serve helm's page and API on ``port`` of loopback for the block; 0 takes one that is free.

    ``opened`` is called when a browser has used the link.

    Raises: HelmRefusedError — this device is no admin's. NoAnswerError — helm cannot be reached. AddressError.
    """
    async with open_desk_link(client.store) as link, open_page(link, port=port, opened=opened) as page:
        yield page


class Lanes(Protocol):
    """What leads to the desk: a `DeskLink`."""

    def open_lane(self) -> AbstractAsyncContextManager[Lane]:
        """Open a call for the block."""


@asynccontextmanager
async def open_page(link: Lanes, *, port: int, opened: Callable[[], None] = lambda: None) -> AsyncIterator[AdminPage]:
    """Serve the page by ``link``, as `open_admin`."""
    await _knock(link)
    listeners = _listen(port)
    page = AdminPage(guard=Guard(port=listeners[0].socket.getsockname()[1]))
    server = _Server(link, page.guard, opened)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.serve_listeners(server.serve, listeners)

    async with open_background(run):
        yield page


async def _knock(link: Lanes) -> None:
    async with link.open_lane() as lane:
        await lane.ask(Request(method="HEAD", target="/"))
        async for _ in lane.read_body():
            pass


def _listen(port: int) -> list[trio.SocketListener]:
    for left in range(TRIES, 0, -1):
        sockets: list[socket.socket] = []
        try:
            for host, family in LOOPBACKS:
                wanted = sockets[0].getsockname()[1] if sockets else port
                with naming_address(host, wanted, "TCP"):
                    sockets.append(socket.create_server((host, wanted), family=family, backlog=CONNECTIONS))
        except OSError as error:
            # A machine may have no IPv6, and then nobody is there.
            if sockets and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return [_listener(sock) for sock in sockets]
            for sock in sockets:
                sock.close()
            if port or left == 1 or not sockets:
                raise
        else:
            return [_listener(sock) for sock in sockets]
    raise AssertionError("the last try raises")


def _listener(sock: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


class _Server:
    def __init__(self, link: Lanes, guard: Guard, opened: Callable[[], None]) -> None:
        self._link = link
        self._guard = guard
        self._opened = opened
        self._connections = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection of a browser."""
        if self._connections >= CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            async with stream, _HeldLane(self._link) as held:
                await self._converse(BrowserConnection(stream), held)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.LocalProtocolError) as error:
            log.debug("a browser's connection ended: %s", error)
        finally:
            self._connections -= 1

    async def _converse(self, browser: BrowserConnection, held: _HeldLane) -> None:
        while True:
            try:
                asked = await browser.read_request()
            except h11.RemoteProtocolError as error:
                await browser.turn_away(error.error_status_hint, "this is no request")
                return
            except BodyTooLargeError:
                await browser.turn_away(413, "helm takes no body of this size")
                return
            if asked is None:
                return
            try:
                if not await self._answer(browser, asked, held):
                    return
            except TurnedAwayError as turned:
                await browser.say(turned.status, str(turned))
            if browser.http.our_state is not h11.DONE or browser.http.their_state is not h11.DONE:
                return
            browser.http.start_next_cycle()

    async def _answer(self, browser: BrowserConnection, asked: Asked, held: _HeldLane) -> bool:
        """Answer one request; tell whether another may follow."""
        self._guard.check_site(asked.headers)
        if self._guard.opens(asked.method, asked.target):
            await browser.say(303, "come in", ("location", "/"), ("set-cookie", self._guard.cookie))
            self._opened()
            return True
        self._guard.check_page(asked.method, asked.target, asked.headers)
        request = Request(
            method=asked.method,
            target=asked.target,
            headers=passed(asked.headers),
            body=asked.body,
            websocket=asked.websocket,
        )
        machine = begin_socket(asked) if asked.websocket else None
        try:
            head = await held.ask(request)
        except HelmRefusedError as error:
            await browser.say(403, str(error))
            return True
        except NoAnswerError as error:
            await browser.say(503, str(error), ("retry-after", "5"))
            return True
        if machine is not None and head.status == 101:
            await carry_socket(browser, machine, held.lane)
            return False
        try:
            await browser.answer(head, held.lane.read_body(), bodiless=asked.method == "HEAD")
        except CaravelError as error:
            # The head is out: only an end tells the browser that this is not all.
            log.info("an answer broke off: %s", error)
            return False
        return not asked.websocket


class _HeldLane:
    """The call that one connection uses for all of its requests, opened at the first."""

    def __init__(self, link: Lanes) -> None:
        self._link = link
        self._stack = AsyncExitStack()
        self._lane: Lane | None = None

    async def __aenter__(self) -> _HeldLane:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._drop()

    @property
    def lane(self) -> Lane:
        """The one that was asked last."""
        assert self._lane is not None, "it was asked"
        return self._lane

    async def ask(self, request: Request) -> Head:
        """Ask helm. Where a call that worked before has broken, what only reads is asked once more in a new one.

        Raises: NoAnswerError, HelmRefusedError.
        """
        for again in (request.method in _REPEATABLE, False):
            fresh = self._lane is None
            try:
                if self._lane is None:
                    self._lane = await self._stack.enter_async_context(self._link.open_lane())
                return await self._lane.ask(request)
            except CaravelError as error:
                await self._drop()
                if fresh or not again or isinstance(error, HelmRefusedError):
                    raise
        raise AssertionError("the second try returns or raises")

    async def _drop(self) -> None:
        self._lane = None
        try:
            await self._stack.aclose()
        except CaravelError as error:
            log.debug("a call at the desk ended: %s", error)
        self._stack = AsyncExitStack()
