from __future__ import annotations

import errno
import socket
import sys

import pytest
import trio

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.netstack.hostsockets import open_os_tcp, open_os_udp
from pharos.wire.openers import DatagramRefusedError

LOOPBACKS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


def family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@LOOPBACKS
async def test_datagrams_of_both_versions_go_by_one_socket(host: str):
    with trio.fail_after(10), trio.socket.socket(family(host), socket.SOCK_DGRAM) as server:
        await server.bind((host, 0))
        place = Address(host, server.getsockname()[1])
        async with await open_os_udp() as sock:
            await sock.send_datagram(Datagram(place, b"question"))
            data, source = await server.recvfrom(100)
            assert data == b"question"
            await server.sendto(b"answer", source)
            assert await sock.receive_datagram() == Datagram(place, b"answer")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
@LOOPBACKS
async def test_who_asks_for_refusals_is_told_of_them(host: str):
    with trio.socket.socket(family(host), socket.SOCK_DGRAM) as unused:
        await unused.bind((host, 0))
        place = Address(host, unused.getsockname()[1])
    with trio.fail_after(10):
        async with await open_os_udp(refusals=True) as sock:
            await sock.send_datagram(Datagram(place, b"x"))
            with pytest.raises(DatagramRefusedError) as caught:
                await sock.receive_datagram()
    assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, place)


@LOOPBACKS
async def test_who_does_not_ask_for_refusals_goes_on(host: str):
    with trio.socket.socket(family(host), socket.SOCK_DGRAM) as unused:
        await unused.bind((host, 0))
        place = Address(host, unused.getsockname()[1])
    with trio.fail_after(10), trio.socket.socket(family(host), socket.SOCK_DGRAM) as server:
        await server.bind((host, 0))
        async with await open_os_udp() as sock:
            await sock.send_datagram(Datagram(place, b"x"))
            await sock.send_datagram(Datagram(Address(host, server.getsockname()[1]), b"question"))
            _, source = await server.recvfrom(100)
            await server.sendto(b"answer", source)
            assert (await sock.receive_datagram()).data == b"answer"


async def test_every_socket_is_shown_before_it_is_used():
    seen: list[socket.SocketKind] = []

    def protect(sock: socket.socket) -> None:
        seen.append(sock.type)

    with trio.fail_after(10):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            await (await open_os_tcp("127.0.0.1", listener.socket.getsockname()[1], protect=protect)).aclose()
        await (await open_os_udp(protect=protect)).aclose()
    assert seen == [socket.SOCK_STREAM, socket.SOCK_DGRAM]


async def test_a_socket_that_cannot_be_protected_is_not_used():
    def protect(sock: socket.socket) -> None:
        raise PermissionError(errno.EPERM, "no")

    with pytest.raises(PermissionError):
        await open_os_udp(protect=protect)


async def test_closing_wakes_a_receiver():
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            sock = await open_os_udp()

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await sock.receive_datagram()

            await trio.testing.wait_all_tasks_blocked()
            await sock.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await sock.send_datagram(Datagram(Address("127.0.0.1", 9), b"x"))
