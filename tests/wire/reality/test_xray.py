"""A real Xray at the other end, each way round; it is the only other program that speaks REALITY."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pharos.wire.reality.auth import Admitted
from pharos.wire.reality.certificate import NodeSigner
from pharos.wire.reality.client import ClientSettings
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.flight import FlightRecorder
from pharos.wire.reality.groups import X25519, X25519MLKEM768
from pharos.wire.reality.parrots import PARROTS
from pharos.wire.reality.records import HEADER
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.stream import RealityStream
from tests.support.reality import NAME, NODE_KEY, PQ_SIGNER, SHORT_ID, SIGNER, gate, hello_in, node_public_key, settings
from tests.support.xray import needs_xray, running_xray, unpadded

pytestmark = needs_xray

USER = uuid.UUID("11111111-2222-4333-8444-555555555555")
PQ_SEED = bytes(range(64, 96))
"""Of `PQ_SIGNER`."""
DATA = bytes(range(256)) * 2000
PATIENCE = 60
"""Seconds. Xray learns its target's records for up to five before it answers, and another five if it was too early."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's certificate, so long that one with a signature of ML-DSA-65 fits into its record."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    names = [x509.DNSName(NAME), *[x509.DNSName(f"name-{number:03}.of.a.site.test") for number in range(150)]]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("site") / "site.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return path


