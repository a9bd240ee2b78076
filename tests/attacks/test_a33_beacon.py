"""Rows 33 to 35 at a beacon's own ports. Position: anybody who can reach one. Wants: its places, by many or slow words.

The same bounds as at every listener (test_a33_slowloris.py, test_a34_connection_floods.py), met here by the ports of a
running beacon: the hello that is looked at before TLS has the handshake's time, all ports have one set of places, and
the decoy's visitors have half of those at most.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.beacon.decoy import http1, visits
from pharos.wire.listen import peek
from pharos.wire.rpc import admission, transport
from tests.support.decoy import WholeBeacon, ask, read_all, visit, whole_beacon
from tests.support.rpc import HOST

PATIENCE = 0.3
SLACK = 3
"""By which a deadline is stretched on a busy machine."""
# A ClientHello of 500 octets, of which the header is good.
HELLO = b"\x16\x03\x01\x01\xf4\x01\x00\x01\xf0"


async def is_left(port: int, octets: bytes, pace: float) -> bool:
    """Say something octet by octet; tell whether the beacon has closed before the end of its stretched patience."""
    async with await trio.open_tcp_stream(HOST, port) as stream, trio.open_nursery() as nursery:

        async def speak() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                for octet in octets:
                    await stream.send_all(bytes([octet]))
                    await trio.sleep(pace)

        nursery.start_soon(speak)
        with trio.move_on_after(SLACK * PATIENCE) as waiting:
            await read_all(stream)
        nursery.cancel_scope.cancel()
    return not waiting.cancelled_caught


@pytest.mark.parametrize("said", [b"", HELLO + bytes(491)], ids=["not a word", "octet by octet"])
@pytest.mark.red_inside
async def test_a33_hello_before_tls_has_the_handshakes_time(
    tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT", PATIENCE)
    async with whole_beacon(tmp_path / "s") as beacon:
        for port in (beacon.ingress, beacon.tunnel):
            assert await is_left(port, said, PATIENCE / 50)
    monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT", math.inf)
    async with whole_beacon(tmp_path / "s") as weakened:
        assert not await is_left(weakened.ingress, said, PATIENCE / 50)


async def test_a33_hello_octet_by_octet_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at stays in the kernel; to be woken for each octet of it would be quadratic work."""
    woken = itertools.count()
    wait_readable = trio.lowlevel.wait_readable

    async def counting(sock: Any) -> None:
        await wait_readable(sock)
        next(woken)

    monkeypatch.setattr("pharos.wire.listen.trio.lowlevel.wait_readable", counting)
    listener = (await trio.open_tcp_listeners(0, host=HOST))[0]
    async with listener, await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
        async with await listener.accept() as accepted, trio.open_nursery() as nursery:
            sock = accepted.socket._sock
            heard: list[bytes] = []

            async def look() -> None:
                for size in (1, 5, 505):
                    heard.append(await peek(sock, size))

            nursery.start_soon(look)
            for octet in HELLO + bytes(496):
                await stream.send_all(bytes([octet]))
                await trio.testing.wait_all_tasks_blocked()
        assert [len(part) for part in heard] == [1, 5, 505]
    # Trio's own waits, to accept and to connect, are among them.
    assert next(woken) < 12


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nX:"], ids=["line", "fields"])
@pytest.mark.red_inside
async def test_a33_decoys_request_has_its_time(tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_over(port: int) -> bool:
        stream = await visit(port, "http/1.1")
        await stream.send_all(said)
        with trio.move_on_after(SLACK * PATIENCE) as waiting:
            await read_all(stream)
        await trio.aclose_forcefully(stream)
        return not waiting.cancelled_caught

    monkeypatch.setattr(http1, "REQUEST_TIME", PATIENCE)
    async with whole_beacon(tmp_path / "s") as beacon:
        assert await is_over(beacon.ingress)
        monkeypatch.setattr(http1, "REQUEST_TIME", math.inf)
        assert not await is_over(beacon.ingress)


@pytest.mark.red_inside
async def test_a33_visit_that_reads_nothing_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of some megabytes, and a visitor whose window stays shut: it holds a place for a minute, not for ever."""
    page = tmp_path / "large.html"
    page.write_bytes(bytes(8 * 1024 * 1024))
    settings = {"decoy_site": str(page)}

    async def visitors(beacon: WholeBeacon, time: float) -> int:
        """Let one come for so long, ask and not read on; return how many are there when its time is over."""
        monkeypatch.setattr(visits, "VISIT_TIME", time)
        held = await visit(beacon.ingress, "http/1.1")
        try:
            await held.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await held.receive_some(1)
            # It goes on beside others, who are served meanwhile however long that takes.
            monkeypatch.setattr(visits, "VISIT_TIME", math.inf)
            until = trio.current_time() + SLACK * PATIENCE
            while trio.current_time() < until:
                assert (await ask(beacon.ingress, b"GET /x HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 404")
            await trio.testing.wait_all_tasks_blocked()
            return beacon.visitors()
        finally:
            await trio.aclose_forcefully(held)

    async with whole_beacon(tmp_path / "s", **settings) as beacon:
        assert await visitors(beacon, PATIENCE) == 0
    async with whole_beacon(tmp_path / "s", **settings) as weakened:
        assert await visitors(weakened, math.inf) == 1


async def silent_ones(beacon: WholeBeacon, each: int) -> int:
    """Let so many come to every port from one address and say nothing; return how many stay."""
    async with contextlib.AsyncExitStack() as stack, trio.open_nursery() as nursery:
        gone = 0

        async def watch(stream: trio.SocketStream) -> None:
            nonlocal gone
            await read_all(stream)
            gone += 1

        for port in (beacon.ingress, *(port for _, port in beacon.addresses.more_ingress)):
            for _ in range(each):
                try:
                    stream = await trio.open_tcp_stream(HOST, port, local_address="127.0.9.9")
                except OSError:
                    gone += 1
                    continue
                await stack.enter_async_context(stream)
                nursery.start_soon(watch, stream)
        # A good client is served meanwhile, and those that have no place have been told when it is.
        await beacon.come_as_helm()
        assert await beacon.serves()
        nursery.cancel_scope.cancel()
    return 3 * each - gone


@pytest.mark.red_inside
async def test_a34_second_port_is_no_second_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PENDING_PER_SOURCE", 4)
    async with whole_beacon(tmp_path / "s", ingress_ports=(0, 0)) as beacon:
        assert await silent_ones(beacon, 5) == 4
    # Weakened: each port counts for itself.
    monkeypatch.setattr("pharos.beacon.core.Admission", lambda _bounds, descriptors: None)
    async with whole_beacon(tmp_path / "s", ingress_ports=(0, 0)) as weakened:
        assert await silent_ones(weakened, 5) == 12


@pytest.mark.red_inside
async def test_a34_visitors_leave_half_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stay(beacon: WholeBeacon, count: int) -> int:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(count):
                with contextlib.suppress(trio.BrokenResourceError):
                    visitor = await visit(beacon.ingress, "http/1.1", source=f"127.0.8.{1 + number}")
                    stack.push_async_callback(trio.aclose_forcefully, visitor)
            # A stranger who wants to enrol still finds a place.
            enrolling = await beacon.dial(beacon.ingress, None)
            assert not enrolling.closed
            return beacon.visitors()

    monkeypatch.setattr(admission, "UNAUTHENTICATED", 12)
    async with whole_beacon(tmp_path / "s") as beacon:
        beacon.bound_visitors(6)
        assert await stay(beacon, 10) == 6
    async with whole_beacon(tmp_path / "s") as weakened:
        weakened.bound_visitors(1_000)
        assert await stay(weakened, 10) == 10


@pytest.mark.red_inside
async def test_a35_decoys_header_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 200_000 + b"\r\nConnection: close\r\n\r\n"
    many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 20_000 + b"Connection: close\r\n\r\n"
    async with whole_beacon(tmp_path / "s") as beacon:
        for blob in (bomb, many):
            assert not (await ask(beacon.ingress, blob)).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(http1, "MAX_HEADER_BLOCK", 2**30)
        for blob in (bomb, many):
            assert (await ask(beacon.ingress, blob)).startswith(b"HTTP/1.1 200")
