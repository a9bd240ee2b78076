"""Our TCP and Linux's understand each other, both ways, on lines as bad as they come."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.wire.awg.netstack.tcp.states import State
from tests.system.lab.network import Lab, open_lab
from tests.system.netstackline import Line, Ours, goodput, kernel_at

pytestmark = pytest.mark.system

NEAR, FAR = "clienta", "buoya"
ADDRESSES = {NEAR: {4: "10.7.0.2", 6: "fd07::2"}, FAR: {4: "10.7.0.1", 6: "fd07::1"}}
SIZE = 2_000_000
LOSSY = {"delay": 0.01, "loss": 0.01}
GOODPUT_SECONDS = 12.0
LEAST_RATIO = 0.7
"""Of Linux's goodput over the same line (issue 12)."""


@attrs.frozen
class Stage:
    """Ours at one end of a line, Linux at the other."""

    lab: Lab
    line: Line
    ours: Ours


def choose_cubic(sock: trio.socket.SocketType) -> None:
    """Have Linux do what we do, whatever this machine's default is: BBR does not care for losses."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


@asynccontextmanager
async def ours_and_linux(folder: Path, line: Line) -> AsyncIterator[Stage]:
    with trio.fail_after(120):
        async with open_lab(folder) as lab, kernel_at(lab, NEAR, ADDRESSES[NEAR].values()) as kernel:
            ours = Ours(line, kernel)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.run)
                nursery.start_soon(kernel.run, line, ours)
                nursery.start_soon(ours.run)
                yield Stage(lab, line, ours)
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def linux_and_linux(folder: Path, line: Line) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """The same line between two kernels: the measure of ours."""
    with trio.fail_after(120):
        async with (
            open_lab(folder) as lab,
            kernel_at(lab, NEAR, ADDRESSES[NEAR].values()) as near,
            kernel_at(lab, FAR, ADDRESSES[FAR].values()) as far,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(line.run)
            nursery.start_soon(near.run, line, far)
            nursery.start_soon(far.run, line, near)
            async with await lab.namespace(FAR).listen(ADDRESSES[FAR][4]) as listener:
                port = listener.socket.getsockname()[1]
                choose_cubic(listener.socket)
                async with (
                    await lab.namespace(NEAR).connect(ADDRESSES[FAR][4], port) as dialled,
                    await listener.accept() as accepted,
                ):
                    choose_cubic(dialled.socket)
                    yield dialled, accepted
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def dialled(stage: Stage, family: int) -> AsyncIterator[trio.SocketStream]:
    """Dial Linux; its end is the result."""
    async with await stage.lab.namespace(NEAR).listen(ADDRESSES[NEAR][family]) as listener:
        port = listener.socket.getsockname()[1]
        choose_cubic(listener.socket)
        stage.ours.dial(ADDRESSES[FAR][family], ADDRESSES[NEAR][family], port)
        async with await listener.accept() as stream:
            yield stream


LINES = {
    "good": {},
    "lossy": {"delay": 0.005, "loss": 0.02},
    "reordering": {"delay": 0.005, "jitter": 0.004},
    "awful": {"delay": 0.005, "loss": 0.1, "jitter": 0.002},
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("family", [4, 6])
async def test_streams_arrive_whole_both_ways_when_we_dial(tmp_path: Path, family: int, line: str) -> None:
    up, down = os.urandom(SIZE), os.urandom(SIZE)
    if line == "awful":
        up, down = up[: SIZE // 10], down[: SIZE // 10]
    async with ours_and_linux(tmp_path, Line(**LINES[line])) as stage, dialled(stage, family) as linux:
        ours = stage.ours
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await ours.send_all(up)
                await ours.send_eof()

            @nursery.start_soon
            async def _() -> None:
                await linux.send_all(down)
                await linux.send_eof()

            received = bytearray()
            while len(received) < len(down):
                received += await ours.receive_some()
            assert await ours.receive_some() == b""
            theirs = bytearray()
            async for part in linux:
                theirs += part
        assert theirs == up
        assert received == down


@pytest.mark.parametrize("family", [4, 6])
async def test_linux_dials_and_ends_first(tmp_path: Path, family: int) -> None:
    async with ours_and_linux(tmp_path, Line()) as stage:
        async with await stage.lab.namespace(NEAR).connect(ADDRESSES[FAR][family], 80) as linux:
            await linux.send_all(b"question")
            await linux.send_eof()
            assert await stage.ours.receive_some() == b"question"
            assert await stage.ours.receive_some() == b""
            await stage.ours.send_all(b"answer")
            await stage.ours.send_eof()
            assert await linux.receive_some() == b"answer"
            assert await linux.receive_some() == b""
        await stage.ours.wait_for(lambda connection: connection.state is State.CLOSED)


async def test_a_port_where_nobody_listens_refuses(tmp_path: Path) -> None:
    async with ours_and_linux(tmp_path, Line()) as stage:
        stage.ours.dial(ADDRESSES[FAR][4], ADDRESSES[NEAR][4], 9)
        with pytest.raises(ConnectionRefusedError):
            await stage.ours.wait_for(lambda connection: connection.is_established)


async def test_linux_resets_and_is_reset(tmp_path: Path) -> None:
    async with ours_and_linux(tmp_path, Line()) as stage, dialled(stage, 4) as linux:
        await stage.ours.send_all(b"unread")
        await stage.ours.wait_for(lambda connection: not connection.unsent)
        await linux.aclose()
        with pytest.raises(ConnectionResetError):
            await stage.ours.wait_for(lambda connection: connection.at_eof)
    async with ours_and_linux(tmp_path / "again", Line()) as stage, dialled(stage, 4) as linux:
        connection = await stage.ours.wait_for(lambda connection: connection.is_established)
        connection.abort(trio.current_time())
        stage.ours.flush()
        with pytest.raises(trio.BrokenResourceError):
            await linux.receive_some()


async def test_a_slow_reader_stops_linux_and_lets_it_go_on(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with ours_and_linux(tmp_path, Line()) as stage, dialled(stage, 4) as linux, trio.open_nursery() as nursery:
        nursery.start_soon(linux.send_all, data)
        connection = await stage.ours.wait_for(lambda connection: connection.readable > 200_000)
        await trio.sleep(0.5)
        assert connection.readable <= 512 * 1024
        received = bytearray()
        while len(received) < len(data):
            received += await stage.ours.receive_some()
        assert received == data


async def test_a_slow_linux_stops_us_and_lets_us_go_on(tmp_path: Path) -> None:
    data = os.urandom(12_000_000)
    async with ours_and_linux(tmp_path, Line()) as stage, dialled(stage, 4) as linux, trio.open_nursery() as nursery:
        nursery.start_soon(stage.ours.send_all, data)
        # Longer than until the window is shut and was asked for.
        await trio.sleep(1.0)
        received = bytearray()
        while len(received) < len(data):
            received += await linux.receive_some(1 << 20)
        assert received == data


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_goodput_on_a_lossy_line_is_near_that_of_linux(tmp_path: Path, direction: str) -> None:
    async with linux_and_linux(tmp_path / "linux", Line(**LOSSY, random=random.Random(5))) as (one, other):
        theirs = await goodput(one.send_all, other.receive_some, seconds=GOODPUT_SECONDS)
    line = Line(**LOSSY, random=random.Random(5))
    async with ours_and_linux(tmp_path / "ours", line) as stage, dialled(stage, 4) as linux:
        if direction == "up":
            ours = await goodput(stage.ours.send_all, linux.receive_some, seconds=GOODPUT_SECONDS)
        else:
            ours = await goodput(linux.send_all, stage.ours.receive_some, seconds=GOODPUT_SECONDS)
    print(f"{direction}: ours {ours * 8 / 1e6:.1f} Mbit/s, Linux {theirs * 8 / 1e6:.1f}, ratio {ours / theirs:.2f}")
    assert ours >= LEAST_RATIO * theirs
