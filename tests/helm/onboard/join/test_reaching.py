"""A relay belongs to the fleet when helm itself has come to it: until then it turns devices away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from pharos.helm.onboard.join import reaching
from pharos.helm.onboard.join.desk import Adopted, Seen
from pharos.helm.onboard.join.parts import Part
from tests.support.fleet import running_fleet


@attrs.define
class Desk:
    """A helm whose link to the relay comes up at some time, and which may not run."""

    up_at: float
    running: bool = True
    looks: int = 0

    async def see(self, _part: Part, _member_id: str) -> Seen:
        self.looks += 1
        return Seen(version="", ordered=trio.current_time() >= self.up_at)


async def seconds_to_see(desk: Desk) -> float:
    site: Any = SimpleNamespace(desk=desk, adopted={Part.BEACON: Adopted(id="r", name="gate", grant="")})
    begun = trio.current_time()
    outcome = await reaching.see(site)
    assert outcome.says == "beacon answers"
    return trio.current_time() - begun


async def test_last_step_waits_for_helms_own_link_to_a_relay(autojump_clock: MockClock) -> None:
    desk = Desk(up_at=trio.current_time() + 7)
    assert 7 <= await seconds_to_see(desk) < 7 + 2 * reaching.POLL
    assert desk.looks > 2


async def test_nobody_waits_for_a_helm_that_does_not_run_or_does_not_come(autojump_clock: MockClock) -> None:
    assert await seconds_to_see(Desk(up_at=trio.current_time() + 1000, running=False)) == 0
    waited = await seconds_to_see(Desk(up_at=trio.current_time() + 1000))
    assert reaching.ORDERS_WAIT <= waited < reaching.ORDERS_WAIT + 2 * reaching.POLL


async def test_a_look_at_a_relay_tells_whether_helm_has_a_link_to_it(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=()) as fleet:
        [relay] = (await fleet.ask("GET", "/api/v1/relays?name=gate"))["items"]
        look = f"/api/v1/relays/{relay['id']}/see"
        assert (await fleet.ask("POST", look))["ordered"] is True
