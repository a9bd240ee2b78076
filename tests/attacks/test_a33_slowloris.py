"""Row 33. Position: anybody who can reach a port. Wants: our places, by holding them with as little as possible.

Countermeasure: the TLS handshake has 5 s in all, preface and SETTINGS 10 s, each frame and header block 10 s with 100
octets a second, a server's first request 10 s where it says so. How many may be in these stages is row 34's matter.
HTTP/1 and WebSocket are spoken by helm's web edge alone, on loopback.
"""

import contextlib
import math
import ssl

import pytest
import trio
import trio.testing

from pharos.wire.rpc import limits, transport
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.server import Service
from tests.support.h2peer import EMPTY_SETTINGS, PREFACE
from tests.support.rpc import EchoService, ThrowawayCa, request_headers, running_server
from tests.wire.rpc.test_guard import raw
from tests.wire.rpc.test_slowness import fate_of

PATIENCE = 0.3
SLACK = 3
"""By which a deadline is stretched on a busy machine."""
FOREVER = 3600.0
"""How long `fate_of` looks on."""


def client_hello(ca: ThrowawayCa) -> bytes:
    """A good one, of which a bit is sent now and then."""
    outgoing = ssl.MemoryBIO()
    tls = ca.client_context(None).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="server.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def is_dropped(hello: bytes, ca: ThrowawayCa, handshake_timeout: float) -> bool:
    """Say a hello octet by octet, a hundredth of it each hundredth of the server's patience, and see what is done."""
    async with running_server(Service([EchoService()]), ca, handshake_timeout=handshake_timeout) as address:
        async with await trio.open_tcp_stream(*address) as stream, trio.open_nursery() as nursery:

            async def speak() -> None:
                for octet in hello[:-1]:
                    try:
                        await stream.send_all(bytes([octet]))
                    except trio.BrokenResourceError:
                        return
                    await trio.sleep(PATIENCE / 50)

            nursery.start_soon(speak)
            with trio.move_on_after(SLACK * PATIENCE) as waiting:
                with contextlib.suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
            nursery.cancel_scope.cancel()
    return not waiting.cancelled_caught


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["not a word", "octet by octet"])
@pytest.mark.red_inside
async def test_a33_tls_hello_has_its_time(share: float) -> None:
    ca = ThrowawayCa()
    hello = client_hello(ca)
    # What is sent by the end of the server's patience is far from a whole hello.
    assert len(hello) > 50 * SLACK
    hello = hello if share else b""
    assert await is_dropped(hello, ca, PATIENCE)
    assert not await is_dropped(hello, ca, math.inf)
    assert transport.HANDSHAKE_TIMEOUT == 5


HEADERS = raw(
    1,
    4,
    1,
    b"".join(b"\x00" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in request_headers("Echo")),
)
SLOW = {
    "no preface": (b"", math.inf, False, "PREFACE_TIMEOUT"),
    "preface octet by octet": ((PREFACE + EMPTY_SETTINGS)[:-1], 1.0, False, "PREFACE_TIMEOUT"),
    "preface without SETTINGS": (PREFACE, 0.001, False, "PREFACE_TIMEOUT"),
    "header block octet by octet": (HEADERS[:-1], 0.5, True, "FRAME_TIMEOUT"),
    "header block frame by frame": (raw(1, 0, 1, b"\x82") + raw(9, 0, 1, b"\x84") * 40, 0.5, True, "FRAME_TIMEOUT"),
    "body octet by octet": (HEADERS + raw(0, 0, 1, bytes(500))[:-1], 0.5, True, "FRAME_TIMEOUT"),
}


@pytest.mark.parametrize("what", SLOW)
@pytest.mark.red_inside
async def test_a33_http2_has_its_time(
    what: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, pace, up, limit = SLOW[what]
    when, why = await fate_of(said, pace=pace, up=up)
    # Twice for a body: its headers came octet by octet, too. And a second for each hundred octets.
    assert when <= 2 * 10.0 + 0.5 * len(HEADERS) + 6.0
    assert "too slow" in why
    monkeypatch.setattr(limits, limit, math.inf)
    when, why = await fate_of(said, pace=pace, up=up)
    assert (when, why) == (FOREVER, "None")


async def rate_is_borne(rate: float) -> bool:
    """Send a large frame, its header at once and the rest at ``rate`` octets a second; tell whether it was taken."""
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours, client_side=False, keepalive=None)
    size = 10_000
    frame = raw(0xEE, 0, 1, bytes(size))
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await theirs.send_all(PREFACE + EMPTY_SETTINGS)
        for start in range(0, len(frame), 10):
            await theirs.send_all(frame[start : start + 10])
            await trio.sleep(10 / rate)
            if connection.closed:
                assert "too slow: a frame" in str(connection.error)
                # When it ends is told by the rate that is asked, not by the rate that was had.
                assert trio.current_time() - begin < limits.FRAME_TIMEOUT + size / limits.MIN_RATE + 10 / rate + 1
                break
        borne = not connection.closed
        nursery.cancel_scope.cancel()
    return borne


@pytest.mark.red_inside
async def test_a33_frame_has_to_come_at_a_hundred_octets_a_second(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await rate_is_borne(120)
    assert not await rate_is_borne(50)
    monkeypatch.setattr(limits, "MIN_RATE", 1)
    assert await rate_is_borne(50)


async def test_a33_first_request_has_its_time(autojump_clock: trio.testing.MockClock) -> None:
    when, why = await fate_of(b"", idle_timeout=limits.FIRST_REQUEST_TIMEOUT)
    assert when <= limits.FIRST_REQUEST_TIMEOUT + limits.CLOSE_GRACE + 0.5
    assert "no request" in why
    # PING is no request.
    pings = raw(6, 0, 0, bytes(8)) * 10
    assert (await fate_of(pings, pace=0.1, idle_timeout=limits.FIRST_REQUEST_TIMEOUT))[0] < SLACK * when
    assert (await fate_of(b"", idle_timeout=None))[0] == FOREVER
