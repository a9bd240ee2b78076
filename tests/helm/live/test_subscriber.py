"""Each place has a bounded queue: it coalesces when it grows, gives up with a gap, and never holds anybody up."""

from __future__ import annotations

import tracemalloc

import trio
import trio.testing

from pharos.helm.live.deltas import Batch, LiveEvent
from pharos.helm.live.subscriber import QUEUE_SIZE, Ending, Gap, Resync, Subscriber
from tests.support.live import batch, message, sequences


def subscriber(covered: int = 0) -> Subscriber:
    return Subscriber(None, covered)


async def test_who_keeps_up_gets_the_very_text_that_all_get() -> None:
    one, other, first = subscriber(), subscriber(), batch(1, 2)
    for place in (one, other):
        place.offer(first)
    assert await one.receive() is await other.receive() is first.text_for(None)


async def test_what_waits_is_one_message_and_the_newest_of_each_record() -> None:
    slow = subscriber()
    slow.offer(batch(1, 2, subject="a"))
    slow.offer(batch(3, subject="b"))
    slow.offer(batch(4, subject="a"))
    got = await message(slow)
    assert (sequences(got), got["sequence"]) == ([3, 4], 4)


async def test_receive_waits_for_what_comes() -> None:
    waiting, got = subscriber(), []

    async def receive() -> None:
        got.append(await message(waiting))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        waiting.offer(batch(1))
    assert [sequences(one) for one in got] == [[1]]


async def test_what_a_picture_holds_already_is_left_out() -> None:
    one = subscriber()
    one.offer(batch(1, 2))
    one.offer(batch(3, 4, subject="v"))
    one.skip(3)
    assert sequences(await message(one)) == [4]


async def test_changes_of_few_records_never_overflow() -> None:
    slow = subscriber()
    for number in range(5 * QUEUE_SIZE):
        slow.offer(batch(number + 1, subject=f"u{number % 100}"))
    got = await message(slow)
    assert sequences(got) == list(range(5 * QUEUE_SIZE - 99, 5 * QUEUE_SIZE + 1))


async def test_more_than_the_queue_holds_is_a_gap_that_goes_on_until_it_is_told() -> None:
    slow = subscriber(covered=10)
    for number in range(QUEUE_SIZE + 500):
        slow.offer(batch(number + 11, subject=f"u{number}"))
    assert await slow.receive() == Gap(11, QUEUE_SIZE + 510)
    slow.offer(batch(QUEUE_SIZE + 511))
    assert sequences(await message(slow)) == [QUEUE_SIZE + 511]


async def test_gap_of_events_alone_is_an_empty_range() -> None:
    slow = subscriber(covered=10)
    event = LiveEvent(sequence=1, at=1, kind="handshake")
    for _ in range(QUEUE_SIZE + 1):
        slow.offer(Batch((), [event], 10))
    assert await slow.receive() == Gap(11, 10)


async def test_reader_that_never_reads_costs_a_bounded_amount() -> None:
    stuck = subscriber()
    # What is measured is what stays, and Batch objects that are dropped do not.
    tracemalloc.start()
    try:
        for number in range(2 * QUEUE_SIZE):
            stuck.offer(batch(number + 1, subject=f"u{number}"))
        full, _ = tracemalloc.get_traced_memory()
        for number in range(2 * QUEUE_SIZE, 6 * QUEUE_SIZE):
            stuck.offer(batch(number + 1, subject=f"u{number}"))
        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert later <= 1.1 * full + 65536


async def test_resync_is_told_before_what_waits_and_once() -> None:
    one = subscriber()
    one.offer(batch(1))
    one.resync()
    one.resync()
    assert await one.receive() == Resync()
    assert sequences(await message(one)) == [1]


async def test_gap_is_answer_enough_to_a_resync() -> None:
    one = subscriber()
    one.resync()
    for number in range(QUEUE_SIZE + 1):
        one.offer(batch(number + 1, subject=f"u{number}"))
    assert isinstance(await one.receive(), Gap)
    one.offer(batch(9_999_999))
    assert sequences(await message(one)) == [9_999_999]


async def test_first_reason_to_end_is_the_one_and_nothing_comes_before_it() -> None:
    one = subscriber()
    one.offer(batch(1))
    one.end(4401, "signed out")
    one.end(1008, "later")
    assert await one.receive() == Ending(4401, "signed out")
    assert await one.receive() == Ending(4401, "signed out")


async def test_figures_that_nobody_takes_are_one_message() -> None:
    slow = Subscriber(None, 0, figures=True)
    for number in range(3 * QUEUE_SIZE):
        slow.offer(
            Batch((), (), 9, {"nodes": {"n": {"down": number}}, "fleet": {"down": number}}, {"sessions": number})
        )
    newest = 3 * QUEUE_SIZE - 1
    assert await message(slow) == {
        "sequence": 9,
        "figures": {"nodes": {"n": {"down": newest}}, "fleet": {"down": newest}},
        "counts": {"sessions": newest},
    }
