"""Real TUN interfaces: what we cut and join, Linux takes, in every combination of offloads."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.wire.awg.tun import Tun, TunGoneError, open_tun
from tests.system.lab.network import Lab, open_lab

pytestmark = pytest.mark.system

MTU = 1420
NEAR, FAR = "clienta", "buoya"
ADDRESSES = {
    NEAR: {4: "10.7.0.2", 6: "fd07::2"},
    FAR: {4: "10.7.0.1", 6: "fd07::1"},
}
SIZE = 4_000_000


@asynccontextmanager
async def tun_at(lab: Lab, host: str, *, offload: bool, terminating: bool) -> AsyncIterator[Tun]:
    """Open an interface at a host, with its addresses on it."""
    opening = open_tun("wg0", mtu=MTU, offload=offload, is_local=lambda destination: terminating)
    tun = await lab.namespace(host).call(opening.__enter__)
    try:
        for address in ADDRESSES[host].values():
            await lab.run(host, "ip", "addr", "add", f"{address}/{24 if '.' in address else 64}", "dev", "wg0", "nodad")
        await lab.run(host, "ip", "link", "set", "wg0", "up")
        yield tun
    finally:
        opening.__exit__(None, None, None)


class Wire:
    """Carries packets from one interface to the other, as they are."""

    def __init__(self) -> None:
        self.reads = 0
        self.packets = 0

    async def carry(self, source: Tun, target: Tun) -> None:
        while True:
            await trio.lowlevel.wait_readable(source)
            try:
                rows = source.read_nowait()
            except BlockingIOError:
                continue
            self.reads += 1
            self.packets += len(rows)
            whole = rows.sizes.count(rows.sizes[0]) == len(rows)
            target.write_nowait(rows.views(), rows if whole else None)


@asynccontextmanager
async def joined(
    folder: Path, *, near: bool = True, far: bool = True, terminating: bool = True
) -> AsyncIterator[tuple[Lab, Wire]]:
    with trio.fail_after(60):
        async with open_lab(folder) as lab:
            async with (
                tun_at(lab, NEAR, offload=near, terminating=terminating) as one,
                tun_at(lab, FAR, offload=far, terminating=terminating) as other,
                trio.open_nursery() as nursery,
            ):
                wire = Wire()
                nursery.start_soon(wire.carry, one, other)
                nursery.start_soon(wire.carry, other, one)
                yield lab, wire
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("terminating", [True, False], ids=["terminating", "forwarding"])
@pytest.mark.parametrize(("near", "far"), [(True, True), (True, False), (False, True)], ids=["both", "near", "far"])
async def test_a_stream_arrives_whole(tmp_path: Path, family: int, near: bool, far: bool, terminating: bool) -> None:
    data = os.urandom(SIZE)
    async with joined(tmp_path, near=near, far=far, terminating=terminating) as (lab, wire):
        address = ADDRESSES[FAR][family]
        async with await lab.namespace(FAR).listen(address) as listener, trio.open_nursery() as nursery:
            port = listener.socket.getsockname()[1]

            async def send() -> None:
                async with await lab.namespace(NEAR).connect(address, port) as stream:
                    await stream.send_all(data)

            nursery.start_soon(send)
            async with await listener.accept() as stream:
                digest = hashlib.sha256()
                async for part in stream:
                    digest.update(part)
    assert digest.digest() == hashlib.sha256(data).digest()
    # What is there is read at one go.
    assert wire.packets > 2 * wire.reads


async def wait_way(lab: Lab, family: int) -> None:
    """Send datagrams until one arrives: a new IPv6 address takes the kernel a moment, and what comes before is lost."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    receiver = await lab.namespace(FAR).socket(kind, socket.SOCK_DGRAM)
    sender = await lab.namespace(NEAR).socket(kind, socket.SOCK_DGRAM)
    with receiver, sender:
        await receiver.bind((ADDRESSES[FAR][family], 0))
        arrived = False
        while not arrived:
            await sender.sendto(b"?", receiver.getsockname()[:2])
            with trio.move_on_after(0.05):
                arrived = await receiver.recv(16) == b"?"


@pytest.mark.parametrize("family", [4, 6])
async def test_datagrams_sent_at_one_go_arrive_one_by_one(tmp_path: Path, family: int) -> None:
    datagrams = [bytes([number]) * 1000 for number in range(20)]
    async with joined(tmp_path) as (lab, wire):
        await wait_way(lab, family)
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        receiver = await lab.namespace(FAR).socket(kind, socket.SOCK_DGRAM)
        sender = await lab.namespace(NEAR).socket(kind, socket.SOCK_DGRAM)
        with receiver, sender:
            await receiver.bind((ADDRESSES[FAR][family], 0))
            cut = [(socket.SOL_UDP, 103, (1000).to_bytes(2, "little"))]
            await sender.sendmsg([b"".join(datagrams)], cut, 0, receiver.getsockname()[:2])
            assert [await receiver.recv(2048) for _ in datagrams] == datagrams
    # Those that were cut together are read together.
    assert wire.packets > wire.reads


async def test_packets_of_a_larger_mtu_are_read_whole_after_the_first(tmp_path: Path) -> None:
    async with joined(tmp_path) as (lab, _):
        receiver = await lab.namespace(FAR).socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = await lab.namespace(NEAR).socket(socket.AF_INET, socket.SOCK_DGRAM)
        with receiver, sender:
            await receiver.bind((ADDRESSES[FAR][4], 0))
            target = receiver.getsockname()[:2]
            await sender.sendto(b"small", target)
            assert await receiver.recv(9000) == b"small"
            for host in (NEAR, FAR):
                await lab.run(host, "ip", "link", "set", "wg0", "mtu", "8000")
            arrived = trio.Event()

            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    # The first finds slots of the old size, and is lost.
                    while not arrived.is_set():
                        await sender.sendto(b"x" * 7000, target)
                        with trio.move_on_after(0.05):
                            await arrived.wait()

                assert await receiver.recv(9000) == b"x" * 7000
                arrived.set()


async def test_an_interface_that_is_removed_says_so(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab, tun_at(lab, NEAR, offload=True, terminating=True) as tun:
            assert await lab.namespace(NEAR).call(lambda: tun.mtu) == MTU
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    with pytest.raises(TunGoneError):
                        while True:
                            await trio.lowlevel.wait_readable(tun)
                            try:
                                tun.read_nowait()
                            except BlockingIOError:
                                continue

                await lab.run(NEAR, "ip", "link", "del", "wg0")


async def test_packets_to_an_interface_that_is_down_are_dropped_and_counted(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab, tun_at(lab, NEAR, offload=True, terminating=True) as tun:
            await lab.run(NEAR, "ip", "link", "set", "wg0", "down")
            tun.write_nowait([memoryview(bytearray(b"\x45" + bytes(19)))])
            assert tun.dropped == 1


async def test_a_name_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab, tun_at(lab, NEAR, offload=True, terminating=True):
            with pytest.raises(OSError, match="busy"):
                await lab.namespace(NEAR).call(open_tun("wg0", mtu=MTU).__enter__)
            with pytest.raises(OSError, match="names of interfaces"):
                await lab.namespace(NEAR).call(open_tun("a" * 16, mtu=MTU).__enter__)
