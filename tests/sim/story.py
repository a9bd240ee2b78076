"""One seed, one story: how large the fleet is, what happens to it, and what came of that."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.wire.world import inhabiting
from tests.sim.clockwork import run_seeded
from tests.sim.fleet import Size, found_fleet, open_fleet, resume_fleet
from tests.sim.storm import Storm, rage
from tests.sim.watch import BrokenInvariantError

SIZES: Final[dict[Size, int]] = {
    Size(nodes=3, beacons=1, devices=4): 45,
    Size(nodes=5, beacons=2, devices=5): 30,
    Size(nodes=8, beacons=2, devices=6): 15,
    Size(nodes=12, beacons=2, devices=6): 8,
    Size(nodes=50, beacons=2, devices=6): 2,
}
"""Fleets, and how often of a hundred."""
STEPS: Final = 20
AGE: Final = 24 * 3600.0
"""Seconds. No clock is set to before the fleet was founded: helm itself does not start then."""
# What daemons have to say loudly of a disk that is full or broken is no bug of theirs.
_OF_DISKS: Final = re.compile(r"the disk does not take it|cannot be written|could not be written|read-only|is full")


@attrs.frozen(kw_only=True)
class Ending:
    """How a story went."""

    seed: int
    failed: str
    """What does not hold; empty: all does."""
    steps: int
    nodes: int
    virtual: float
    """Seconds of virtual time."""
    seconds: float
    """Of this machine's CPU."""
    trace: str
    """SHA-256 of what happened."""
    told: tuple[str, ...] = attrs.field(repr=False)
    """What happened."""


class Teller:
    """Tells stories; the files that fleets begin with are made once each."""

    def __init__(self, folder: Path, *, web_port: int) -> None:
        self._folder = folder
        self._web_port = web_port
        self._templates: dict[Size, Path] = {}
        self._number = 0

    def tell(
        self,
        seed: int,
        *,
        steps: int = STEPS,
        weakness: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Ending:
        """Tell the story of a seed; while it is told the build has a ``weakness``."""
        chance = random.Random(seed)
        (size,) = chance.choices(list(SIZES), list(SIZES.values()))
        template, started = self._template(size), time.process_time()
        told: list[str] = [f"{size.nodes} nodes, {size.beacons} beacons, {size.devices} devices"]
        virtual = 0.0

        async def story() -> None:
            nonlocal virtual
            async with open_fleet(
                self._fresh(), seed=seed, web_port=self._web_port, age=AGE, note=told.append
            ) as fleet:
                await resume_fleet(fleet, size, template)
                # The others sync now and then, as a device that its user opens.
                for device in list(fleet.devices.values())[::2]:
                    await device.start()
                try:
                    # Whoever looks is where helm is, or the looking would be done in real threads.
                    with inhabiting(fleet.helm.world):
                        await rage(Storm(fleet, chance, told.append), steps=steps)
                finally:
                    virtual = trio.current_time()

        failed = ""
        with _errors() as errors, weakness():
            try:
                run_seeded(seed, story)
            except* BrokenInvariantError as group:
                failed = str(_first(group))
            except* Exception as group:
                first = _first(group)
                failed = f"{type(first).__name__}: {first}"
                logging.getLogger(__name__).warning("seed %d", seed, exc_info=first)
        if errors and not failed:
            failed = f"an error was logged: {errors[0]}"
        return Ending(
            seed=seed,
            failed=failed,
            steps=steps,
            nodes=size.nodes,
            virtual=virtual,
            seconds=time.process_time() - started,
            trace=hashlib.sha256("\n".join(told).encode()).hexdigest(),
            told=tuple(told),
        )

    def _template(self, size: Size) -> Path:
        if size not in self._templates:
            folder = self._fresh()

            async def found() -> None:
                async with open_fleet(folder, seed=0, web_port=self._web_port) as fleet:
                    await found_fleet(fleet, size)
                    for machine in fleet.machines:
                        await machine.stop()

            run_seeded(0, found)
            self._templates[size] = folder
        return self._templates[size]

    def _fresh(self) -> Path:
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir()
        return folder


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


@contextmanager
def _errors() -> Iterator[list[str]]:
    """Collect what daemons log as errors."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not _OF_DISKS.search(record.getMessage()):
                found.append(record.getMessage())

    handler = Collector(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)
