from ipaddress import ip_address

import attrs
import pytest
import trio
import trio.testing

from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.icmp import Echo, build_echo, parse_echo
from pharos.wire.awg.memory import PacketQueue, memory_link
from pharos.wire.awg.ping import ping

NODE, DEVICE = ip_address("10.7.0.1"), ip_address("10.7.0.2")
REQUEST = Echo(source=DEVICE, destination=NODE, identifier=1, sequence=1)


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


async def test_the_echo_end_answers_for_its_addresses_only():
    end = EchoEnd([NODE, ip_address("fd00::1")])
    other = attrs.evolve(REQUEST, destination=ip_address("10.7.0.9"))
    end.send_packets_nowait([build_echo(other), b"\x45junk", build_echo(REQUEST)])
    (answer,) = await end.receive_packets()
    assert parse_echo(answer) == attrs.evolve(REQUEST, source=NODE, destination=DEVICE, reply=True)


async def answer(end, *, lose=(), delay=0.0):
    """Answer echoes like a node would, but lose some of them."""
    while True:
        for packet in await end.receive_packets():
            echo = parse_echo(packet)
            if echo.sequence not in lose:
                await trio.sleep(delay)
                reply = attrs.evolve(echo, source=echo.destination, destination=echo.source, reply=True)
                end.send_packets_nowait([build_echo(reply)] * 2 + [packet, b"\x45"])


async def test_ping_reports_every_reply_once_with_its_time(autojump_clock):
    near, far = memory_link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: answer(far, delay=0.005))
        report = await ping(near, source=DEVICE, destination=NODE, count=20)
        nursery.cancel_scope.cancel()
    assert (report.sent, report.received) == (20, 20)
    assert report.median == pytest.approx(0.005)
    assert max(report.round_trips) < 0.02


async def test_ping_waits_for_lost_replies_and_then_gives_up(autojump_clock):
    near, far = memory_link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: answer(far, lose={0, 7, 19}))
        begun = trio.current_time()
        report = await ping(near, source=DEVICE, destination=NODE, count=20, interval=0.1, patience=3.0)
        assert trio.current_time() - begun == pytest.approx(19 * 0.1 + 3.0)
        nursery.cancel_scope.cancel()
    assert report.received == 17


async def test_ping_without_any_reply_has_no_median(autojump_clock):
    near, _ = memory_link()
    report = await ping(near, source=DEVICE, destination=NODE, count=3)
    assert (report.received, report.median) == (0, None)
