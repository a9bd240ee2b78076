"""Who has not been heard of for three heartbeats is unreachable: one event, until it is heard again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board
from pharos.wire.link import LinkState
from pharos.wire.units import SECONDS

# security.md §3: detected within 45 s. A link that is up is pinged after each 15 s of silence.
HEARTBEAT: Final = 15 * SECONDS
MISSES: Final = 3
LOOK_EVERY: Final = 5 * SECONDS


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


async def run_reach(board: Board, wakes: Wakes, *, clock: Callable[[], float] = trio.current_time) -> NoReturn:
    """Watch the board until cancelled; who is unreachable is an alert by `pharos.helm.alerts.watch`."""
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
        for member_id in reach.look(up, clock())[0]:
            board.unreachable(member_id)
