"""How long from a ticket to a bundle, and how many devices a second, through a beacon on loopback?"""

from __future__ import annotations

import time
from typing import Final

import trio

from bench._desk_fleet import Desk
from pharos.caravel.enrolment import enroll
from pharos.caravel.profiles.store import ProfileStore, generate_secrets
from pharos.wire.seal.ticket import TicketLink

IN_FLIGHT: Final = 8


class Devices:
    """Devices that have their keys and a ticket, and join when they are told."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._count = 0

    async def prepare(self, count: int) -> list[tuple[ProfileStore, TicketLink]]:
        """Make devices; what a person does before is not timed, and keys are made while they do it."""
        made = []
        for _ in range(count):
            self._count += 1
            store = ProfileStore(self._desk.folder / f"device-{self._count}")
            store.save_secrets(generate_secrets())
            made.append((store, await self._desk.invite(f"device {self._count}")))
        return made


async def one_after_another(devices: Devices, count: int) -> list[float]:
    """Return the seconds that each of so many enrolments took."""
    taken = []
    for store, link in await devices.prepare(count):
        began = time.perf_counter()
        await enroll(store, link)
        taken.append(time.perf_counter() - began)
    return taken


async def at_once(devices: Devices, count: int) -> float:
    """Return how many enrolments a second there were, with eight in flight."""
    waiting = await devices.prepare(count)
    began = time.perf_counter()

    async def work() -> None:
        while waiting:
            store, link = waiting.pop()
            await enroll(store, link)

    async with trio.open_nursery() as nursery:
        for _ in range(IN_FLIGHT):
            nursery.start_soon(work)
    return count / (time.perf_counter() - began)
