"""Questions passed on to resolvers as they are: by UDP, or by TCP where they came so (RFC 7766)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

import trio

from pharos.caravel.system.dnspacket import (
    NOT_IMPLEMENTED,
    REFUSED,
    SERVER_FAILURE,
    Question,
    code_of,
    is_answer,
    renumber,
)
from pharos.caravel.system.dnstext import Server
from pharos.caravel.tunnel.parts import Protect
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes

PATIENCE: Final = 2 * SECONDS
"""For one server by UDP, then for the next; the C library waits five for us."""
STREAM_PATIENCE: Final = 4 * SECONDS
ROUNDS: Final = 2
MAX_SERVERS: Final = 4
MAX_STRAYS: Final = 32
"""Datagrams on a question's port that do not answer it; with more somebody is guessing, and it is drawn anew."""
_MAX_DATAGRAM: Final = 65_535
_LENGTH: Final = struct.Struct("!H")
_ELSEWHERE: Final = frozenset({SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED})
"""What the next server may know better."""


class Asker:
    """Asks ``servers``, in their order, which may be others each time; ``protect`` keeps its sockets where they shall
    be."""

    def __init__(self, servers: Callable[[], Sequence[Server]], protect: Protect | None = None) -> None:
        self._servers = servers
        self._protect = protect

    async def ask(self, query: bytes, question: Question, *, stream: bool) -> bytes | None:
        """Return the answer; None if nobody gave one. It takes 16 seconds at most."""
        said: bytes | None = None
        servers = self._servers()[:MAX_SERVERS]
        for server in [*servers] * ROUNDS:
            with trio.move_on_after(STREAM_PATIENCE if stream else PATIENCE):
                try:
                    answer = await (self._by_stream if stream else self._by_datagram)(server, query, question)
                except (OSError, trio.BrokenResourceError):
                    continue
                if answer is not None and code_of(answer) not in _ELSEWHERE:
                    return answer
                said = answer or said
        return said

    async def _by_datagram(self, server: Server, query: bytes, question: Question) -> bytes | None:
        # An identification and a port of its own, which a forger would have to guess (RFC 5452).
        asked = renumber(query, int.from_bytes(random_bytes(2), "big"))
        with self._socket(server, socket.SOCK_DGRAM) as sock:
            await sock.connect(await _place(server))
            await sock.send(asked)
            for _ in range(MAX_STRAYS):
                data = await sock.recv(_MAX_DATAGRAM)
                if is_answer(asked, question, data):
                    return renumber(data, int.from_bytes(query[:2], "big"))
        return None

    async def _by_stream(self, server: Server, query: bytes, question: Question) -> bytes | None:
        with self._socket(server, socket.SOCK_STREAM) as sock:
            await sock.connect(await _place(server))
            stream = trio.SocketStream(sock)
            await stream.send_all(frame(query))
            data = await receive_frame(stream)
        return data if data is not None and is_answer(query, question, data) else None

    def _socket(self, server: Server, kind: int) -> trio.socket.SocketType:
        family = socket.AF_INET if server.address.version == 4 else socket.AF_INET6
        plain = socket.socket(family, kind)
        try:
            if self._protect is not None:
                self._protect(plain)
            return trio.socket.from_stdlib_socket(plain)
        except BaseException:
            plain.close()
            raise


def frame(message: bytes) -> bytes:
    """Return a message as it goes in a stream (RFC 1035 §4.2.2)."""
    return _LENGTH.pack(len(message)) + message


async def receive_frame(stream: trio.abc.ReceiveStream) -> bytes | None:
    """Return the next message of a stream; None if it has ended."""
    head = await _receive_exactly(stream, _LENGTH.size)
    return None if head is None else await _receive_exactly(stream, _LENGTH.unpack(head)[0])


async def _receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        if not part:
            return None
        data += part
    return bytes(data)


async def _place(server: Server) -> tuple[object, ...]:
    found = await trio.socket.getaddrinfo(server.host, server.port, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)
    return found[0][4]
