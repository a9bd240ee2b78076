"""From what somebody was given to a stream through it, with no fleet and no root."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import trio

from pharos.caravel import open_kept, read_source
from pharos.caravel.errors import NoSuchLinkError, NoSuchNodeError
from pharos.caravel.managed import Floor
from pharos.caravel.sources.base import Choices
from pharos.caravel.tunnel.keptways import find_kept
from pharos.caravel.tunnel.options import ConnectOptions
from tests.caravel.test_proxy import link_to, running_proxy
from tests.support.innernode import DEVICE, NODE, InnerNode, running_inner_node
from tests.support.sources import CONF, qr_png
from tests.wire.reality.fronts import running_target
from tests.wire.reality.nodes import running_node, running_site, site_context


def conf_of(node: InnerNode) -> str:
    """Return the file that a device of this node would be given: plain WireGuard."""
    key, port = base64.b64encode(node.admit()).decode(), node.tunnel.address[1]
    return (
        f"[Interface]\nPrivateKey = {key}\nAddress = {DEVICE}\n"
        f"[Peer]\nPublicKey = {base64.b64encode(node.tunnel.public_key).decode()}\n"
        f"AllowedIPs = 0.0.0.0/0\nEndpoint = 127.0.0.1:{port}\n"
    )


async def say(stream: trio.abc.HalfCloseableStream, words: bytes) -> bytes:
    async with stream:
        await stream.send_all(words)
        return bytes(await stream.receive_some())


async def test_a_configuration_leads_to_its_node(tmp_path: Path) -> None:
    state = tmp_path / "s"
    async with running_inner_node() as node:
        await read_source(qr_png(conf_of(node))).take(state, Choices(name="office"))
        with trio.fail_after(30):
            async with open_kept(find_kept(state, "office"), inner="netstack") as tunnel:
                assert (await tunnel.wait_up(20)).protocol == "amneziawg"
                assert tunnel.name == "office"
                assert await say(await tunnel.open_tcp_stream(str(NODE.ip), 7), b"through it") == b"through it"


async def test_programs_reach_it_by_the_proxy(tmp_path: Path) -> None:
    state = tmp_path / "s"
    async with running_inner_node() as node:
        await read_source(conf_of(node)).take(state, Choices(name="office"))
        async with running_proxy(state, "--link", "office", "--socks", "0") as told:
            assert told["through"] == "office"
            host, _, port = told["socks"].rpartition(":")
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(b"\x05\x01\x00")
            assert await stream.receive_some(2) == b"\x05\x00"
            await stream.send_all(b"\x05\x01\x00\x01" + NODE.ip.packed + (7).to_bytes(2, "big"))
            assert (await stream.receive_some(10))[:2] == b"\x05\x00"
            assert await say(stream, b"by the proxy") == b"by the proxy"


async def test_a_link_leads_to_its_node(tmp_path: Path) -> None:
    state = tmp_path / "s"
    async with (
        running_site(site_context(tmp_path)) as site,
        running_node(site.port) as node,
        running_target() as target,
    ):
        await read_source(link_to(node.port)).take(state, Choices(name="cafe"))
        with trio.fail_after(30):
            async with open_kept(find_kept(state, "cafe")) as tunnel:
                assert (await tunnel.wait_up(20)).protocol == "vless-reality"
                stream = await tunnel.open_tcp_stream("127.0.0.1", target.port)
                assert await say(stream, b"through it") == b"through it"


async def test_plain_wireguard_is_below_a_floor_that_was_set(tmp_path: Path) -> None:
    plain = "\n".join(line for line in CONF.splitlines() if line[:1] not in "JSH")
    await read_source(plain).take(tmp_path / "s", Choices(name="plain"))
    kept = find_kept(tmp_path / "s", "plain")
    with pytest.raises(NoSuchNodeError):
        open_kept(kept, options=ConnectOptions(floor=Floor.AMNEZIAWG))


def test_a_name_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NoSuchLinkError):
        find_kept(tmp_path / "s", "office")
