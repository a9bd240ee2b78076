"""A resolver on this machine's loopback that passes questions on, each to the side where its name belongs.

Before an answer that matters is given its addresses are in the split's table, so that the first packet goes right.
Nothing is kept of answers, and nothing is asked that nobody has asked for.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import dns.exception
import dns.message
import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.dnsask import Asker, frame, receive_frame
from pharos.caravel.system.dnspacket import NO_NAME, SERVER_FAILURE, PacketError, Question, failure, read_question
from pharos.caravel.system.plan import IpAddress
from pharos.caravel.system.splitnames import Names, read_answer, usable
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

ADDRESS: Final = "127.112.104.53"
"""Of the loopback's network, which has room for everybody; ``ph`` in its middle."""
PORT: Final = 53
MAX_QUESTIONS: Final = 512
"""By UDP at a time; who is not heard asks again."""
MAX_STREAMS: Final = 64
IDLE: Final = 10 * SECONDS
"""For which a stream may say nothing (RFC 7766 §6.2.3)."""
CANARY: Final = "use-application-dns.net"
"""Asked for by browsers that would else ask elsewhere, by HTTPS; that there is no such name says: do not."""
_MAX_DATAGRAM: Final = 65_535


class Choosing(Protocol):
    """Who leads addresses to their side, as `Split.add`."""

    async def add(self, addresses: Iterable[IpAddress], ttl: float) -> None:
        """Raises: SystemModeError."""


class DnsProxy:
    """Answers questions."""

    def __init__(self, names: Names, choosing: Choosing, *, named: Asker, others: Asker, strict: bool) -> None:
        """``named`` is asked for names that are meant, ``others`` for all others.

        ``strict``: what is meant goes unanswered if its addresses cannot be led to their side.
        """
        self._names = names
        self._choosing = choosing
        self._named = named
        self._others = others
        self._strict = strict

    async def answer(self, query: bytes, *, stream: bool) -> bytes | None:
        """Return the answer to a question; None if there shall be none."""
        try:
            question = read_question(query)
        except PacketError as error:
            await trio.lowlevel.checkpoint()
            return error.answer
        if question.name == CANARY:
            await trio.lowlevel.checkpoint()
            return failure(query, NO_NAME, question.end)
        meant = self._names.match(question.name, trio.current_time())
        said = await (self._named if meant else self._others).ask(query, question, stream=stream)
        if said is None or (meant and not await self._lead(question, said) and self._strict):
            return failure(query, SERVER_FAILURE, question.end)
        return said

    async def _lead(self, question: Question, said: bytes) -> bool:
        """Lead the addresses of an answer to their side; return whether that is done."""
        try:
            learnt = read_answer(dns.message.from_wire(said, ignore_trailing=True))
        except (dns.exception.DNSException, ValueError) as error:
            log.info("%s: its answer cannot be read: %s", question.name[:80], error)
            return False
        self._names.learn(learnt.aliases, trio.current_time() + learnt.ttl)
        try:
            await self._choosing.add([one for one in learnt.addresses if usable(one)], learnt.ttl)
        except SystemModeError as error:
            log.error("%s", error)
            return False
        return True


@asynccontextmanager
async def open_proxy(proxy: DnsProxy, address: str = ADDRESS, port: int = PORT) -> AsyncIterator[None]:
    """Answer at an address while the block lasts.

    Raises: SystemModeError — another program is there.
    """
    with _bind(socket.SOCK_DGRAM, address, port) as datagrams, _bind(socket.SOCK_STREAM, address, port) as streams:
        streams.listen()

        async def serve(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_serve_datagrams, proxy, datagrams)
                nursery.start_soon(_serve_streams, proxy, streams)
                task_status.started()

        async with open_background(serve):
            yield


def _bind(kind: int, address: str, port: int) -> trio.socket.SocketType:
    plain = socket.socket(socket.AF_INET, kind)
    try:
        if kind == socket.SOCK_STREAM:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind((address, port))
    except OSError as error:
        plain.close()
        why = "another program answers there, for all addresses" if error.errno == errno.EADDRINUSE else error.strerror
        raise SystemModeError(
            f"names cannot be told apart at {address}, port {port}: {why}; see: ss -lunp sport = :{port}"
        ) from error
    return trio.socket.from_stdlib_socket(plain)


async def _serve_datagrams(proxy: DnsProxy, sock: trio.socket.SocketType) -> None:
    room = trio.Semaphore(MAX_QUESTIONS)

    async def serve(query: bytes, place: tuple[object, ...]) -> None:
        try:
            said = await proxy.answer(query, stream=False)
            if said is not None:
                with suppress(OSError):
                    await sock.sendto(said, place)
        finally:
            room.release()

    async with trio.open_nursery() as nursery:
        while True:
            query, place = await sock.recvfrom(_MAX_DATAGRAM)
            with suppress(trio.WouldBlock):
                room.acquire_nowait()
                nursery.start_soon(serve, query, place)


async def _serve_streams(proxy: DnsProxy, listener: trio.socket.SocketType) -> None:
    room = trio.Semaphore(MAX_STREAMS)

    async def serve(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                with suppress(OSError, trio.BrokenResourceError):
                    await _serve_stream(proxy, stream)
        finally:
            room.release()

    async with trio.open_nursery() as nursery:
        while True:
            await room.acquire()
            try:
                peer, _ = await listener.accept()
            except OSError:
                # It has gone again, or there are no more descriptors.
                room.release()
                await trio.sleep(0.1)
                continue
            nursery.start_soon(serve, trio.SocketStream(peer))


async def _serve_stream(proxy: DnsProxy, stream: trio.SocketStream) -> None:
    while True:
        query = None
        with trio.move_on_after(IDLE):
            query = await receive_frame(stream)
        said = None if query is None else await proxy.answer(query, stream=True)
        if said is None:
            return
        with trio.fail_after(IDLE):
            await stream.send_all(frame(said))
