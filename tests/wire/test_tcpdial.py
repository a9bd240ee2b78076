"""Sockets that have to stay outside a tunnel: whoever opens one shows it before it is used."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.netstack.hostsockets import open_os_tcp, open_os_udp
from pharos.wire.awg.tunnel import open_client_tunnel
from pharos.wire.errors import LinkLostError
from pharos.wire.reality.dial import dial_reality
from pharos.wire.reality.options import Endpoint
from pharos.wire.reality.racing import race_reality
from pharos.wire.rpc.transport import open_tls
from pharos.wire.tcpdial import NEXT_AFTER, connect_first, open_tcp
from tests.support.reality import settings
from tests.support.sites import running_tcp

HOST = "127.0.0.1"
NAME = "node.example"


class Watch:
    """Notes each socket that it is shown, and whether it had been used by then."""

    def __init__(self) -> None:
        self.shown: list[bool] = []

    def __call__(self, sock: socket.socket) -> None:
        bound = sock.getsockname()[1] != 0
        try:
            sock.getpeername()
        except OSError:
            self.shown.append(not bound)
        else:
            self.shown.append(False)


async def resolve(host: str) -> list[str]:
    await trio.lowlevel.checkpoint()
    if host != NAME:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is nobody")
    return [HOST]


async def hang_up(stream: trio.SocketStream) -> None:
    """Take the connection, and end it."""


async def dial_plain(host: str, port: int, watch: Watch) -> None:
    await (await open_tcp(host, port, protect=watch, resolve=resolve)).aclose()


async def dial_tls(host: str, port: int, watch: Watch) -> None:
    context = ssl.create_default_context()
    with pytest.raises(LinkLostError):
        await open_tls(host, port, context, server_hostname="x.test", protect=watch, resolve=resolve)


async def dial_node(host: str, port: int, watch: Watch) -> None:
    with pytest.raises(Exception, match=r"port|ended"):
        await dial_reality(host, port, settings(), protect=watch, resolve=resolve)


async def race_node(host: str, port: int, watch: Watch) -> None:
    ends = [Endpoint(host=host, port=port, settings=settings())]
    with pytest.raises(Exception, match=r"port|ended"):
        await race_reality(ends, protect=watch, resolve=resolve)


async def dial_amneziawg(host: str, port: int, watch: Watch) -> None:
    peer = PeerConfig(public_key=public_key(generate_private_key(os.urandom)), endpoint=(HOST, port))
    async with open_client_tunnel(private_key=generate_private_key(os.urandom), peer=peer, protect=watch):
        pass


async def dial_os(host: str, port: int, watch: Watch) -> None:
    await (await open_os_tcp(HOST, port, protect=watch)).aclose()


async def open_datagrams(host: str, port: int, watch: Watch) -> None:
    await (await open_os_udp(protect=watch)).aclose()


@pytest.mark.parametrize("dial", [dial_plain, dial_tls, dial_node, race_node, dial_amneziawg, dial_os, open_datagrams])
@pytest.mark.parametrize("host", [HOST, NAME])
async def test_every_socket_is_shown_once_and_before_it_is_used(
    dial: Callable[[str, int, Watch], Awaitable[None]], host: str
) -> None:
    watch = Watch()
    async with running_tcp(hang_up) as port:
        with trio.fail_after(20):
            await dial(host, port, watch)
    assert watch.shown == [True]


async def test_a_socket_that_cannot_be_protected_is_not_used() -> None:
    seen: list[socket.socket] = []

    def refuse(sock: socket.socket) -> None:
        seen.append(sock)
        raise PermissionError(errno.EPERM, "the host says no")

    accepted = 0

    async def count(stream: trio.SocketStream) -> None:
        nonlocal accepted
        accepted += 1

    async with running_tcp(count) as port:
        with pytest.raises(PermissionError, match="the host says no"):
            await open_tcp(HOST, port, protect=refuse)
        with pytest.raises(LinkLostError, match="the host says no"):
            await open_tls(HOST, port, ssl.create_default_context(), server_hostname="x.test", protect=refuse)
        with pytest.raises(LinkLostError, match="the host says no"):
            await dial_reality(HOST, port, settings(), protect=refuse)
        peer = PeerConfig(public_key=public_key(generate_private_key(os.urandom)), endpoint=(HOST, port))
        with pytest.raises(PermissionError, match="the host says no"):
            async with open_client_tunnel(private_key=generate_private_key(os.urandom), peer=peer, protect=refuse):
                raise AssertionError("there is none")
    assert [sock.fileno() for sock in seen] == [-1] * 4
    assert accepted == 0


async def test_a_name_that_does_not_resolve_says_so() -> None:
    with pytest.raises(socket.gaierror, match="nobody"):
        await open_tcp("other.example", 1, resolve=resolve)


async def test_the_first_address_that_answers_is_taken() -> None:
    async def make(family: socket.AddressFamily) -> socket.socket:
        await trio.lowlevel.checkpoint()
        return socket.socket(family, socket.SOCK_STREAM)

    async with running_tcp(hang_up) as port:
        # Nobody serves that port at the other addresses of loopback.
        async with await connect_first(["127.0.0.2", "127.0.0.3", HOST], port, make) as stream:
            assert stream.socket.getpeername() == (HOST, port)
        with pytest.raises(ConnectionRefusedError) as one:
            await connect_first(["127.0.0.2"], port, make)
        with pytest.raises(ConnectionRefusedError) as several:
            await connect_first(["127.0.0.2", "127.0.0.3"], port, make)
    assert one.value.__cause__ is None
    assert isinstance(several.value.__cause__, ExceptionGroup)
    with pytest.raises(OSError, match="there is no address to connect to"):
        await connect_first([], 1, make)


async def test_the_next_address_is_tried_while_one_is_silent(autojump_clock: MockClock) -> None:
    asked: list[float] = []
    start = trio.current_time()

    async def make(family: socket.AddressFamily) -> socket.socket:
        asked.append(trio.current_time() - start)
        await trio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    with trio.move_on_after(10):
        await connect_first(["192.0.2.1", "192.0.2.2", "192.0.2.3"], 1, make)
    assert asked == [0.0, NEXT_AFTER, 2 * NEXT_AFTER]
