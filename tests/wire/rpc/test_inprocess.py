"""A connection within a process: bytes arrive in order and whole, and an end is told."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pharos.wire.rpc.inprocess import open_stream_pair


async def test_what_one_end_sends_the_other_receives_in_pieces_of_its_choice() -> None:
    one, two = open_stream_pair()
    await one.send_all(b"hello")
    assert await two.receive_some(2) == b"he"
    assert await two.receive_some(2) == b"ll"
    await one.send_all(memoryview(b"!"))
    assert await two.receive_some() == b"o"
    assert await two.receive_some() == b"!"
    await two.send_all(bytearray(b"back"))
    assert await one.receive_some(100) == b"back"


async def test_nothing_is_no_end() -> None:
    one, two = open_stream_pair()
    await one.send_all(b"")
    await one.send_all(b"x")
    assert await two.receive_some() == b"x"


async def test_sender_waits_for_a_reader_that_is_slow(autojump_clock: trio.testing.MockClock) -> None:
    one, two = open_stream_pair()
    await one.send_all(b"first")
    with trio.move_on_after(1) as patience:
        await one.send_all(b"second")
    assert patience.cancelled_caught
    assert await two.receive_some() == b"first"
    await one.send_all(b"third")
    assert await two.receive_some() == b"third", "a send that was cancelled has sent nothing"


async def test_reading_that_is_cancelled_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    one, two = open_stream_pair()
    with trio.move_on_after(1):
        await two.receive_some()
    await one.send_all(b"later")
    assert await two.receive_some() == b"later"


async def test_end_comes_after_what_was_sent_and_breaks_who_goes_on_sending() -> None:
    one, two = open_stream_pair()
    await one.send_all(b"last")
    await one.aclose()
    assert await two.receive_some() == b"last"
    assert await two.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await two.send_all(b"too late")
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"mine")
    with pytest.raises(trio.ClosedResourceError):
        await one.receive_some()
    await one.aclose()


async def test_reader_that_waits_is_woken_by_the_end() -> None:
    one, two = open_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.aclose)
        assert await two.receive_some() == b""
