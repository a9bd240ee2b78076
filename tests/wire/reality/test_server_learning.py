"""What a node learns of its target, beside what OpenSSL's own client sees of it."""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path

import pytest
import trio

from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.errors import TlsError
from pharos.wire.reality.learning import Alpn, Habits, learn
from pharos.wire.reality.records import HEADER, OVERHEAD
from tests.support.reality import NAME, settings
from tests.wire.reality.fronts import HOST
from tests.wire.reality.nodes import SHORT, running_node, running_site, site_context


def lengths(data: bytes | bytearray) -> tuple[int, ...]:
    found = []
    while data:
        found.append(HEADER + int.from_bytes(data[3:HEADER], "big"))
        data = data[found[-1] :]
    return tuple(found)


async def behind_the_finished(port: int, alpn: Alpn) -> tuple[int, ...]:
    """Return how long the records are that OpenSSL's client gets behind its own handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn.value:
        context.set_alpn_protocols([name.decode() for name in alpn.value])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
    async with await trio.open_tcp_stream(HOST, port) as stream:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send_all(outgoing.read())
                incoming.write(await stream.receive_some())
            else:
                break
        await stream.send_all(outgoing.read())
        return lengths(await until_quiet(stream))


async def until_quiet(stream: trio.SocketStream) -> bytes:
    found = bytearray()
    with trio.move_on_after(0.3):
        async for chunk in stream:
            found += chunk
    return bytes(found)


async def behind_a_devices_finished(port: int) -> tuple[int, ...]:
    device = ClientConnection(settings(), now=time.time(), random=os.urandom)
    async with await trio.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(device.take_output())
        while not isinstance(device.next_event(), HandshakeCompleted):
            device.receive(await stream.receive_some())
        await stream.send_all(device.take_output())
        return lengths(await until_quiet(stream))


async def test_the_records_behind_the_handshake_are_the_targets(tmp_path: Path) -> None:
    async with running_site(site_context(tmp_path)) as site:
        habits = await learn((HOST, site.port), frozenset({NAME}), patience=SHORT)
        seen = {alpn: await behind_the_finished(site.port, alpn) for alpn in Alpn}
        assert {alpn: habits.post_handshake[NAME, alpn] for alpn in Alpn} == seen
        assert all(seen.values())
        # A site that speaks HTTP/2 begins with its settings.
        assert len(seen[Alpn.HTTP2]) == len(seen[Alpn.NONE]) + 1


async def test_a_devices_records_are_as_long_as_the_targets_and_were_not_before(tmp_path: Path) -> None:
    async with running_site(site_context(tmp_path)) as site, running_node(site.port, learnt=True) as node:
        at_site = await behind_the_finished(site.port, Alpn.HTTP2)
        assert await behind_a_devices_finished(node.port) == at_site
        # In a build that has learnt nothing an observer misses the tickets.
        node.server.habits = Habits()
        assert await behind_a_devices_finished(node.port) == ()


async def test_a_target_without_tls_13_cannot_be_learnt(tmp_path: Path) -> None:
    context = site_context(tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running_site(context) as site:
        with pytest.raises(TlsError):
            await learn((HOST, site.port), frozenset({NAME}), patience=SHORT)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_what_is_no_record_of_data_is_not_learnt(tmp_path: Path, count: int) -> None:
    """Of what comes behind the handshake only whole records count, up to the first of another kind."""
    from pharos.wire.reality.learning import _record_lengths

    record = b"\x17\3\3" + (OVERHEAD - HEADER).to_bytes(2, "big") + bytes(OVERHEAD - HEADER)
    for rest in (
        b"",
        b"\x15\3\3\0\2\1\0",
        record[:-1],
        b"\x17\3\3\0\1\0",
        b"\x17\3\3\xff\xff",
        b"\x17\3\3" + bytes((0x40, 0x12)) + bytes(0x4012),
    ):
        assert _record_lengths(record * count + rest) == (OVERHEAD,) * count
