"""What the workers of bench.reality share: keys, sockets that block, and TLS on them whose records can be had."""

from __future__ import annotations

import contextlib
import ssl
import struct
import tempfile
from pathlib import Path
from socket import SHUT_WR, create_connection, socket
from typing import Final

from pharos.wire.units import KIB, SECONDS
from tests.wire.reality.nodes import site_context

HOST: Final = "127.0.0.1"
PLAIN_ID: Final = bytes(range(16))
VISION_ID: Final = bytes(range(32, 48))
COUNT: Final = struct.Struct(">Q")
"""What a client says first: how many octets it wants."""
CHUNK: Final = 128 * KIB
"""Received at a time, as our streams do."""
PAYLOAD: Final = memoryview(bytes(range(256)) * 1024)
TIMEOUT: Final = 60 * SECONDS
"""Whoever hears nothing for so long gives up."""


def server_context() -> ssl.SSLContext:
    """Return the context of a site with a certificate of its own."""
    with tempfile.TemporaryDirectory() as folder:
        context = site_context(Path(folder), alpn=("http/1.1",))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def client_context() -> ssl.SSLContext:
    """Return the context of a client that takes any certificate: handshakes are not what is measured by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def dial(port: int) -> socket:
    return create_connection((HOST, port), timeout=TIMEOUT)


def receive(sock: socket) -> bytes:
    """Raises: EOFError — the connection has ended."""
    if not (data := sock.recv(CHUNK)):
        raise EOFError("the connection has ended too early")
    return data


def receive_exactly(sock: socket, size: int) -> bytes:
    """Raises: EOFError — the connection has ended."""
    data = bytearray()
    while len(data) < size:
        if not (piece := sock.recv(size - len(data))):
            raise EOFError("the connection has ended too early")
        data += piece
    return bytes(data)


def send_payload(sock: socket, count: int) -> None:
    while count > 0:
        count -= sock.send(PAYLOAD[:count])


def finish(sock: socket) -> None:
    """Say that we send no more, and wait for the other end to go: closing now could reset what is under way."""
    with contextlib.suppress(OSError):
        sock.shutdown(SHUT_WR)
        while sock.recv(CHUNK):
            pass


class Tls:
    """TLS 1.3 by the standard library on a socket, whose records its owner sends and receives."""

    def __init__(self, sock: socket, context: ssl.SSLContext, *, server: bool) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._in.write(receive(sock))
            else:
                self._flush()
                return

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def read(self, size: int) -> bytes:
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._in.write(receive(self._sock))

    def sealed(self, count: int) -> bytes:
        """Return the records of so much payload, and of the end behind it."""
        while count > 0:
            count -= self._tls.write(PAYLOAD[:count])
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._out.read()

    def _flush(self) -> None:
        if data := self._out.read():
            self._sock.sendall(data)
