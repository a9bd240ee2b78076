"""The owner's end of the relay's process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.system.lab.commands import CommandError
from tests.system.lab.impair import Counts

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT = 30.0
END_TIMEOUT = 10.0


def relay_command(one: str, other: str) -> list[str]:
    """Return the words that run a relay between two TAP devices, which it makes."""
    return [sys.executable, "-m", "tests.system.lab.relay", one, other]


class RelayProcess:
    """A relay that is ready; ``open_relay`` makes it."""

    def __init__(self, orders: trio.abc.SendStream, answers: trio.abc.ReceiveStream) -> None:
        self._orders, self._answers = orders, answers

    async def finish(self) -> tuple[Counts, Counts]:
        """End it, and return what became of the frames of each direction."""
        with trio.fail_after(END_TIMEOUT):
            await self._orders.aclose()
            report = b"".join([part async for part in self._answers])
        up, down = (Counts(**counts) for counts in json.loads(report))
        return up, down


@asynccontextmanager
async def open_relay(words: Sequence[str], setting: Mapping[str, Any]) -> AsyncIterator[RelayProcess]:
    """Run a relay while the block lasts.

    Raises: CommandError — it did not start; why is on standard error.
    """
    process = await trio.lowlevel.open_process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            with trio.fail_after(START_TIMEOUT):
                await process.stdin.send_all(json.dumps(setting).encode() + b"\n")
                said = b""
                while not said.endswith(b"\n"):
                    more = await process.stdout.receive_some()
                    if not more:
                        raise CommandError("the relay did not start")
                    said += more
            yield RelayProcess(process.stdin, process.stdout)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
