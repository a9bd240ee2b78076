"""The Trio stream over REALITY, between a device and a node in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from pharos.wire.errors import TruncatedError
from pharos.wire.reality.dial import start_reality
from pharos.wire.reality.errors import AlertReceivedError, RecordForgedError
from pharos.wire.reality.stream import SLICE, RealityStream
from tests.support.reality import NOW, accept, seeded, settings


async def meet(near: trio.abc.HalfCloseableStream, far: trio.abc.HalfCloseableStream) -> list[RealityStream]:
    """Return device's and node's stream over the two ends of a transport."""
    found: dict[str, RealityStream] = {}

    async def device() -> None:
        found["device"] = await start_reality(near, settings(), now=NOW, random=seeded())

    async def node() -> None:
        found["node"] = await accept(far)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(device)
        nursery.start_soon(node)
    # What carries nothing, behind the handshake, is in front of this octet.
    await found["node"].send_all(b"!")
    assert await found["device"].receive_record() == b"!"
    return [found["device"], found["node"]]


async def in_memory() -> tuple[RealityStream, RealityStream]:
    device, node = await meet(*trio.testing.memory_stream_pair())
    return device, node


async def clogged() -> tuple[RealityStream, RealityStream]:
    """Sending waits until the other end receives, once the handshake is over."""
    device, node = await meet(*trio.testing.memory_stream_pair())
    near, far = trio.testing.lockstep_stream_pair()
    return RealityStream(near, device.connection), RealityStream(far, node.connection)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[RealityStream, RealityStream]]:
    device, node = await in_memory()
    async with device, node:
        yield device, node


async def test_it_keeps_trios_contract_of_a_stream_with_two_ends(autojump_clock: trio.testing.MockClock) -> None:
    await trio.testing.check_half_closeable_stream(in_memory, clogged)


async def test_a_large_buffer_arrives_whole_and_in_order() -> None:
    data = bytes(range(256)) * (3 * SLICE // 256) + b"tail"
    async with pair() as (device, node), trio.open_nursery() as nursery:
        nursery.start_soon(device.send_all, data)
        found = b""
        while len(found) < len(data):
            found += await node.receive_some()
        assert found == data


async def test_an_end_without_close_notify_is_no_end() -> None:
    async with pair() as (device, node):
        await node.send_all(b"data")
        await node.transport.send_eof()
        assert await device.receive_some() == b"data"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError):
                await device.receive_some()
        assert isinstance(device.failure, TruncatedError)
        with pytest.raises(trio.BrokenResourceError):
            await device.send_all(b"more")


async def test_a_forged_record_breaks_the_stream_and_the_peer_is_told() -> None:
    async with pair() as (device, node):
        await node.send_all(b"good")
        await node.transport.send_all(b"\x17\3\3\0\x20" + bytes(32))
        # What came before it is good.
        assert await device.receive_some() == b"good"
        with pytest.raises(trio.BrokenResourceError):
            await device.receive_some()
        assert isinstance(device.failure, RecordForgedError)
        with pytest.raises(trio.BrokenResourceError):
            await device.receive_some()
        await device.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await node.receive_some()
        assert isinstance(node.failure, TruncatedError | AlertReceivedError)


async def test_the_alert_reaches_the_peer_when_the_bad_record_came_alone() -> None:
    async with pair() as (device, node):
        await node.transport.send_all(b"\x17\3\3\0\x20" + bytes(32))
        with pytest.raises(trio.BrokenResourceError):
            await device.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await node.receive_some()
        assert isinstance(node.failure, AlertReceivedError)


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with pair() as (device, node):
        with trio.move_on_after(0) as scope:
            await device.receive_some()
        assert scope.cancelled_caught
        await node.send_all(b"data")
        assert await device.receive_some(2) == b"da"
        assert await device.receive_some() == b"ta"


async def test_after_a_cancelled_send_only_closing_is_left() -> None:
    device, node = await clogged()
    async with device, node:
        with trio.move_on_after(0.001) as scope:
            await device.send_all(b"data")
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError):
            await device.send_all(b"more")


async def test_one_task_sends_while_another_receives_and_no_third() -> None:
    device, node = await clogged()
    async with device, node:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.send_all, b"data")
            nursery.start_soon(device.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await device.send_all(b"more")
            with pytest.raises(trio.BusyResourceError):
                await device.receive_record()
            nursery.cancel_scope.cancel()


async def test_records_are_opened_one_at_a_time_until_tls_ends_in_each_direction() -> None:
    async with pair() as (device, node):
        await node.send_all(b"first")
        await node.send_all(b"last of TLS")
        node.end_tls_sending()
        await node.send_all(b"raw")
        assert await device.receive_record() == b"first"
        assert await device.receive_record() == b"last of TLS"
        device.end_tls_receiving()
        assert await device.receive_some() == b"raw"
        await node.send_all(b" and more")
        assert await device.receive_some(4) == b" and"
        assert await device.receive_some() == b" more"
        # The other direction is TLS as before.
        await device.send_all(b"sealed")
        assert await node.receive_some() == b"sealed"
        # Raw, the end is the transport's, and no record says it.
        await node.send_eof()
        assert await device.receive_some() == b""
        await device.send_eof()
        assert await node.receive_some() == b""


async def test_a_stream_that_ended_raw_sends_no_close_notify() -> None:
    async with pair() as (device, node):
        node.end_tls_sending()
        device.end_tls_receiving()
        await node.aclose()
        assert await device.receive_some() == b""


async def test_closing_says_so_authentically_even_when_cancelled() -> None:
    async with pair() as (device, node):
        with trio.CancelScope() as scope:
            scope.cancel()
            await node.aclose()
        assert await device.receive_some() == b""
        assert device.failure is None


async def test_closing_a_clogged_stream_takes_a_second_at_most(autojump_clock: trio.testing.MockClock) -> None:
    device, node = await clogged()
    start = trio.current_time()
    await device.aclose()
    assert trio.current_time() - start <= 1.0
    with contextlib.suppress(trio.BrokenResourceError):
        await node.aclose()


async def test_a_wanted_key_goes_out_with_the_next_data_and_receiving_waits_for_nothing() -> None:
    device, node = await clogged()
    async with device, node:
        async with trio.open_nursery() as nursery:
            node.connection.update_keys(request=True)
            nursery.start_soon(node.send_all, b"data")
            assert await device.receive_some() == b"data"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.send_all, b"answer")
            assert await node.receive_some() == b"answer"
        await trio.aclose_forcefully(device)


async def test_asking_for_nothing_is_our_mistake() -> None:
    async with pair() as (device, _):
        with pytest.raises(ValueError, match="at least 1"):
            await device.receive_some(0)
