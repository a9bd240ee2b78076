"""What the tests of VLESS and its front ends share: values that travel, and a carrier that plays the outer TLS."""

from __future__ import annotations

import random
import ssl
from collections import deque

from hypothesis import strategies as st

from pharos.wire.reality.addresses import Address
from pharos.wire.reality.session import Outgoing, PayloadReceived, RawFollows
from tests.support.rpc import ThrowawayCa

USER_ID = bytes.fromhex("dabf1c7ab0e8431faf3bb7ee860e75ec")
OTHER_ID = bytes.fromhex("111111112222433384445555555555ff")
TARGET = Address("example.test", 443)

domains = st.from_regex(r"[A-Za-z0-9_]([a-z0-9-]{0,20}\.)?[a-z]{1,10}", fullmatch=True)
hosts = st.ip_addresses().map(str).filter(lambda host: "%" not in host) | domains
addresses = st.builds(Address, hosts, st.integers(1, 65535))


def randomness(seed: int = 0):
    return random.Random(seed).randbytes


def rechunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut octets into pieces of these sizes, over and over."""
    pieces, at = [], 0
    sizes = sizes or [len(data) or 1]
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    return pieces


class Wire:
    """One direction of an outer TLS on a socket: records while it is sealed, raw octets after that, in their order.

    It refuses what a real one could not do: a record after raw octets, or octets that are given out as the other kind.
    """

    def __init__(self, sizes: list[int]) -> None:
        self.queue: deque[tuple[bytes, bool]] = deque()
        self.raw = False
        self._sizes = sizes

    def put(self, outgoing: Outgoing) -> None:
        assert outgoing.raw >= self.raw or not outgoing.data, "a record after the outer TLS has ended"
        self.raw |= outgoing.raw
        self.queue.extend((piece, outgoing.raw) for piece in rechunked(outgoing.data, self._sizes))

    def drain(self, session) -> list:
        """Feed a session everything that is under way, and return its events."""
        events = []
        while self.queue:
            piece, raw = self.queue.popleft()
            assert raw == session.receives_raw, "the reader takes records for raw octets, or the other way round"
            # As our own TLS gives them, and as the standard library does.
            found = session.receive_data(piece if raw else memoryview(piece))
            assert sum(isinstance(event, RawFollows) for event in found) <= 1
            events += found
        return events


def payload_of(events) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, PayloadReceived))


def hello(kind: int, *, version: bytes = b"\x03\x04", suite: int = 0x1301, session_id: bytes = b"s" * 32) -> bytes:
    """Return a record with a hello that has what Vision looks at: 1 is a client's, 2 a server's."""
    extension = b"\0\x2b\0\2" + version if version else b""
    body = b"\3\3" + b"r" * 32 + bytes((len(session_id),)) + session_id + suite.to_bytes(2, "big") + b"\0"
    body += len(extension).to_bytes(2, "big") + extension
    message = bytes((kind,)) + len(body).to_bytes(3, "big") + body
    return b"\x16\3\3" + len(message).to_bytes(2, "big") + message


def data_record(size: int) -> bytes:
    return b"\x17\3\3" + size.to_bytes(2, "big") + b"d" * size


# What a tunnelled connection may look like: TLS of all kinds, beginnings of it, and anything else.
payloads = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.sampled_from(
        [
            hello(1),
            hello(2),
            hello(2, version=b""),
            hello(2, suite=0x1305),
            hello(2)[:50],
            hello(2)[50:],
            data_record(1),
            data_record(1000),
            data_record(9000),
            data_record(70) + data_record(5000),
            data_record(70)[:-1],
            bytes(8170),
            bytes(8171),
            bytes(8172),
            bytes(20000),
        ]
    ),
)


def contexts(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of a server ``localhost`` and of a client that trusts it, which speak one version."""
    ca = ThrowawayCa()
    server, client = ca.server_context(ca.issue("localhost")), ca.client_context(None)
    server.verify_mode = ssl.CERT_NONE
    for context in (server, client):
        context.minimum_version = context.maximum_version = version
    return server, client
