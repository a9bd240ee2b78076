from ipaddress import ip_address

import attrs
import pytest
import trio

from pharos.wire.awg.icmp import build_echo, parse_echo
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.ping import ping

NODE, DEVICE = ip_address("10.7.0.1"), ip_address("10.7.0.2")


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
