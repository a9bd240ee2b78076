import pytest
import trio
import trio.testing

from pharos.wire.awg.memory import PacketQueue, memory_link


async def test_what_one_end_sends_the_other_receives():
    near, far = memory_link()
    near.send_packets_nowait([b"a", b"b"])
    far.send_packets_nowait([b"c"])
    assert await far.receive_packets() == [b"a", b"b"]
    assert await near.receive_packets() == [b"c"]


async def test_a_receiver_is_woken_by_packets(autojump_clock):
    near, far = memory_link()
    received = []

    async def receive():
        received.extend(await far.receive_packets())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        near.send_packets_nowait([])
        await trio.testing.wait_all_tasks_blocked()
        assert received == []
        near.send_packets_nowait([b"a"])
    assert received == [b"a"]


async def test_a_full_queue_drops_the_oldest_and_counts_them():
    queue = PacketQueue(3)
    queue.put_nowait([b"a", b"b"])
    queue.put_nowait([b"c", b"d"])
    assert queue.dropped == 1
    assert await queue.get() == [b"b", b"c", b"d"]
    queue.put_nowait([bytes([number]) for number in range(5)])
    assert queue.dropped == 3
    assert await queue.get() == [b"\2", b"\3", b"\4"]


async def test_packets_come_in_batches_and_others_get_their_turn():
    queue = PacketQueue(200)
    queue.put_nowait([b"x"] * 150)
    with trio.testing.assert_checkpoints():
        sizes = [len(await queue.get()) for _ in range(3)]
    assert sizes == [64, 64, 22]


async def test_a_closed_link_gives_what_it_holds_and_then_ends():
    near, far = memory_link()
    near.send_packets_nowait([b"last"])
    near.close()
    near.send_packets_nowait([b"late"])
    assert await far.receive_packets() == [b"last"]
    for end in (near, far):
        with pytest.raises(trio.EndOfChannel):
            await end.receive_packets()


async def test_closing_wakes_a_waiting_receiver():
    near, far = memory_link()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            with pytest.raises(trio.EndOfChannel):
                await far.receive_packets()

        await trio.testing.wait_all_tasks_blocked()
        near.close()


async def test_a_sender_can_wait_for_room_instead_of_losing_packets():
    near, far = memory_link(10)
    near.send_packets_nowait([b"x"] * 8)
    assert near.room == 2
    async with trio.open_nursery() as nursery:
        waited = trio.Event()

        @nursery.start_soon
        async def _() -> None:
            await near.wait_room()
            waited.set()

        await trio.testing.wait_all_tasks_blocked()
        assert not waited.is_set()
        await far.receive_packets()
        await waited.wait()
        assert near.room == 10


async def test_who_waits_for_room_on_a_link_that_is_closed_goes_on():
    near, _ = memory_link(2)
    near.send_packets_nowait([b"x"] * 2)
    near.close()
    with trio.fail_after(1):
        await near.wait_room()
