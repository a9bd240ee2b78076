"""The lab is what it says: quick, whole, cut where it is told, alone, and gone afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import trio

from tests.system.lab import janitor
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.owner import running_owner
from tests.system.lab.processes import pids_with
from tests.system.lab.traffic import round_trips, send_datagrams, transfer

pytestmark = pytest.mark.system

BUILD_TIME = 0.5
OWNER = """
import trio
from pathlib import Path
from tests.system.lab.network import open_lab

async def main(folder):
    async with open_lab(Path(folder)) as lab:
        sleeper = await lab.start("buoya", "sleep", "1000")
        print(lab.name, sleeper.pid, flush=True)
        await trio.sleep_forever()
"""


async def reaches(lab: Lab, source: str, target: str) -> bool:
    host = lab.host(target)
    return all([await round_trips(lab, source, address, count=1) for address in (host.address4, host.address6)])


async def is_cut_off(lab: Lab, source: str, target: str) -> bool:
    host = lab.host(target)
    addresses = (host.address4, host.address6)
    return not any([await round_trips(lab, source, address, count=1, patience=0.3) for address in addresses])


async def wait_gone(lab: str, pid: int) -> None:
    while True:
        if not janitor.namespaces(lab) and janitor.start_time(pid) is None:
            return
        await trio.sleep(0.01)


async def test_lab_is_built_quickly(tmp_path: Path) -> None:
    taken = []
    with trio.fail_after(60):
        for _ in range(5):
            begin = time.perf_counter()
            async with open_lab(tmp_path):
                taken.append(time.perf_counter() - begin)
    assert min(taken) < BUILD_TIME, taken


async def test_everybody_reaches_everybody_public_and_nobody_reaches_helm(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            public = ("buoya", "buoyb", "beacon", "clienta", "clientb")
            for source in ("helm", *public):
                for target in public:
                    assert await reaches(lab, source, target), (source, target)
            assert await is_cut_off(lab, "buoya", "helm")


async def test_cut_host_is_alone_until_it_is_joined_again(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            for host in ("buoya", "helm"):
                async with lab.cut(host):
                    assert await is_cut_off(lab, host, "beacon")
                    assert await reaches(lab, "clienta", "beacon")
                assert await reaches(lab, host, "beacon")


@pytest.mark.parametrize("family", [4, 6])
async def test_drop_is_one_way(tmp_path: Path, family: int) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            async with lab.drop("buoya", "clienta"):
                assert len(await send_datagrams(lab, "clienta", "buoya", count=20, family=family)) == 20
                assert await send_datagrams(lab, "buoya", "buoyb", count=20, family=family)
                with trio.move_on_after(0.5) as waiting:
                    await send_datagrams(lab, "buoya", "clienta", count=20, family=family)
                assert waiting.cancelled_caught
            assert len(await send_datagrams(lab, "buoya", "clienta", count=20, family=family)) == 20


@pytest.mark.parametrize("family", [4, 6])
async def test_random_loss_takes_its_share(tmp_path: Path, family: int) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            async with lab.lose("buoya", 0.3):
                arrived = await send_datagrams(lab, "clienta", "buoya", count=2000, family=family)
            # Six standard deviations of a fair die.
            assert abs(len(arrived) / 2000 - 0.7) < 6 * (0.3 * 0.7 / 2000) ** 0.5
            assert len(await send_datagrams(lab, "clienta", "buoya", count=100, family=family)) == 100


async def test_what_is_forbidden_does_not_leave_a_host(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            async with lab.forbid("clienta", "meta l4proto udp", "meta l4proto { icmp, icmpv6 }"):
                with trio.move_on_after(0.5) as waiting:
                    await send_datagrams(lab, "clienta", "buoya", count=20)
                assert waiting.cancelled_caught
                assert await is_cut_off(lab, "clienta", "buoya")
                assert len(await send_datagrams(lab, "buoya", "clienta", count=20)) == 20
                assert await transfer(lab, "clienta", "buoya", size=1000) > 0
            assert len(await send_datagrams(lab, "clienta", "buoya", count=20)) == 20


async def test_labs_stand_side_by_side(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as one, open_lab(tmp_path) as other:
            async with one.cut("beacon"):
                assert await is_cut_off(one, "clienta", "beacon")
                assert await reaches(other, "clienta", "beacon")


async def test_nothing_is_left_when_the_block_raises(tmp_path: Path) -> None:
    with trio.fail_after(60):
        with pytest.raises(ZeroDivisionError):
            async with open_lab(tmp_path) as lab:
                sleeper = await lab.start("buoya", "sleep", "1000")
                pid = sleeper.pid
                assert len(janitor.namespaces(lab.name)) == 8
                raise ZeroDivisionError
        assert janitor.namespaces(lab.name) == []
        assert janitor.start_time(pid) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_of_an_owner_that_a_signal_ends(tmp_path: Path, number: signal.Signals) -> None:
    with trio.fail_after(60):
        async with running_owner(OWNER, str(tmp_path)) as (owner, (lab, pid)):
            assert len(janitor.namespaces(lab)) == 8
            owner.send_signal(number)
            await owner.wait()
            await wait_gone(lab, int(pid))


async def test_what_a_killed_janitor_left_is_swept_and_the_living_are_not(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as living, running_owner(OWNER, str(tmp_path)) as (owner, (lab, pid)):
            (child,) = pids_with(lab, "janitor.py")
            os.kill(child, signal.SIGKILL)
            owner.kill()
            await owner.wait()
            # Another lab that opens meanwhile may be the one that sweeps.
            janitor.sweep()
            await wait_gone(lab, int(pid))
            assert len(janitor.namespaces(living.name)) == 8
            assert await reaches(living, "clienta", "beacon")
