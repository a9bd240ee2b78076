"""A real Xray as the device of a node of ours: the whole of it, users, Vision and datagrams included."""

from __future__ import annotations

import ssl
import uuid
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.wire.reality.vless import Flow
from tests.support.reality import NAME, SHORT_ID, node_public_key
from tests.support.xray import needs_xray, running_xray, unpadded
from tests.wire.reality.fronts import HOST, PATIENCE, receive_all, receive_exactly, running_target, running_udp_echo
from tests.wire.reality.nodes import FLOWS, IDS, PLAIN, VISION, running_node, running_site, site_context, site_pem
from tests.wire.reality.proxied import contexts
from tests.wire.reality.test_server_devices import ended
from tests.wire.reality.test_xray import tls_inbound
from tests.wire.reality.xray import free_port

pytestmark = needs_xray

DATA = bytes(range(256)) * 4000
USERS = [PLAIN, VISION]
GO_BEARS = 16
"""Records in a row that carry nothing (crypto/tls, maxUselessRecords)."""


def outbound(port: int, user: str) -> dict[str, Any]:
    reality = {
        "serverName": NAME,
        "fingerprint": "chrome",
        "publicKey": unpadded(node_public_key()),
        "shortId": SHORT_ID.hex(),
        "spiderX": "/",
    }
    who = {"id": str(uuid.UUID(bytes=IDS[user])), "encryption": "none"}
    if FLOWS[user] is Flow.VISION:
        who["flow"] = Flow.VISION.value
    return {
        "protocol": "vless",
        "settings": {"vnext": [{"address": HOST, "port": port, "users": [who]}]},
        "streamSettings": {"network": "raw", "security": "reality", "realitySettings": reality},
    }


async def socks(port: int, command: int, to: int) -> tuple[trio.SocketStream, int]:
    """Ask a SOCKS server; returns the stream and the port that it names."""
    stream = await trio.open_tcp_stream(HOST, port)
    await stream.send_all(b"\5\1\0")
    assert await receive_exactly(stream, 2) == b"\5\0"
    await stream.send_all(b"\5" + bytes((command,)) + b"\0\1\x7f\0\0\1" + to.to_bytes(2, "big"))
    answer = await receive_exactly(stream, 10)
    assert answer[:2] == b"\5\0"
    return stream, int.from_bytes(answer[8:], "big")


@pytest.mark.parametrize("user", USERS)
async def test_xray_reaches_tcp_targets_through_a_node_of_ours(tmp_path: Path, user: str) -> None:
    port = free_port()
    with trio.fail_after(PATIENCE):
        async with (
            running_site(site_context(tmp_path)) as site,
            running_target() as target,
            running_node(site.port, learnt=True) as node,
            node.watched() as events,
        ):
            inbound = {"listen": HOST, "port": port, "protocol": "socks"}
            with running_xray(tmp_path, [inbound], [outbound(node.port, user)]):
                stream, _ = await socks(port, 1, target.port)
                async with stream, trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, DATA)
                    assert await receive_exactly(stream, len(DATA)) == DATA
                event = await ended(events)
        assert (event.name, event.received_bytes, event.sent_bytes) == (user, len(DATA), len(DATA))
        assert node.server.counters.not_borrowed == 0


async def test_xrays_inner_tls_goes_past_the_outer_one(tmp_path: Path) -> None:
    server, client = contexts(ssl.TLSVersion.TLSv1_3)

    async def serve(stream: trio.SocketStream) -> None:
        async with trio.SSLStream(stream, server, server_side=True, https_compatible=True) as tls:
            for size in (5, len(DATA)):
                await tls.send_all(await receive_exactly(tls, size))
            await receive_all(tls)

    port = free_port()
    with trio.fail_after(PATIENCE):
        async with (
            running_site(site_context(tmp_path)) as site,
            running_target(serve) as target,
            running_node(site.port, learnt=True) as node,
        ):
            inbound = {"listen": HOST, "port": port, "protocol": "socks"}
            with running_xray(tmp_path, [inbound], [outbound(node.port, VISION)]):
                stream, _ = await socks(port, 1, target.port)
                async with trio.SSLStream(stream, client, server_hostname="localhost", https_compatible=True) as tls:
                    await tls.send_all(b"hello")
                    assert await receive_exactly(tls, 5) == b"hello"
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(tls.send_all, DATA)
                        assert await receive_exactly(tls, len(DATA)) == DATA


@pytest.mark.parametrize("user", USERS)
async def test_xrays_datagrams_go_through_a_node_of_ours(tmp_path: Path, user: str) -> None:
    port = free_port()
    with trio.fail_after(PATIENCE):
        async with (
            running_site(site_context(tmp_path)) as site,
            running_udp_echo() as target,
            running_node(site.port, learnt=True) as node,
        ):
            inbound = {"listen": HOST, "port": port, "protocol": "socks", "settings": {"udp": True, "ip": HOST}}
            with running_xray(tmp_path, [inbound], [outbound(node.port, user)]):
                stream, udp_port = await socks(port, 3, 1)
                async with stream:
                    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
                        await sock.bind((HOST, 0))
                        head = b"\0\0\0\1\x7f\0\0\1" + target.port.to_bytes(2, "big")
                        for data in (b"first", bytes(1200)):
                            await sock.sendto(head + data, (HOST, udp_port))
                            answer, _ = await sock.recvfrom(65535)
                            assert answer[10:] == b"E" + data


async def test_a_target_of_gos_is_borrowed_for_an_xray_with_its_post_quantum_group(tmp_path: Path) -> None:
    """Go sends all four messages in one record, and chooses X25519MLKEM768 where OpenSSL may not have it."""
    port, go_site = free_port(), free_port()
    pem = tmp_path / "go.pem"
    pem.write_bytes(site_pem())
    folders = [tmp_path / name for name in ("site", "device")]
    for folder in folders:
        folder.mkdir()
    with trio.fail_after(PATIENCE), running_xray(folders[0], [tls_inbound(go_site, pem)], [{"protocol": "freedom"}]):
        async with running_target() as target, running_node(go_site, learnt=True) as node:
            assert node.server.habits.max_useless == GO_BEARS
            inbound = {"listen": HOST, "port": port, "protocol": "socks"}
            with running_xray(folders[1], [inbound], [outbound(node.port, VISION)]):
                stream, _ = await socks(port, 1, target.port)
                async with stream:
                    await stream.send_all(b"data")
                    assert await receive_exactly(stream, 4) == b"data"
        assert (node.server.counters.devices, node.server.counters.not_borrowed) == (1, 0)
