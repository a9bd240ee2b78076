"""Row 25. Position: a beacon. Wants: to use up a ticket, or a device's keys, by keeping helm's answer to itself.

Countermeasure: a claim may be made again, and is answered as before, by the device with the same keys and by no other.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.sync import sync
from pharos.helm.accounts import claim
from pharos.helm.errors import NotAllowedError
from pharos.helm.store.devices import list_devices
from pharos.wire.errors import PeerRejectedError
from pharos.wire.seal.envelope import BUCKET
from pharos.wire.seal.ticket import TicketLink
from tests.support.evilbeacon import RelayFleet, cut_at, fleet_behind
from tests.support.frameforward import pass_on


async def device_ids(fleet: RelayFleet) -> list[str]:
    return [device.id for device in await fleet.helm.store.read(list_devices)]


async def lose_the_reply(fleet: RelayFleet) -> TicketLink:
    """Let a laptop claim a ticket, and keep the answer: the only frame that is as long as a bundle."""
    ticket = await fleet.invite()
    fleet.evil.edit_down = cut_at(BUCKET)
    with pytest.raises(NoAnswerError):
        await enroll(fleet.device("laptop"), ticket)
    fleet.evil.edit_down = lambda: pass_on
    assert len(await device_ids(fleet)) == 1, "helm has answered"
    return ticket


async def test_a25_device_whose_reply_was_dropped_asks_again(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        ticket = await lose_the_reply(fleet)
        for _ in range(2):
            # However often it is kept.
            fleet.evil.edit_down = cut_at(BUCKET)
            with pytest.raises(NoAnswerError):
                await enroll(fleet.device("laptop"), ticket)
        fleet.evil.edit_down = lambda: pass_on
        enrolled = await enroll(fleet.device("laptop"), ticket)
        assert await device_ids(fleet) == [enrolled.device_id]
        await sync(fleet.device("laptop"))


async def test_a25_other_keys_get_nothing_of_a_lost_reply(tmp_path: Path) -> None:
    """Whoever has the link, and sees to it that its owner hears nothing."""
    async with fleet_behind(tmp_path) as fleet:
        ticket = await lose_the_reply(fleet)
        with pytest.raises(HelmRefusedError, match="used up"):
            await enroll(fleet.device("thief"), ticket)
        enrolled = await enroll(fleet.device("laptop"), ticket)
        assert await device_ids(fleet) == [enrolled.device_id]


async def test_a25_turns_red_where_a_claim_is_answered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never_again(*_claim: object) -> NoReturn:
        raise NotAllowedError(claim.REFUSED)

    monkeypatch.setattr(claim, "_repeat", never_again)
    async with fleet_behind(tmp_path) as fleet:
        ticket = await lose_the_reply(fleet)
        with pytest.raises(HelmRefusedError, match="used up"):
            await enroll(fleet.device("laptop"), ticket)


async def test_a25_turns_red_where_any_keys_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thief is given the laptop's certificate and profile; only its own library throws them away."""
    async with fleet_behind(tmp_path) as fleet:
        ticket = await lose_the_reply(fleet)
        monkeypatch.setattr(claim, "hmac", SimpleNamespace(compare_digest=lambda _one, _other: True))
        with pytest.raises(PeerRejectedError, match="another key"):
            await enroll(fleet.device("thief"), ticket)
