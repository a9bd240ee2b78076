"""Who has not been heard of for three heartbeats is unreachable: one event and one alert, until it is heard again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board, now_us
from pharos.helm.model.alerts import Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.wire.link import LinkState
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

# security.md §3: detected within 45 s. A link that is up is pinged after each 15 s of silence.
HEARTBEAT: Final = 15 * SECONDS
MISSES: Final = 3
LOOK_EVERY: Final = 5 * SECONDS
KIND: Final = "unreachable"


@attrs.define
class Reach:
    """Judges silence, by the monotonic clock in seconds. A pure machine."""

    _heard: dict[str, float] = attrs.field(factory=dict)
    _missing: set[str] = attrs.field(factory=set)

    def look(self, up: dict[str, bool], now: float) -> tuple[list[str], list[str]]:
        """Return who has become unreachable and who is back, of the members by id and whether each link is up."""
        gone, back = [], []
        for member_id in self._heard.keys() - up.keys():
            del self._heard[member_id]
            self._missing.discard(member_id)
        for member_id, is_up in up.items():
            if is_up:
                self._heard[member_id] = now
                if member_id in self._missing:
                    self._missing.discard(member_id)
                    back.append(member_id)
            elif now - self._heard.setdefault(member_id, now) >= MISSES * HEARTBEAT and member_id not in self._missing:
                self._missing.add(member_id)
                gone.append(member_id)
        return gone, back

    def forgive(self, now: float) -> None:
        """Count anew from now: we slept, and they did not."""
        self._heard = dict.fromkeys(self._heard, now)


async def run_reach(
    store: Store, board: Board, wakes: Wakes, *, clock: Callable[[], float] = trio.current_time
) -> NoReturn:
    """Watch the board until cancelled."""
    reach, woken = Reach(), wakes.count
    while True:
        await trio.sleep(LOOK_EVERY)
        if wakes.count != woken:
            woken = wakes.count
            reach.forgive(clock())
        up = {
            member_id: sighting.state is LinkState.UP
            for member_id, sighting in board.seen().items()
            if sighting.state is not LinkState.REFUSED
        }
        gone, back = reach.look(up, clock())
        for member_id in gone:
            board.unreachable(member_id)
        if gone or back:
            try:
                await store.run(write_down, {member_id: board.of(member_id).name for member_id in gone}, back)
            except (BusyError, DatabaseCorruptError) as error:
                log.warning("who is unreachable could not be written down: %s", error)


def write_down(db: Database, gone: dict[str, str], back: list[str]) -> None:
    """Raise the alerts of those who are gone, by id and name, and clear those of who are back."""
    act = Act(actor="helm", at=now_us(), via="helm")
    for member_id, name in gone.items():
        text = f"{name or member_id} has not answered for {MISSES * HEARTBEAT:.0f} s"
        raise_alert(db, act, KIND, Severity.CRITICAL, text, subject=member_id)
    for member_id in back:
        clear_alert(db, act, KIND, member_id)