@asynccontextmanager
async def serving(handler: Callable[[trio.SocketStream], Any]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def openssl_site(certificate: Path) -> AsyncIterator[int]:
    """A target that OpenSSL runs: four records, and an end as soon as it has seen a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await tls.do_handshake()
        await trio.aclose_forcefully(stream)

    async with serving(serve) as port:
        yield port


async def echo(stream: trio.SocketStream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def reality_inbound(port: int, target: int, *, post_quantum: bool) -> dict[str, Any]:
    reality = {
        "target": f"127.0.0.1:{target}",
        "serverNames": [NAME],
        "privateKey": unpadded(NODE_KEY),
        "shortIds": [SHORT_ID.hex(), ""],
        "maxTimeDiff": 60_000,
    }
    if post_quantum:
        reality["mldsa65Seed"] = unpadded(PQ_SEED)
    return {
        "listen": "127.0.0.1",
        "port": port,
        "protocol": "vless",
        "settings": {"decryption": "none", "clients": [{"id": str(USER)}]},
        "streamSettings": {"network": "raw", "security": "reality", "realitySettings": reality},
    }


def tls_inbound(port: int, certificate: Path) -> dict[str, Any]:
    """A site run by Go's TLS, which chooses X25519MLKEM768 where it is offered."""
    tls = {
        "alpn": ["h2", "http/1.1"],
        "certificates": [{"certificateFile": str(certificate), "keyFile": str(certificate)}],
    }
    return {
        "listen": "127.0.0.1",
        "port": port,
        "protocol": "vless",
        "settings": {"decryption": "none", "clients": [{"id": str(USER)}]},
        "streamSettings": {"network": "raw", "security": "tls", "tlsSettings": tls},
    }


def request(port: int) -> bytes:
    """VLESS: version, user, no addons, TCP, port, an IPv4 address."""
    return b"\0" + USER.bytes + b"\0\1" + port.to_bytes(2, "big") + b"\1\x7f\0\0\1"


async def receive(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    found = b""
    while len(found) < size:
        chunk = await stream.receive_some()
        assert chunk, f"ended behind {len(found)} octets"
        found += chunk
    return found


async def talk(port: int, told: ClientSettings, echo_port: int) -> RealityStream:
    """Send through an Xray node to the echo server, and take what comes back."""
    async with open_reality("127.0.0.1", port, told, connect_timeout=PATIENCE) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, request(echo_port) + DATA)
            answer = await receive(stream, 2 + len(DATA))
        assert answer == b"\0\0" + DATA
        # Another key of ours; Xray's REALITY fails at being asked for one of its own.
        stream.connection.update_keys(request=False)
        await stream.send_all(b"under another key")
        assert await receive(stream, 17) == b"under another key"
        await stream.send_eof()
        while await stream.receive_some():
            pass
    return stream


@pytest.mark.parametrize("post_quantum", [False, True], ids=["Ed25519", "ML-DSA-65"])
async def test_a_device_of_ours_speaks_to_a_node_that_is_xray(
    certificate: Path, tmp_path: Path, post_quantum: bool
) -> None:
    over_openssl, over_go, go_site = free_port(), free_port(), free_port()
    with trio.fail_after(PATIENCE):
        async with openssl_site(certificate) as target, serving(echo) as echo_port:
            inbounds = [
                tls_inbound(go_site, certificate),
                reality_inbound(over_openssl, target, post_quantum=post_quantum),
                reality_inbound(over_go, go_site, post_quantum=post_quantum),
            ]
            with running_xray(tmp_path, inbounds, [{"protocol": "freedom"}]):
                for parrot in PARROTS.values():
                    told = settings(
                        parrot=parrot,
                        short_id=SHORT_ID if parrot.shuffles else bytes(8),
                        mldsa65_key=PQ_SIGNER.mldsa65_key if post_quantum else None,
                    )
                    await talk(over_openssl, told, echo_port)
                    await talk(over_go, told, echo_port)
                    await talk(over_go, attrs.evolve(told, post_quantum=False), echo_port)


@pytest.mark.parametrize(
    "wrong",
    [
        {"short_id": bytes(7) + b"\1"},
        {"server_name": "other.test"},
        {"public_key": node_public_key(bytes(32))},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_xray_passes_a_device_with_a_wrong_mark_on_to_the_real_site(
    certificate: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    port = free_port()
    with trio.fail_after(PATIENCE):
        async with openssl_site(certificate) as target:
            inbounds = [reality_inbound(port, target, post_quantum=False)]
            with running_xray(tmp_path, inbounds, [{"protocol": "freedom"}]):
                with pytest.raises(RealCertificateError):
                    async with open_reality("127.0.0.1", port, settings(**wrong)):
                        pytest.fail("it must not open")


class Node:
    """A node of ours: as little of one as REALITY needs, which answers VLESS by an echo."""

    def __init__(self, target: int, signer: NodeSigner) -> None:
        self._target = target
        self._signer = signer
        self.completed: list[HandshakeCompleted] = []

    async def serve(self, transport: trio.SocketStream) -> None:
        async with await self._accept(transport) as stream:
            head = await stream.receive_some()
            while len(head) < 26:
                head += await stream.receive_some()
            # Version, user, no addons, TCP, port and an address of IPv4.
            assert head[:19] == b"\0" + USER.bytes + b"\0\1"
            await stream.send_all(b"\0\0" + head[26:])
            with contextlib.suppress(trio.BrokenResourceError):
                async for chunk in stream:
                    await stream.send_all(chunk)

    async def _accept(self, transport: trio.SocketStream) -> RealityStream:
        received = await transport.receive_some()
        while len(received) < HEADER + int.from_bytes(received[3:HEADER], "big"):
            received += await transport.receive_some()
        hello = hello_in(received)
        admitted = gate().judge(hello, now=time.time())
        assert isinstance(admitted, Admitted), admitted
        recorder, flight = FlightRecorder(), None
        async with await trio.open_tcp_stream("127.0.0.1", self._target) as target:
            await target.send_all(received)
            while flight is None:
                flight = recorder.feed(await target.receive_some())
        node = ServerConnection(hello, admitted, flight, self._signer, random=os.urandom, post_handshake=(255, 80))
        await transport.send_all(node.take_output())
        while not isinstance(event := node.next_event(), HandshakeCompleted):
            node.receive(await transport.receive_some())
        self.completed.append(event)
        await transport.send_all(node.take_output())
        return RealityStream(transport, node)


def vless_outbound(port: int, fingerprint: str, *, post_quantum: bool) -> dict[str, Any]:
    reality = {
        "serverName": NAME,
        "fingerprint": fingerprint,
        "publicKey": unpadded(node_public_key()),
        "shortId": SHORT_ID.hex(),
        "spiderX": "/",
    }
    if post_quantum:
        assert PQ_SIGNER.mldsa65_key is not None
        reality["mldsa65Verify"] = unpadded(PQ_SIGNER.mldsa65_key)
    user = {"id": str(USER), "encryption": "none"}
    return {
        "protocol": "vless",
        "settings": {"vnext": [{"address": "127.0.0.1", "port": port, "users": [user]}]},
        "streamSettings": {"network": "raw", "security": "reality", "realitySettings": reality},
    }


@pytest.mark.parametrize("post_quantum", [False, True], ids=["Ed25519", "ML-DSA-65"])
@pytest.mark.parametrize(
    ("fingerprint", "group"),
    [("chrome", X25519MLKEM768), *[(name, X25519) for name in ("safari", "firefox", "ios", "edge", "qq")]],
)
async def test_a_device_that_is_xray_speaks_to_a_node_of_ours(
    certificate: Path, tmp_path: Path, fingerprint: str, group: int, post_quantum: bool
) -> None:
    """Over Go's site where a post-quantum group is to be chosen, and over OpenSSL's, which may not have one."""
    socks, go_site = free_port(), free_port()
    with trio.fail_after(PATIENCE):
        async with openssl_site(certificate) as openssl:
            target = go_site if group == X25519MLKEM768 else openssl
            node = Node(target, PQ_SIGNER if post_quantum else SIGNER)
            async with serving(node.serve) as port:
                inbounds = [
                    tls_inbound(go_site, certificate),
                    {"listen": "127.0.0.1", "port": socks, "protocol": "socks"},
                ]
                outbound = vless_outbound(port, fingerprint, post_quantum=post_quantum)
                with running_xray(tmp_path, inbounds, [outbound]):
                    async with await trio.open_tcp_stream("127.0.0.1", socks) as stream:
                        await stream.send_all(b"\5\1\0")
                        assert await receive(stream, 2) == b"\5\0"
                        await stream.send_all(b"\5\1\0\1\x0a\0\0\1\0\x50")
                        assert (await receive(stream, 10))[:2] == b"\5\0"
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(stream.send_all, DATA)
                            assert await receive(stream, len(DATA)) == DATA
    assert node.completed[0].group == group
