"""Records that somebody changes all the time."""

from __future__ import annotations

import itertools
from typing import Any

import trio

from pharos.helm.live.board import now_us
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.records import change_record, get_record
from tests.support.webfleet.stage import Stage

# What is changed together is one transaction, as an import is.
EVERY = 0.1


async def keep_changing(stage: Stage, rate: list[float]) -> None:
    """Change the note of ``rate[0]`` devices a second until cancelled, one after the other and round again."""
    devices = itertools.cycle(stage.devices.values())
    owed = 0.0
    numbers = itertools.count()

    def change(db: Database, chosen: list[Any]) -> None:
        act = Act(actor="import", at=now_us())
        for device_id in chosen:
            device = get_record(db, DEVICES, device_id)
            change_record(db, DEVICES, device_id, device.version, {"note": f"note {next(numbers)}"}, act)

    while True:
        await trio.sleep(EVERY)
        owed += rate[0] * EVERY
        if owed >= 1 and stage.devices:
            await stage.context.store.run(change, list(itertools.islice(devices, int(owed))))
            owed -= int(owed)
