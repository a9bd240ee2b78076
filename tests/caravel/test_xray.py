"""Links to real Xray nodes: anybody's node is as good as ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from pharos.caravel.tunnel.realityways import open_link_reality
from pharos.wire.errors import LinkRefusedError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.options import DialOptions
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.reality.xudp import Datagram
from tests.support.reality import NAME, SHORT_ID, node_public_key
from tests.support.xray import needs_xray, running_xray
from tests.wire.reality.fronts import HOST, PATIENCE, receive_all, running_target, running_udp_echo
from tests.wire.reality.nodes import running_site, site_context
from tests.wire.reality.xray import FLOW, PLAIN_ID, VISION_ID, free_port, reality_node

pytestmark = needs_xray


@contextlib.asynccontextmanager
async def running_node(tmp_path: Path) -> AsyncIterator[ShareLink]:
    """Run Xray before a site; yields a link of its user with Vision."""
    port = free_port()
    with trio.fail_after(PATIENCE):
        async with running_site(site_context(tmp_path)) as site:
            with running_xray(tmp_path, *reality_node(port, site.port)):
                yield ShareLink(
                    user_id=VISION_ID,
                    address=Address(HOST, port),
                    public_key=node_public_key(),
                    server_name=NAME,
                    short_id=SHORT_ID.hex(),
                )


@pytest.mark.parametrize("fingerprint", ["chrome", "firefox", "safari", "random"])
@pytest.mark.parametrize("flow", ["", FLOW])
async def test_streams_and_datagrams_go_through_an_xray(tmp_path: Path, flow: str, fingerprint: str) -> None:
    data = bytes(100_000)
    async with running_node(tmp_path) as usual, running_target() as target, running_udp_echo() as udp:
        link = attrs.evolve(usual, flow=flow, fingerprint=fingerprint, user_id=VISION_ID if flow else PLAIN_ID)
        async with open_link_reality(link) as tunnel:
            await tunnel.wait_up(PATIENCE)
            async with await tunnel.open_tcp_stream(HOST, target.port) as stream:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, data)
                    received = b""
                    while len(received) < len(data):
                        piece = await stream.receive_some()
                        assert piece
                        received += piece
                await stream.send_eof()
                assert received == data
                assert await receive_all(stream) == b""
            async with await tunnel.open_udp() as datagrams:
                await datagrams.send_datagram(Datagram(udp, b"one"))
                assert await datagrams.receive_datagram() == Datagram(udp, b"Eone")


async def test_an_xray_that_does_not_know_the_user_or_the_client_says_so_in_its_way(tmp_path: Path) -> None:
    async with running_node(tmp_path) as usual, running_target() as target:
        # It learns its target's records for five seconds before it answers anybody, and then answers at once.
        async with open_link_reality(usual, DialOptions(post_quantum=False)) as tunnel:
            async with await tunnel.open_tcp_stream(HOST, target.port) as stream:
                await stream.send_all(b"data")
                assert await stream.receive_some() == b"data"
        async with open_link_reality(attrs.evolve(usual, user_id=bytes(16))) as tunnel:
            with pytest.raises(LinkRefusedError):
                await tunnel.wait_up(PATIENCE)
        async with open_link_reality(attrs.evolve(usual, short_id="ff")) as tunnel:
            with pytest.raises(RealCertificateError):
                await tunnel.wait_up(PATIENCE)
