"""TLS KeyUpdate (RFC 8446 §4.6.3) while both directions are full: reader and writer then want to write at once.

The peer is OpenSSL's own client. Whoever is asked for new keys has to answer, which makes a reader wait until it can
write, as the writer does already; Trio grants that to one task only, and `TlsStream` lets the other wait behind it.
"""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import attrs
import pytest
import trio
import trio.testing

from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.pki.tls import server_context
from pharos.wire.rpc.transport import SecureStream, TlsStream, serve_tls
from tests.support.peers import needed, write_certificates, write_credentials
from tests.support.pki import home_fleet

HOST: Final = "127.0.0.1"
HOME: Final = home_fleet()
PATIENCE: Final = 30.0

DOWN: Final = bytes(range(256)) * 64
"""What we send again and again: one TLS record of it."""
UP: Final = b"." + b"abcdefghij" * 400
"""What the peer sends again and again; none of its commands begins with a dot."""
SEND_BUFFER: Final = 8 * 1024
"""Small, so that it is full whenever the peer looks the other way."""
GAP: Final = 256 * 1024
"""Octets that the peer receives between requests for new keys: more than is under way before our answer."""
REQUESTS: Final = 16
COLLISIONS: Final = 2


class Watched(TlsStream):
    """Counts how often a task waits behind the other."""

    collisions = 0

    async def _wait(self, ready: Any) -> None:
        async def watched(sock: socket.socket) -> None:
            try:
                await ready(sock)
            except trio.BusyResourceError:
                Watched.collisions += 1
                raise

        await super()._wait(watched)


class Impatient(TlsStream):
    """Weakened: nobody waits behind anybody."""

    async def _wait(self, ready: Any) -> None:
        await ready(self._socket)


@attrs.define
class Exchange:
    """What has passed, and what went wrong on our side."""

    sent: int = 0
    received: bytearray = attrs.field(factory=bytearray)
    enough: trio.Event = attrs.field(factory=trio.Event)
    busy: trio.Event = attrs.field(factory=trio.Event)
    """A task was refused because another waited already."""

    async def serve(self, stream: SecureStream) -> None:
        """Send and receive at once, without end."""
        cast(Any, stream)._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, stream)
                while not self.enough.is_set():
                    await stream.send_all(DOWN)
                    self.sent += len(DOWN)
        except* trio.BusyResourceError:
            self.busy.set()

    async def _receive(self, stream: SecureStream) -> None:
        while data := await stream.receive_some():
            self.received += data


@attrs.define
class OpensslClient:
    """``openssl s_client``, which takes each packet on its standard input for a command, or for data."""

    process: trio.Process
    commands: trio.socket.SocketType
    received: bytearray = attrs.field(factory=bytearray)
    remarks: bytearray = attrs.field(factory=bytearray)
    sent: int = 0

    @property
    def updates(self) -> int:
        return self.remarks.count(b"KEYUPDATE\n")

    async def say(self, exchange: Exchange) -> None:
        """Send data, and ask for new keys once each `GAP`."""
        asked = done = asked_at = 0
        while not exchange.enough.is_set():
            await self.commands.send(UP)
            self.sent += len(UP)
            if self.updates > done:
                done, asked_at = self.updates, len(self.received)
            if asked == done and len(self.received) - asked_at >= GAP:
                asked += 1
                await self.commands.send(b"K")

    async def collect(self, source: trio.abc.ReceiveStream, into: bytearray) -> None:
        async for data in source:
            into += data


@asynccontextmanager
async def openssl_client(folder: Path, port: int, nursery: trio.Nursery) -> AsyncIterator[OpensslClient]:
    helm = write_credentials(folder, "helm", HOME.member(Role.CONTROLLER))
    anchors = write_certificates(folder / "anchors.pem", HOME.trust.root, HOME.trust.fleet_ca)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [needed("openssl"), "s_client", "-brief", "-connect", f"{HOST}:{port}", "-alpn", "h2"]
    command += ["-cert", str(helm.certificate), "-key", str(helm.key), "-CAfile", str(anchors)]
    command += ["-verify_return_error", "-servername", str(HOME.identity(Role.NODE).dns_name)]
    with trio.socket.from_stdlib_socket(ours) as commands, theirs:
        process = await trio.lowlevel.open_process(
            command, stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        theirs.close()
        client = OpensslClient(process, commands)
        assert process.stdout is not None
        assert process.stderr is not None
        async with process.stdout, process.stderr:
            nursery.start_soon(client.collect, process.stdout, client.received)
            nursery.start_soon(client.collect, process.stderr, client.remarks)
            try:
                yield client
            finally:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


async def poll(holds: Callable[[], bool]) -> None:
    """Wait for what another process brings about."""
    while not holds():  # noqa: ASYNC110 - it has no event of ours to set
        await trio.sleep(0.005)


@asynccontextmanager
async def saturated(folder: Path, transport: type[TlsStream]) -> AsyncIterator[tuple[OpensslClient, Exchange]]:
    """An exchange under way, both directions full, with requests for new keys among the peer's data."""
    exchange = Exchange()
    context = server_context(HOME.member(Role.NODE), trust=HOME.trust, policy=CONTROL)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def listen(task_status: trio.TaskStatus[tuple[str, int]]) -> None:
                await serve_tls(
                    exchange.serve, host=HOST, port=0, context=context, transport=transport, task_status=task_status
                )

            _, port = await nursery.start(listen)
            async with openssl_client(folder, port, nursery) as client:
                yield client, exchange
                nursery.cancel_scope.cancel()


async def test_key_updates_amid_traffic_both_ways_lose_nothing(tmp_path: Path) -> None:
    Watched.collisions = 0
    async with saturated(tmp_path, Watched) as (client, exchange):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.say, exchange)
            await poll(lambda: client.updates >= REQUESTS and Watched.collisions >= COLLISIONS)
            exchange.enough.set()
        await poll(lambda: len(client.received) >= exchange.sent and len(exchange.received) >= client.sent)
        assert client.received == DOWN * (exchange.sent // len(DOWN))
        assert exchange.received == UP * (client.sent // len(UP))


async def test_key_updates_end_the_connection_of_a_build_that_does_not_wait(tmp_path: Path) -> None:
    """Red: where nobody waits behind anybody, Trio refuses the second of them amid the same traffic."""
    async with saturated(tmp_path, Impatient) as (client, exchange):
        async with trio.open_nursery() as nursery:

            async def say() -> None:
                with contextlib.suppress(OSError):
                    await client.say(exchange)

            nursery.start_soon(say)
            await exchange.busy.wait()
            nursery.cancel_scope.cancel()
        assert client.updates


def full_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection, of which the first can send no more."""
    near, far = socket.socketpair()
    near.settimeout(0)
    try:
        while True:
            near.send(bytes(65_536))
    except BlockingIOError:
        return near, far


@pytest.mark.parametrize("transport", [TlsStream, Impatient])
async def test_two_tasks_wait_until_one_socket_takes_more(transport: type[TlsStream]) -> None:
    near, far = full_pair()
    with near, far:
        stream = transport(cast(ssl.SSLSocket, near), ("", 0))
        served = 0

        async def wait() -> None:
            nonlocal served
            await stream._wait(trio.lowlevel.wait_writable)
            served += 1

        async def run() -> None:
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(wait)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not served
                    with contextlib.suppress(BlockingIOError):
                        while far.recv(2**20, socket.MSG_DONTWAIT):
                            pass

        if transport is Impatient:
            with pytest.RaisesGroup(trio.BusyResourceError):
                await run()
        else:
            await run()
            assert served == 2
