"""A real Xray as a peer of VLESS, inside the TLS 1.3 of the standard library: none of this needs our own TLS."""

from __future__ import annotations

import socket
import ssl
import uuid
from pathlib import Path
from typing import Any

import trio

from pharos.wire.reality.session import Event, Outgoing
from tests.support.reality import NAME, NODE_KEY, SHORT_ID
from tests.support.rpc import ThrowawayCa
from tests.support.xray import unpadded
from tests.wire.reality.fronts import HOST
from tests.wire.reality.proxied import OTHER_ID, USER_ID

RECORD_HEADER = 5
PLAIN_ID, VISION_ID = OTHER_ID, USER_ID
FLOW = "xtls-rprx-vision"


class OuterTls:
    """TLS 1.3 by the standard library, given one record at a time, so that what follows the last one stays raw."""

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext, *, server: bool) -> None:
        self.stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        hostname = None if server else "localhost"
        self._tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=hostname)
        self._buffer = bytearray()
        self.raw_octets = 0

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._in.write(await self._record())
            else:
                await self._flush()
                return

    async def send(self, outgoing: Outgoing) -> None:
        if outgoing.raw:
            self.raw_octets += len(outgoing.data)
            await self.stream.send_all(outgoing.data)
        elif outgoing.data:
            self._tls.write(outgoing.data)
            await self._flush()

    async def receive(self, session) -> list[Event]:
        """Feed a session what comes next, a record or raw octets; no events and no more octets are the end."""
        if session.receives_raw:
            data = bytes(self._buffer) or bytes(await self.stream.receive_some(1 << 16))
            self._buffer.clear()
            self.raw_octets += len(data)
            return session.receive_data(data) if data else []
        while True:
            record = await self._record()
            if not record:
                return []
            self._in.write(record)
            try:
                plaintext = self._tls.read(1 << 15)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLZeroReturnError:
                return []
            if events := session.receive_data(plaintext):
                return events

    async def _record(self) -> bytes:
        while len(self._buffer) < RECORD_HEADER or len(self._buffer) < self._end():
            data = await self.stream.receive_some(1 << 16)
            if not data:
                return b""
            self._buffer += data
        record = bytes(self._buffer[: self._end()])
        del self._buffer[: len(record)]
        return record

    def _end(self) -> int:
        return RECORD_HEADER + int.from_bytes(self._buffer[3:5], "big")

    async def _flush(self) -> None:
        if data := self._out.read():
            await self.stream.send_all(data)


class Certificates:
    """A certificate for ``localhost``, as files and as contexts."""

    def __init__(self, folder: Path) -> None:
        ca = ThrowawayCa()
        pems = ca.issue("localhost")
        self.ca, self.certificate, self.key = (folder / f"{name}.pem" for name in ("ca", "certificate", "key"))
        self.ca.write_bytes(ca.certificate)
        self.certificate.write_bytes(pems.certificate)
        self.key.write_bytes(pems.key)
        self.server, self.client = ca.server_context(pems), ca.client_context(None)
        self.server.verify_mode = ssl.CERT_NONE


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


Bounds = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Xray's inbounds and outbounds."""


def tls_server(port: int, certificates: Certificates) -> Bounds:
    files = {"certificateFile": str(certificates.certificate), "keyFile": str(certificates.key)}
    return vless_server(port, {"security": "tls", "tlsSettings": {"alpn": ["h2"], "certificates": [files]}})


def reality_node(port: int, target: int) -> Bounds:
    """A node in front of a target on loopback, with the keys of `tests.support.reality`."""
    reality = {
        "target": f"{HOST}:{target}",
        "serverNames": [NAME],
        "privateKey": unpadded(NODE_KEY),
        "shortIds": [SHORT_ID.hex()],
    }
    return vless_server(port, {"security": "reality", "realitySettings": reality})


def vless_server(port: int, security: dict[str, Any]) -> Bounds:
    """A server with both accounts, which goes to whatever target it is asked for."""
    clients = [
        {"id": str(uuid.UUID(bytes=PLAIN_ID)), "email": "plain"},
        {"id": str(uuid.UUID(bytes=VISION_ID)), "email": "vision", "flow": FLOW},
    ]
    inbound = {
        "listen": HOST,
        "port": port,
        "protocol": "vless",
        "settings": {"decryption": "none", "clients": clients},
        "streamSettings": {"network": "raw"} | security,
    }
    return [inbound], [{"protocol": "freedom"}]


def tls_client(port: int, to: int, certificates: Certificates, *, vision: bool) -> Bounds:
    """A client that serves SOCKS at ``port`` and dials a server at ``to``."""
    user = {"id": str(uuid.UUID(bytes=VISION_ID if vision else PLAIN_ID)), "encryption": "none"}
    if vision:
        user["flow"] = FLOW
    tls = {
        "serverName": "localhost",
        "alpn": ["h2"],
        "certificates": [{"usage": "verify", "certificateFile": str(certificates.ca)}],
    }
    outbound = {
        "protocol": "vless",
        "settings": {"vnext": [{"address": HOST, "port": to, "users": [user]}]},
        "streamSettings": {"network": "raw", "security": "tls", "tlsSettings": tls},
    }
    socks = {"listen": HOST, "port": port, "protocol": "socks", "settings": {"udp": True, "ip": HOST}}
    return [socks], [outbound]
