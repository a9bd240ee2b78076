"""The socket monitor of the Linux underneath, which tells everybody."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.roothelper.acts import SocketAddress, SocketPair
from pharos.buoy.xray.observe import list_sockets
from pharos.buoy.xray.sockdiag import RequestDone, parse_messages


@contextlib.contextmanager
def connected(*hosts: str) -> Iterator[tuple[int, list[socket.socket], list[socket.socket]]]:
    """Connect to a socket of both families, from each host's own address."""
    with contextlib.ExitStack() as stack:
        try:
            server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = stack.enter_context(server).getsockname()[1]
        clients, accepted = [], []
        for host in hosts:
            clients.append(stack.enter_context(socket.create_connection((host, port), timeout=5)))
            accepted.append(stack.enter_context(server.accept()[0]))
        yield port, clients, accepted


def ends_of(client: socket.socket, port: int) -> SocketPair:
    host, own_port = client.getsockname()[:2]
    return SocketPair(SocketAddress(ip_address(host), port), SocketAddress(ip_address(host), own_port))


async def test_open_connections_are_seen_of_both_families_and_no_others() -> None:
    with connected("127.0.0.1", "::1") as (port, clients, _):
        wanted = {ends_of(client, port) for client in clients}
        assert set(await list_sockets([port])) == wanted
        assert await list_sockets([]) == []
        with connected("127.0.0.1") as (other, [third], _):
            assert set(await list_sockets([port])) == wanted
            assert set(await list_sockets([port, other])) == wanted | {ends_of(third, other)}


async def test_a_connection_that_ended_is_not_seen() -> None:
    with connected("127.0.0.1") as (port, [client], [server]):
        client.shutdown(socket.SHUT_WR)
        # What one side ended is open yet.
        assert await list_sockets([port]) == [ends_of(client, port)]
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        assert await list_sockets([port]) == []


async def test_a_monitor_that_says_nothing_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        async def send(self, data: bytes) -> None:
            await trio.lowlevel.checkpoint()

        async def recv(self, size: int) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

    monkeypatch.setattr("pharos.buoy.xray.observe.ANSWER_TIMEOUT", 0.01)
    monkeypatch.setattr("trio.socket.socket", lambda *_: Silent())
    with pytest.raises(EngineError, match="does not answer"):
        await list_sockets([443])


def test_what_is_cut_or_of_no_interest_is_left_out() -> None:
    header = struct.Struct("=IHHII")
    assert parse_messages(b"") == []
    assert parse_messages(b"\1" * 10) == []
    assert parse_messages(header.pack(4, 20, 0, 1, 0)) == []
    assert parse_messages(header.pack(16, 20, 0, 1, 0)) == []
    assert parse_messages(header.pack(20, 1, 0, 1, 0) + bytes(4)) == []
    assert parse_messages(header.pack(20, 2, 0, 1, 0) + struct.pack("=i", -2)) == [RequestDone(2)]
    assert parse_messages(header.pack(20, 3, 0, 1, 0) + bytes(4)) == [RequestDone(0)]
    # A family that we did not ask for, and a socket without a peer.
    for body in (bytes([1, 1, 0, 0]) + bytes(72), bytes([2, 10, 0, 0]) + b"\1\xbb" + bytes(70)):
        assert parse_messages(header.pack(16 + len(body), 20, 0, 1, 0) + body) == []
