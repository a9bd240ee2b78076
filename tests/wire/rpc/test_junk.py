"""Whatever a peer sends, it ends at most that peer's connection."""

import logging
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.h2peer import EMPTY_SETTINGS, PREFACE, scripted
from tests.support.rpc import (
    SERVER_NAME,
    EchoService,
    ThrowawayCa,
    dial,
    open_channel,
    request_headers,
    running_server,
)


def raw_frame(kind: int, flags: int, stream: int, payload: bytes, *, claim: int | None = None) -> bytes:
    size = len(payload) if claim is None else claim
    return struct.pack(">HBBBL", size >> 8, size & 0xFF, kind, flags, stream) + payload


JUNK = {
    "unknown frame": raw_frame(0xEE, 0, 0, b"abcd"),
    "reset of an idle stream": raw_frame(3, 0, 9, b"\0\0\0\0"),
    "garbage": b"\xff" * 200,
    "random": bytes(range(256)) * 8,
    "altsvc": raw_frame(0xA, 0, 0, b"\0\1ah2=:"),
    "data on an idle stream": raw_frame(0, 0, 5, b"data"),
    "window update of zero": raw_frame(8, 0, 0, b"\0\0\0\0"),
    "window overflow": raw_frame(8, 0, 0, b"\x7f\xff\xff\xff"),
    "push promise": raw_frame(5, 4, 1, b"\0\0\0\2\x82"),
    "settings of a wrong size": raw_frame(4, 0, 0, b"12345"),
    "settings with a bad window": raw_frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"),
    "ping of a wrong size": raw_frame(6, 0, 0, b"1234"),
    "bad hpack": raw_frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
    "even stream": raw_frame(1, 5, 2, b"\x82"),
    "upper-case header": raw_frame(1, 5, 1, b"\x83\x87\x84\x41\x01a\x40\x01A\x01b"),
    "header that is not ASCII": raw_frame(1, 5, 1, b"\x83\x87\x84\x41\x01a\x40\x01a\x01\xff"),
    "naked continuation": raw_frame(9, 4, 1, b"\x82"),
    "interrupted header block": raw_frame(1, 1, 1, b"\x83") + raw_frame(0, 0, 1, b"x"),
    "padding longer than the frame": raw_frame(0, 8, 1, b"\xff"),
    "frame too large": raw_frame(0, 0, 1, b"", claim=2**24 - 1),
    "half a frame": raw_frame(1, 5, 1, b"\x83", claim=100),
    "HTTP/1": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("prelude", [PREFACE + EMPTY_SETTINGS, b""], ids=["after settings", "at once"])
async def test_junk_is_isolated_to_its_connection(junk: bytes, prelude: bytes) -> None:
    async with good_and_bad() as (good, bad):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await bad.send_all(prelude + junk)
        await trio.testing.wait_all_tasks_blocked()
        assert (await EchoStub(good).Echo(Ping(seq=1))).seq == 1
        await bad.aclose()


@asynccontextmanager
async def good_and_bad() -> AsyncIterator[tuple[Channel, trio.abc.Stream]]:
    """One service, a good client's channel to it, and a bad client's bare transport."""
    service = Service([EchoService()])
    async with trio.open_nursery() as nursery:

        def connect() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(Connection(theirs, client_side=False, accept=service, keepalive=None).run)
            return ours

        async with open_channel(connect(), authority=SERVER_NAME, keepalive=None) as channel:
            yield channel, connect()
        nursery.cancel_scope.cancel()


async def test_junk_over_tls_is_isolated_too() -> None:
    ca = ThrowawayCa()
    async with running_server(Service([EchoService()]), ca) as address:
        async with open_channel(await dial(ca, address), authority=SERVER_NAME) as channel:
            for junk in (JUNK["garbage"], PREFACE + EMPTY_SETTINGS + JUNK["data on an idle stream"]):
                stream = await dial(ca, address)
                await stream.send_all(junk)
                with suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass
                await stream.aclose()
            plain = await trio.open_tcp_stream(*address)
            await plain.send_all(b"\x16\x03\x01" + os.urandom(200))
            with suppress(trio.BrokenResourceError):
                while await plain.receive_some():
                    pass
            await plain.aclose()
            assert (await EchoStub(channel).Echo(Ping(seq=1))).seq == 1


FRAMES = st.builds(
    raw_frame,
    st.one_of(st.integers(0, 10), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 0x20]), st.integers(0, 255)),
    st.integers(0, 12),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\x83\x87\x84\x41\x01a", b"\x88", b"\0\0\0\0\1x", b"\0\0\0\1", b"\0\4\0\0\0\0"]),
    ),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(FRAMES, max_size=12), cut=st.integers(1, 60))
@pytest.mark.parametrize("client_side", [False, True], ids=["server", "client"])
def test_no_bytes_make_a_connection_raise(frames: list[bytes], cut: int, client_side: bool) -> None:
    """Neither as a server nor as a client with a call open; and a warning would mean that h2 stumbled."""

    async def main() -> None:
        theirs, ours = trio.testing.memory_stream_pair()
        service = Service([EchoService()])
        connection = Connection(ours, client_side=client_side, accept=None if client_side else service, keepalive=None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            junk = (b"" if client_side else PREFACE) + EMPTY_SETTINGS + b"".join(frames)
            if client_side:
                stream = connection.create_stream()
                await stream.send_request(request_headers("Echo"))
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for start in range(0, len(junk), cut):
                    await theirs.send_all(junk[start : start + cut])
                await theirs.aclose()
            with trio.fail_after(10):
                await connection.wait_closed()
        assert connection.closed

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_parser_that_fails_is_logged_and_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(client_side=True) as (peer, connection):
        monkeypatch.setattr(connection.machine, "_shortcut", lambda *_: [][0])
        peer.h2.send_headers(1, request_headers("Echo"))
        await peer.flush()
        await connection.wait_closed()
        assert "unparsable" in str(connection.error)
        assert [record.levelno for record in caplog.records if "parser" in record.message] == [logging.WARNING]


async def test_exception_of_a_raw_handler_ends_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    async def crash(_stream: H2Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ZeroDivisionError

    async with scripted(client_side=True, accept=crash) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo"))
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert not connection.closed
        assert not connection.streams
        assert "a stream handler failed" in caplog.text
        caplog.clear()


async def test_handler_that_fails_while_its_connection_ends_takes_nobody_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its Cancelled and its error come in one group; only the error may be swallowed."""

    async def crash_when_cancelled(_stream: H2Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ZeroDivisionError

    async with scripted(client_side=True, accept=crash_when_cancelled) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo"))
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        connection.close_now()
        await connection.wait_closed()
        assert "a stream handler failed" in caplog.text
        caplog.clear()
