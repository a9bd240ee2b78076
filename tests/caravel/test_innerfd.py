"""A device that the host owns as the inside of a connection: plain, and with Darwin's header."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from pharos.caravel.tunnel.innerfd import UtunEnd, open_fd_inner
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.netstack.tunend import TunEnd
from pharos.wire.awg.tun import TunGoneError, adopt_tun
from tests.support.innernode import DEVICE_ADDRESSES, NODE, NODE6, running_inner_node

Device = tuple[socket.socket, socket.socket]


@pytest.fixture
def device() -> Iterator[Device]:
    """A device as one may be had without rights: the host's end, and the one that we are given."""
    host, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with host, given:
        yield host, given


@asynccontextmanager
async def applications(host: socket.socket, *, utun: bool) -> AsyncIterator[Netstack]:
    """Have the host's own TCP/IP at its end of the device."""
    os.set_blocking(host.fileno(), False)
    link: InnerEnd = UtunEnd(host.fileno(), DEFAULT_MTU) if utun else TunEnd(adopt_tun(host.fileno(), mtu=DEFAULT_MTU))
    async with open_netstack(link, addresses=DEVICE_ADDRESSES) as stack:
        yield stack


@pytest.mark.parametrize("utun", [False, True])
@pytest.mark.parametrize("address", [NODE, NODE6])
async def test_the_host_own_applications_go_through_the_tunnel(device: Device, utun: bool, address: object) -> None:
    host, given = device
    with (
        trio.fail_after(20),
        open_fd_inner(given.fileno(), mtu=DEFAULT_MTU, addresses=DEVICE_ADDRESSES, utun=utun) as inner,
    ):
        assert inner.streams is None
        async with running_inner_node() as node, node.leg(inner), applications(host, utun=utun) as stack:
            async with await stack.open_tcp_stream(str(address).partition("/")[0], 7) as stream:
                await stream.send_all(bytes(10_000))
                await stream.send_eof()
                assert b"".join([piece async for piece in stream]) == bytes(10_000)


async def test_packets_of_darwin_say_of_which_family_they_are(device: Device) -> None:
    host, given = device
    four, six = b"\x45" + bytes(19), b"\x60" + bytes(39)
    with open_fd_inner(given.fileno(), mtu=DEFAULT_MTU, utun=True) as inner:
        assert isinstance(inner.far, UtunEnd)
        inner.far.send_packets_nowait([four, six])
        assert [host.recv(100), host.recv(100)] == [b"\0\0\0\x02" + four, b"\0\0\0\x1e" + six]
        host.send(b"\0\0\0\x1e" + six)
        host.send(b"\0\0\0\x02" + four)
        assert await inner.far.receive_packets() == [six, four]


@pytest.mark.parametrize("utun", [False, True])
async def test_the_descriptor_stays_the_host_own(device: Device, utun: bool) -> None:
    host, given = device
    with open_fd_inner(given.fileno(), mtu=DEFAULT_MTU, utun=utun):
        pass
    given.send(b"still open")
    assert host.recv(100) == b"still open"


@pytest.mark.parametrize("utun", [False, True])
async def test_a_host_may_close_its_descriptor_while_the_tunnel_lasts(device: Device, utun: bool) -> None:
    host, given = device
    with trio.fail_after(20), open_fd_inner(given.fileno(), mtu=DEFAULT_MTU, utun=utun) as inner:
        given.close()
        async with running_inner_node() as node, node.leg(inner), applications(host, utun=utun) as stack:
            assert (await stack.ping(str(NODE.ip), count=1)).received == 1


@pytest.mark.parametrize("utun", [False, True])
async def test_a_device_that_is_gone_ends_the_leg_with_a_sentence(device: Device, utun: bool) -> None:
    host, given = device
    with trio.fail_after(20), open_fd_inner(given.fileno(), mtu=DEFAULT_MTU, utun=utun) as inner:
        with pytest.RaisesGroup(TunGoneError, flatten_subgroups=True):
            async with running_inner_node() as node, node.leg(inner):
                host.close()
                await trio.sleep_forever()


def test_a_number_that_is_no_descriptor_is_refused() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        with open_fd_inner(999_999, mtu=DEFAULT_MTU):
            raise AssertionError("there is none")
