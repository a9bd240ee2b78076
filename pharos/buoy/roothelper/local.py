"""The root helper's work inside an agent that is root itself: in tests, and where no systemd could start a helper."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.netpolicy import NetworkKeeper
from pharos.buoy.roothelper.acts import Act, Answer
from pharos.buoy.roothelper.errors import ActFailedError, ActRefusedError
from pharos.buoy.roothelper.perform import Performer


class LocalRootHelper:
    """A `RootHelper` without a process of its own; ``run`` keeps the network policy in force.

    ``directory`` is where it remembers what the machine was before. Raises: StateFileError.
    """

    def __init__(self, directory: Path) -> None:
        self._keeper = NetworkKeeper(directory)
        self._performer = Performer(self._keeper)

    async def run(self) -> NoReturn:
        """Keep the network policy against whoever changes it, until cancelled."""
        await self._keeper.run()

    async def perform(self, act: Act) -> Answer:
        """Do an act. Raises: EngineError — the machine would not."""
        try:
            return await self._performer.perform(act)
        except (ActFailedError, ActRefusedError) as error:
            raise EngineError(f"{type(act).__name__}: {error}") from error
