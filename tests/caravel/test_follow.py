"""When a device that follows comes back: by its back-off, when it was told to, at news, and not for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pharos.caravel import follow as module
from pharos.caravel.errors import LockedStoreError
from pharos.caravel.follow import POLL_EVERY, SHORT_LIVES, follow
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.reach import Reach
from pharos.caravel.sync import SyncOutcome
from pharos.wire.errors import LinkLostError, PeerRejectedError

OUTCOME = SyncOutcome(changed=False, epoch=1, revision=1)


class Network:
    """Passages that last as long as the test says, one after another."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        life: Callable[[int], float],
        retry_after: float = 0,
        trouble: Exception | None = None,
    ) -> None:
        self.began: list[float] = []
        self._trouble = trouble
        self._life = life
        self._retry_after = retry_after
        monkeypatch.setattr(module, "keep_passages", self._keep)
        monkeypatch.setattr(module, "ask", self._ask)

    async def _keep(self, _dial: Any, use: Any, *, random: Any) -> None:
        self.began.append(trio.current_time())
        lost = LinkLostError("gone")
        lost.retry_after = self._retry_after
        life = self._life(len(self.began))
        if life > 0:
            with trio.move_on_after(life):
                await use(SimpleNamespace(notes=self._notes()))
        raise ExceptionGroup("", [self._trouble or lost])

    async def _ask(self, _passage: Any, _store: Any) -> Any:
        return SimpleNamespace(keep=lambda: OUTCOME)

    @staticmethod
    async def _notes() -> AsyncIterator[Any]:
        await trio.sleep_forever()
        yield

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.began, self.began[1:], strict=False)]


async def run_for(seconds: float, path: Path, reach: Reach | None = None, random: float = 0.5) -> None:
    with trio.move_on_after(seconds):
        await follow(ProfileStore(path), random=lambda: random, told=lambda _: None, reach=reach)


async def test_device_asks_every_quarter_of_an_hour_where_no_passage_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    network = Network(monkeypatch, lambda _: 1.0)
    await run_for(4 * POLL_EVERY, tmp_path / "s")
    quick, slow = network.pauses[: SHORT_LIVES - 1], network.pauses[SHORT_LIVES - 1 :]
    assert all(pause < 5 for pause in quick)
    assert slow
    assert all(0.5 * POLL_EVERY <= pause <= 1.5 * POLL_EVERY + 5 for pause in slow)


async def test_polling_devices_do_not_keep_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    last = []
    for number, random in enumerate((0.0, 0.999)):
        network = Network(monkeypatch, lambda _: 1.0)
        await run_for(4 * POLL_EVERY, tmp_path / str(number), random=random)
        last.append(network.pauses[SHORT_LIVES])
    assert last[1] - last[0] > 0.9 * POLL_EVERY


async def test_passage_that_holds_is_held_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    network = Network(monkeypatch, lambda _: 100.0)
    await run_for(30 * 60, tmp_path / "s")
    assert len(network.began) > 15
    assert all(pause < 102 for pause in network.pauses)


async def test_dials_in_vain_are_as_far_apart_as_the_back_off_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    network = Network(monkeypatch, lambda _: 0)
    await run_for(600, tmp_path / "s", random=1.0)
    assert network.pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert set(network.pauses[6:]) == {30}


async def test_what_the_relay_asks_for_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    network = Network(monkeypatch, lambda _: 0, retry_after=70)
    await run_for(300, tmp_path / "s")
    assert set(network.pauses) == {70}


async def test_news_of_the_ways_end_every_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    network, reach = Network(monkeypatch, lambda _: 1.0), Reach()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, 10 * POLL_EVERY, tmp_path / "s", reach)
        await trio.sleep(60)
        before = len(network.began)
        assert before == SHORT_LIVES, "it polls by now"
        reach.tell()
        await trio.sleep(module.NEWS_JITTER + 1)
        assert len(network.began) >= before + 1
        assert network.pauses[before - 1] < 65
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "trouble",
    [LockedStoreError("locked meanwhile"), OSError("no space left"), PeerRejectedError("somebody else answers")],
    ids=["locked", "full disk", "impostor"],
)
async def test_trouble_of_this_machine_is_told_and_ends_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception,
) -> None:
    network = Network(monkeypatch, lambda _: 1.0, trouble=trouble)
    await run_for(300, tmp_path / "s")
    assert len(network.began) >= 3
    assert min(network.pauses) >= module.TROUBLE
    assert str(trouble) in caplog.text
