"""Keeping what was set: news is looked at, what fails is done again, and what others changed since is left to them."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system import killswitch, routing
from pharos.caravel.system.killswitch import Keeper, keep, undo_nft
from pharos.caravel.system.nft import Portal
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.restore import Places, open_journal
from pharos.caravel.system.routing import SWITCH, set_switch, undo_routing, undo_switch

PLAN = SystemPlan(addresses=("10.7.0.2/24",))
ELEMENT, RULE = 10 << 8 | 12, 10 << 8 | 6


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the kernel's end of a socket of netlink."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.settimeout(0.0)
    monkeypatch.setattr(killswitch, "open_news", lambda protocol, groups: ours)
    with kernel:
        yield kernel


def message(kind: int) -> bytes:
    return struct.pack("=IHHII", 20, kind, 0, 0, 0) + bytes(4)


async def test_news_is_a_reason_to_look_unless_it_is_a_trifle(news: socket.socket) -> None:
    looks = 0
    looked = trio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        looked.set()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await keep(0, 0, look, trifles={ELEMENT}, task_status=task_status)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            for _ in range(3):
                news.send(message(ELEMENT))
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert looks == 0
            news.send(message(ELEMENT) + message(RULE))
            await looked.wait()
            assert looks == 1
            nursery.cancel_scope.cancel()


async def test_a_look_that_fails_is_repeated_until_it_does_not(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[Portal | None] = []
    up = trio.Event()

    async def put_up(plan: SystemPlan, portal: Portal | None) -> None:
        tries.append(portal)
        if len(tries) < 3:
            raise SystemModeError("nft: busy")
        up.set()

    async def read_table() -> str:
        return "table"

    monkeypatch.setattr(killswitch, "put_up", put_up)
    monkeypatch.setattr(killswitch, "read_table", read_table)
    keeper = Keeper(PLAN)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run_wishes)
        keeper.set_portal_nowait(Portal())
        await up.wait()
        nursery.cancel_scope.cancel()
    assert tries == [Portal()] * 3
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["nft: busy"] * 2
    caplog.clear()


async def test_the_table_is_put_up_again_only_if_it_is_not_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str | None] = ["one"]
    ups = 0

    async def put_up(plan: SystemPlan, portal: Portal | None) -> None:
        nonlocal ups
        ups += 1
        listed[0] = f"of try {ups}"

    async def read_table() -> str | None:
        return listed[0]

    monkeypatch.setattr(killswitch, "put_up", put_up)
    monkeypatch.setattr(killswitch, "read_table", read_table)
    keeper = Keeper(PLAN)
    await keeper.put_up()
    assert not await keeper.look()
    for changed in ("another's", None):
        listed[0] = changed
        assert await keeper.look()
        assert not await keeper.look()
    assert ups == 3


async def test_no_table_of_others_is_ever_removed() -> None:
    with pytest.raises(SystemModeError, match="no table of ours"):
        await undo_nft({"table": "filter"})


async def test_a_note_of_routes_that_is_not_ours_is_refused() -> None:
    with pytest.raises(SystemModeError, match="not ours"):
        await undo_routing({"routes": [{"network": "everything"}], "rules": []})


@pytest.fixture
def switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "sys"
    path.mkdir()
    monkeypatch.setattr(routing, "SWITCHES", path)
    return path


async def test_a_switch_is_put_back_unless_somebody_has_set_it_since(tmp_path: Path, switches: Path) -> None:
    switch = switches / "mark"
    switch.write_text("0\n")
    with open_journal(Places(running=tmp_path / "run", lasting=tmp_path / "lib")) as journal:
        set_switch(journal, "mark", "1")
        assert switch.read_text() == "1"
        await journal.undo({SWITCH: undo_switch})
        assert switch.read_text() == "0"
        set_switch(journal, "mark", "1")
        switch.write_text("2")
        await journal.undo({SWITCH: undo_switch})
        assert switch.read_text() == "2"


def test_a_switch_that_is_so_or_is_not_there_is_not_noted(tmp_path: Path, switches: Path) -> None:
    (switches / "mark").write_text("1\n")
    with open_journal(Places(running=tmp_path / "run", lasting=tmp_path / "lib")) as journal:
        set_switch(journal, "mark", "1")
        set_switch(journal, "absent", "1")
        assert journal.entries == ()
    assert not (switches / "absent").exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd"])
async def test_a_switch_is_one_of_the_network(switches: Path, name: str) -> None:
    with pytest.raises(SystemModeError, match="no switch of the network"):
        await undo_switch({"name": name, "before": "0", "value": "1"})
