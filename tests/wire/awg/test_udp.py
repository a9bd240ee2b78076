"""Real sockets on loopback, whose kernel cuts and joins datagrams like any other."""

from __future__ import annotations

import errno
import os
import socket

import pytest
import trio

from pharos.wire.awg.batches import DatagramBatch, SlicedBuffer
from pharos.wire.awg.gather import Gatherer
from pharos.wire.awg.udp import UdpPort, bind_udp, local_address

HOSTS = {4: "127.0.0.1", 6: "::1"}
SIZE = 1200
DATAGRAMS = [bytes([number]) * SIZE for number in range(19)] + [b"short"]


async def receive(port: UdpPort, count: int) -> list[bytes]:
    """Take datagrams off a port, however they come."""
    buffer = SlicedBuffer(65_535)
    found: list[bytes] = []
    with trio.fail_after(5):
        while len(found) < count:
            await trio.lowlevel.wait_readable(port.sock)
            size, segment, _ = port.receive_nowait(buffer.view)
            found += [bytes(buffer.data[at : min(at + segment, size)]) for at in range(0, size, segment)]
    return found


def batch_to(address, datagrams=DATAGRAMS) -> DatagramBatch:
    return DatagramBatch(address, 0, len(datagrams[0]), b"".join(datagrams))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("sending", [True, False], ids=["cut", "single"])
@pytest.mark.parametrize("receiving", [True, False], ids=["joined", "apart"])
async def test_a_batch_arrives_as_the_datagrams_it_stands_for(version, sending, receiving):
    with bind_udp(HOSTS[version], 0) as near, bind_udp(HOSTS[version], 0) as far:
        port, other = UdpPort(near, offload=sending), UdpPort(far, offload=receiving)
        port.send_nowait(batch_to(local_address(far)))
        assert await receive(other, len(DATAGRAMS)) == DATAGRAMS
        assert port.lost == 0


@pytest.mark.parametrize("version", [4, 6])
async def test_a_port_of_both_families_speaks_with_either_by_its_own_address(version):
    with bind_udp("::", 0) as both, bind_udp(HOSTS[version], 0) as peer:
        port, other = UdpPort(both), UdpPort(peer)
        buffer = SlicedBuffer(65_535)
        other.send_nowait(batch_to((HOSTS[version], local_address(both)[1])))
        await trio.lowlevel.wait_readable(both)
        _, _, source = port.receive_nowait(buffer.view)
        assert source == local_address(peer)
        port.send_nowait(batch_to(source))
        assert await receive(other, len(DATAGRAMS)) == DATAGRAMS


def test_nothing_to_read_is_said_so():
    with bind_udp("127.0.0.1", 0) as sock, pytest.raises(BlockingIOError):
        UdpPort(sock).receive_nowait(SlicedBuffer().view)


class PickySocket(socket.socket):
    """Refuses batches as a kernel does that cannot, or single datagrams too."""

    refusal = errno.EIO
    full_after = 10**9
    batches = 0
    singles = 0

    def sendmsg(self, *args):
        self.batches += 1
        raise OSError(self.refusal, os.strerror(self.refusal))

    def sendto(self, *args):
        if self.singles >= self.full_after:
            raise BlockingIOError
        self.singles += 1
        return super().sendto(*args)


@pytest.mark.parametrize(
    ("refusal", "tries"), [(errno.EIO, 1), (errno.EINVAL, 2), (errno.EMSGSIZE, 2)], ids=["never", "size", "path"]
)
async def test_a_refused_batch_goes_datagram_by_datagram(refusal, tries):
    with PickySocket(socket.AF_INET, socket.SOCK_DGRAM) as sock, bind_udp("127.0.0.1", 0) as far:
        sock.refusal = refusal
        port, other = UdpPort(sock), UdpPort(far)
        for _ in range(2):
            port.send_nowait(batch_to(local_address(far)))
            assert await receive(other, len(DATAGRAMS)) == DATAGRAMS
        assert sock.batches == tries


def test_an_unreachable_batch_is_lost_and_counted():
    with PickySocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.refusal = errno.ENETUNREACH
        port = UdpPort(sock)
        port.send_nowait(batch_to(("127.0.0.1", 9)))
        assert port.lost == len(DATAGRAMS)
        assert sock.singles == 0


async def test_a_batch_that_filled_the_socket_goes_on_where_it_stopped():
    with PickySocket(socket.AF_INET, socket.SOCK_DGRAM) as sock, bind_udp("127.0.0.1", 0) as far:
        sock.full_after = 7
        port, batch = UdpPort(sock), batch_to(local_address(far))
        with pytest.raises(BlockingIOError):
            port.send_nowait(batch)
        sock.full_after = 10**9
        port.send_nowait(batch)
        assert await receive(UdpPort(far), len(DATAGRAMS)) == DATAGRAMS


@pytest.mark.parametrize("offload", [True, False], ids=["joined", "apart"])
async def test_datagrams_that_come_one_by_one_are_gathered_in_order(offload):
    sizes = [100] * 70 + [40] + [100] * 3 + [0] + [200, 100, 100] + [3000] * 2 + [100]
    datagrams = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    with bind_udp("127.0.0.1", 0) as near, bind_udp("127.0.0.1", 0) as other, bind_udp("127.0.0.1", 0) as far:
        # Every fifth comes from somebody else.
        senders = [other if number % 20 == 19 else near for number in range(len(sizes))]
        for sender, datagram in zip(senders, datagrams, strict=True):
            sender.sendto(datagram, local_address(far))
        gatherer = Gatherer(UdpPort(far, offload=offload))
        found, batches = [], 0
        with trio.fail_after(5):
            while len(found) < len(datagrams):
                await trio.lowlevel.wait_readable(far) if not batches else None
                size, segment, source = gatherer.gather_nowait()
                batches += 1
                found += [
                    (source, bytes(gatherer.buffer.data[at : min(at + segment, size)]))
                    for at in range(0, max(size, 1), segment or 1)
                ]
        assert found == [(local_address(sender), datagram) for sender, datagram in zip(senders, datagrams, strict=True)]
        assert batches < 25
        with pytest.raises(BlockingIOError):
            gatherer.gather_nowait()
