"""The relay between two bridges adds what it says, to real packets."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.system.lab.impair import Impairment
from tests.system.lab.network import open_lab
from tests.system.lab.traffic import round_trips, send_datagrams, transfer

pytestmark = pytest.mark.system

DELAY = 0.05
SLACK = 3
"""A busy machine is late, never early."""


async def test_delay_is_added_both_ways_and_taken_away_again(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            buoy = lab.host("buoya")
            for address in (buoy.address4, buoy.address6):
                assert min(await round_trips(lab, "clienta", address, count=3)) < DELAY
            async with lab.impair("buoya", Impairment(delay=DELAY), Impairment(delay=2 * DELAY)) as line:
                for address in (buoy.address4, buoy.address6):
                    # helm's way there has a NAT on it.
                    for source in ("clienta", "helm"):
                        taken = await round_trips(lab, source, address, count=8)
                        assert len(taken) == 8
                        assert 3 * DELAY <= min(taken) <= SLACK * 3 * DELAY, taken
            assert line.up.passed >= 32
            assert line.down.passed >= 32
            assert line.up.lost == line.up.overflowed == line.up.reordered == 0
            for address in (buoy.address4, buoy.address6):
                assert min(await round_trips(lab, "clienta", address, count=3)) < DELAY


async def test_jitter_varies_the_round_trip(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            async with lab.impair("buoya", Impairment(delay=DELAY, jitter=DELAY / 2), Impairment()):
                taken = await round_trips(lab, "clienta", lab.host("buoya").address4, count=20)
            assert min(taken) >= DELAY / 2
            assert max(taken) - min(taken) > DELAY / 10


async def test_connection_lives_through_a_line_that_turns_bad_and_good(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            address = lab.host("buoya").address6
            async with await lab.namespace("buoya").listen(address) as listener:
                port = listener.socket.getsockname()[1]
                near = await lab.namespace("helm").connect(address, port)
                far = await listener.accept()
            async with near, far:

                async def exchange() -> float:
                    begin = trio.current_time()
                    await near.send_all(b"?")
                    assert await far.receive_some() == b"?"
                    await far.send_all(b"!")
                    assert await near.receive_some() == b"!"
                    return trio.current_time() - begin

                await exchange()
                async with lab.impair("buoya", Impairment(delay=DELAY)):
                    assert min([await exchange() for _ in range(5)]) >= 2 * DELAY
                assert min([await exchange() for _ in range(5)]) < 2 * DELAY


@pytest.mark.parametrize("family", [4, 6])
async def test_loss_takes_its_share_of_datagrams(tmp_path: Path, family: int) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            # Neighbours find each other while the line is good: what is sent to nobody yet is lost as well.
            assert await send_datagrams(lab, "clienta", "buoya", count=10, family=family) == list(range(10))
            async with lab.impair("buoya", Impairment(), Impairment(loss=0.3)) as line:
                arrived = await send_datagrams(lab, "clienta", "buoya", count=1500, family=family)
            assert arrived == sorted(arrived)
            assert 0.6 < len(arrived) / 1500 < 0.8
            assert line.down.lost >= 1500 - len(arrived)


async def test_some_datagrams_overtake(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            async with lab.impair("buoya", Impairment(), Impairment(delay=DELAY, reorder=0.1)) as line:
                arrived = await send_datagrams(lab, "clienta", "buoya", count=500)
            early = sum(number < max(arrived[:place], default=-1) for place, number in enumerate(arrived))
            assert early > 0
            assert 20 < line.down.reordered < 100


@pytest.mark.parametrize("family", [4, 6])
async def test_bandwidth_is_limited_for_a_tcp_transfer(tmp_path: Path, family: int) -> None:
    rate, size = 250_000, 500_000
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            assert await transfer(lab, "clienta", "buoya", size=size, family=family) < size / rate
            async with lab.impair("buoya", Impairment(rate=rate)) as line:
                taken = await transfer(lab, "clienta", "buoya", size=size, family=family)
            assert size / rate <= taken <= SLACK * size / rate
            assert line.down.passed > size / 1500
