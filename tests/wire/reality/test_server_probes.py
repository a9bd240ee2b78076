"""Active probes of a node: whatever a stranger tries, it sees the node's target, octets and endings alike."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.learning import Habits
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC, HEADER
from pharos.wire.reality.relaying import RelayLimits
from pharos.wire.reality.replay import SeenHellos
from pharos.wire.reality.server import ServerConnection
from tests.support.reality import NAME, SHORT_ID, settings
from tests.wire.reality.fronts import HOST, receive_exactly
from tests.wire.reality.nodes import PAGE, Node, Site, running_node, running_site, site_context
from tests.wire.reality.probing import GARBLED, ODDITIES, Seen, probe_over

OPENSSL_BEARS = 32


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return site_context(tmp_path)


def device_hello(*, late: float = 0, **changes: Any) -> bytes:
    """Return the first record of one of our devices."""
    device = ClientConnection(settings(**changes), now=time.time() - late, random=os.urandom)
    return bytes(device.take_output())


def openssl_hello(version: ssl.TLSVersion, name: str = NAME) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLOS: dict[str, Callable[[], bytes]] = {
    "one of ours": device_hello,
    "another node's": lambda: device_hello(public_key=b"\x09" + bytes(31)),
    "another name": lambda: device_hello(server_name="www.other.test"),
    "an old version": lambda: device_hello(version=(1, 8, 0)),
    "a clock that is late": lambda: device_hello(late=1000),
    "a clock that is ahead": lambda: device_hello(late=-1000),
    "an unknown short id": lambda: device_hello(short_id=SHORT_ID[::-1]),
    "a browser's without a mark": lambda: openssl_hello(ssl.TLSVersion.TLSv1_3),
    "TLS 1.2": lambda: openssl_hello(ssl.TLSVersion.TLSv1_2),
}
TAILS = {
    "a garbled record": GARBLED,
    "one that is too long": b"\x17\3\3\xff\xff" + bytes(100),
    "too many change_cipher_spec": CHANGE_CIPHER_SPEC * (OPENSSL_BEARS + 1),
    "an alert in the clear": b"\x15\3\3\0\2\2\x28",
    "data in the clear": b"\x16\3\3\0\5\2\0\0\1\0",
    "its end": b"",
}


async def probe(port: int, *pieces: bytes, expect: int = 0, end: bool = True) -> Seen:
    """Probe whoever listens at a port, as `probe_over` does."""
    return await probe_over(await trio.open_tcp_stream(HOST, port), *pieces, expect=expect, end=end)


async def answer_length(site: Site, hello: bytes) -> int:
    """Return how many octets the site answers a hello with by itself."""
    async with await trio.open_tcp_stream(HOST, site.port) as stream:
        await stream.send_all(hello)
        found = len(await stream.receive_some())
        with trio.move_on_after(0.1):
            while chunk := await stream.receive_some():
                found += len(chunk)
        return found


OLDEST = (26, 3, 27)


@pytest.mark.row(75)
@pytest.mark.parametrize("kind", HELLOS)
@pytest.mark.parametrize("tail", TAILS)
async def test_a_hello_and_what_is_wrong_behind_it_look_as_at_the_target(
    context: ssl.SSLContext, kind: str, tail: str
) -> None:
    async with running_site(context) as site, running_node(site.port, oldest_version=OLDEST) as node:
        length = await answer_length(site, HELLOS[kind]())
        seen = {}
        for port in (site.port, node.port):
            seen[port] = await probe(port, HELLOS[kind](), TAILS[tail], expect=length, end=not TAILS[tail])
        assert seen[node.port] == seen[site.port]
        assert seen[node.port].records
        assert node.server.counters.devices == 0


@pytest.mark.parametrize("kind", HELLOS)
async def test_a_hello_that_is_cut_or_in_two_records_looks_as_at_the_target(context: ssl.SSLContext, kind: str) -> None:
    async with running_site(context) as site, running_node(site.port, oldest_version=OLDEST) as node:
        for cut in (3, 40, 200):
            at_site, at_node = [await probe(port, HELLOS[kind]()[:cut]) for port in (site.port, node.port)]
            assert at_node == at_site
        seen = []
        for port in (site.port, node.port):
            hello = HELLOS[kind]()
            body = hello[HEADER:]
            parts = [b"\x16\3\1" + len(part).to_bytes(2, "big") + part for part in (body[:100], body[100:])]
            seen.append(await probe(port, b"".join(parts)))
        assert seen[0] == seen[1]


@pytest.mark.parametrize("oddity", ODDITIES)
async def test_what_is_no_hello_looks_as_at_the_target(context: ssl.SSLContext, oddity: str) -> None:
    async with running_site(context) as site, running_node(site.port) as node:
        assert await probe(node.port, ODDITIES[oddity]) == await probe(site.port, ODDITIES[oddity])


@pytest.mark.row(75)
async def test_a_visitor_sees_the_targets_own_certificate_and_page(context: ssl.SSLContext) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    async with running_site(context) as site, running_node(site.port) as node:
        found = []
        for port in (site.port, node.port):
            transport = await trio.open_tcp_stream(HOST, port)
            async with trio.SSLStream(transport, client, server_hostname=NAME, https_compatible=True) as tls:
                await tls.send_all(b"GET / HTTP/1.1\r\n\r\n")
                found.append((await receive_exactly(tls, len(PAGE)), tls.getpeercert(binary_form=True)))
        assert found[0] == found[1]
        assert found[0][0] == PAGE


async def test_a_hello_in_pieces_is_still_a_devices(context: ssl.SSLContext) -> None:
    device = ClientConnection(settings(), now=time.time(), random=os.urandom)
    async with running_site(context) as site, running_node(site.port) as node:
        stream = await trio.open_tcp_stream(HOST, node.port)
        async with stream:
            hello = device.take_output()
            for start in range(0, len(hello), 300):
                await stream.send_all(hello[start : start + 300])
                await trio.testing.wait_all_tasks_blocked(0.01)
            while not isinstance(device.next_event(), HandshakeCompleted):
                device.receive(await stream.receive_some())
            await stream.send_all(device.take_output())
            await until(lambda: node.server.counters.devices == 1)


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not is_so():
            await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.row(75)
async def test_a_recorded_hello_is_a_strangers_the_second_time(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Counting(ServerConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            made.append(self)
            super().__init__(*args, **options)

    monkeypatch.setattr("pharos.wire.reality.serving.ServerConnection", Counting)
    async with running_site(context) as site, running_node(site.port) as node:
        hello = device_hello()
        with monkeypatch.context() as weakened:
            # In a build that remembers nothing the node answers a recording by itself, whoever sends it.
            weakened.setattr(SeenHellos, "is_new", lambda *_args, **_options: True)
            for _ in range(2):
                await probe(node.port, hello, GARBLED)
            assert len(made) == 2
        fresh = device_hello()
        # All at once, so that the target's alert follows its flight in one piece.
        at_site = await probe(site.port, fresh + GARBLED)
        assert await probe(node.port, device_hello() + GARBLED) == at_site
        made.clear()
        at_node = [await probe(node.port, fresh + GARBLED) for _ in range(3)]
        assert len(made) == 1
        assert node.server.counters.replays == 2
        assert at_node == [at_site] * 3


async def test_who_breaks_the_handshake_of_a_device_is_told_as_the_target_tells_it(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(context) as site, running_node(site.port) as node:
        length = await answer_length(site, device_hello())
        at_site = await probe(site.port, device_hello(), GARBLED, expect=length, end=False)
        with monkeypatch.context() as weakened:
            # In a build without the alert the probe counts a record less.
            weakened.setattr(ServerConnection, "_fail", lambda *_args: None)
            assert await probe(node.port, device_hello(), GARBLED, expect=length, end=False) != at_site
        assert await probe(node.port, device_hello(), GARBLED, expect=length, end=False) == at_site


async def test_a_node_bears_as_many_empty_records_as_its_target(context: ssl.SSLContext) -> None:
    async with running_site(context) as site, running_node(site.port, learnt=True) as node:
        assert node.server.habits.max_useless == OPENSSL_BEARS
        length = await answer_length(site, device_hello())

        async def bears(port: int, count: int) -> bool:
            async with await trio.open_tcp_stream(HOST, port) as stream:
                await stream.send_all(device_hello())
                await receive_exactly(stream, length)
                await stream.send_all(CHANGE_CIPHER_SPEC * count)
                with trio.move_on_after(0.4) as waited:
                    await stream.receive_some()
                return waited.cancelled_caught

        for port in (site.port, node.port):
            assert await bears(port, OPENSSL_BEARS)
            assert not await bears(port, OPENSSL_BEARS + 1)
        # In a build that bears fewer than its target a probe can tell the two apart.
        node.server.habits = Habits(max_useless=16)
        assert not await bears(node.port, OPENSSL_BEARS)


async def test_a_reset_of_one_side_is_a_reset_of_the_other(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset_by_client = []

    async def resets_at_a_word(stream: trio.SocketStream) -> None:
        try:
            async for chunk in stream:
                if b"reset" in chunk:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    await stream.aclose()
                    return
        except trio.BrokenResourceError:
            reset_by_client.append(True)

    async with running_site(context, resets_at_a_word) as site, running_node(site.port) as node:
        with monkeypatch.context() as weakened:
            weakened.setattr("pharos.wire.reality.borrowing.reset", lambda _stream: None)
            assert (await probe(node.port, b"please reset", end=False)).ending == "end"
        assert (await probe(site.port, b"please reset", end=False)).ending == "reset"
        assert (await probe(node.port, b"please reset", end=False)).ending == "reset"
        # During a device's handshake too.
        async with await trio.open_tcp_stream(HOST, node.port) as stream:
            await stream.send_all(b"abc")
            await trio.testing.wait_all_tasks_blocked(0.05)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await until(lambda: len(reset_by_client) == 1)


async def test_each_direction_of_a_stranger_ends_by_itself(context: ssl.SSLContext) -> None:
    async def answers_behind_the_end(stream: trio.SocketStream) -> None:
        heard = b"".join([bytes(chunk) async for chunk in stream])
        await stream.send_all(b"heard " + heard)
        await stream.send_eof()

    async with running_site(context, answers_behind_the_end) as site, running_node(site.port) as node:
        stream = await trio.open_tcp_stream(HOST, node.port)
        async with stream:
            await stream.send_all(b"all of it")
            await stream.send_eof()
            assert await receive_exactly(stream, 15) == b"heard all of it"
            assert await stream.receive_some() == b""


async def test_a_crowd_of_strangers_keeps_no_device_out(context: ssl.SSLContext) -> None:
    limits = RelayLimits(at_once=3)
    async with running_site(context) as site, running_node(site.port, relay_limits=limits) as node:
        crowd = [await trio.open_tcp_stream(HOST, node.port) for _ in range(3)]
        await until(lambda: len(node.server.places) == 3)
        await handshake(node)
        assert node.server.places.ended == 1
        # The first of them had to go.
        with pytest.raises(trio.BrokenResourceError):
            await crowd[0].receive_some()
        assert len(node.server.places) == 2
        for stream in crowd:
            await stream.aclose()


async def handshake(node: Node) -> None:
    device = ClientConnection(settings(), now=time.time(), random=os.urandom)
    before = node.server.counters.devices
    stream = await trio.open_tcp_stream(HOST, node.port)
    async with stream:
        await stream.send_all(device.take_output())
        while not isinstance(device.next_event(), HandshakeCompleted):
            device.receive(await stream.receive_some())
        await stream.send_all(device.take_output())
        await until(lambda: node.server.counters.devices == before + 1)


async def test_a_node_is_no_free_way_to_its_target(context: ssl.SSLContext) -> None:
    size = 1 << 20

    async def sends_much(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(bytes(size))

    async def time_of(limits: RelayLimits) -> float:
        async with running_site(context, sends_much) as site, running_node(site.port, relay_limits=limits) as node:
            async with await trio.open_tcp_stream(HOST, node.port) as stream:
                start = trio.current_time()
                await stream.send_all(b"GET")
                await receive_exactly(stream, size)
                return trio.current_time() - start

    each = RelayLimits(rate=size, burst=size / 2)
    total = RelayLimits(total_rate=size, total_burst=size / 2)
    free = RelayLimits(rate=0, total_rate=0)
    assert await time_of(each) > 0.4 > await time_of(free)
    assert await time_of(total) > 0.4


async def test_a_target_that_is_not_there_is_a_reset(context: ssl.SSLContext) -> None:
    async with running_site(context) as site:
        port = site.port
    async with running_node(port) as node:
        assert (await probe(node.port, device_hello(), end=False)).ending == "reset"


@pytest.mark.parametrize("answer", [b"\x16\3\3\0\4\2\0\0\0", b"\x15\3\3\0\2\2\x28", b"HTTP/1.1 400\r\n\r\n", b""])
async def test_an_answer_that_cannot_be_borrowed_goes_to_the_device_as_it_is(
    context: ssl.SSLContext, answer: bytes
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)
        await stream.send_eof()
        async for _ in stream:
            pass

    async with running_site(context, serve) as site, running_node(site.port) as node:
        assert await probe(node.port, device_hello(), b"more") == await probe(site.port, device_hello(), b"more")
        assert node.server.counters.not_borrowed == 1


@pytest.mark.parametrize(
    ("limits", "ending"), [(RelayLimits(idle_timeout=0.3), "end"), (RelayLimits(lifetime=0.3), "reset")]
)
async def test_a_stranger_does_not_stay_for_ever(context: ssl.SSLContext, limits: RelayLimits, ending: str) -> None:
    async with running_site(context) as site, running_node(site.port, relay_limits=limits) as node:
        assert (await probe(node.port, device_hello()[:100], end=False)).ending == ending
        await until(lambda: not len(node.server.places))


async def test_a_handshake_that_is_not_finished_is_given_up(context: ssl.SSLContext) -> None:
    limits = RelayLimits(handshake_timeout=0.3)
    async with running_site(context) as site, running_node(site.port, relay_limits=limits) as node:
        seen = await probe(node.port, device_hello(), end=False)
        assert (len(seen.records), seen.ending) == (6, "end")
        assert node.server.counters.devices == 0


async def test_a_bug_that_a_stranger_finds_ends_its_own_connection_only(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_site(context) as site, running_node(site.port) as node:
        with monkeypatch.context() as buggy:
            buggy.setattr(node.server, "_judge", lambda *_args: 1 // 0)
            await probe(node.port, device_hello())
        assert "bug of ours" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        caplog.clear()
        await handshake(node)
