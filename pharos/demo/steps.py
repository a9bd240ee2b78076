"""Named steps with their times, and what is said of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import click
import trio

from pharos.wire.units import SECONDS

# No step takes a tenth of it on a quiet machine; a step that hangs must not hang the demo.
STEP_TIMEOUT: Final = 60 * SECONDS


@attrs.frozen(kw_only=True)
class Step:
    """One step as it went."""

    name: str
    ok: bool
    seconds: float
    detail: str

    def as_json(self) -> dict[str, Any]:
        """Return the step for the closing JSON document."""
        return {"name": self.name, "ok": self.ok, "seconds": round(self.seconds, 3), "detail": self.detail}


class Steps:
    """Runs steps one after the other; after one that failed none is run."""

    def __init__(self, *, quiet: bool) -> None:
        self.done: list[Step] = []
        self._quiet = quiet

    @property
    def ok(self) -> bool:
        """Whether every step so far held."""
        return all(step.ok for step in self.done)

    async def run(self, name: str, act: Callable[[], Awaitable[str]]) -> None:
        """Run one step; ``act`` returns what it found, in a few words.

        Raises: Exception — whatever ``act`` raised, once the step is recorded as failed.
        """
        if not self._quiet and sys.stdout.isatty():
            click.echo(f"  …  {name}", nl=False)
        start = time.perf_counter()
        try:
            with trio.fail_after(STEP_TIMEOUT):
                detail = await act()
        except Exception as error:
            self._record(Step(name=name, ok=False, seconds=time.perf_counter() - start, detail=_sentence(error)))
            raise
        self._record(Step(name=name, ok=True, seconds=time.perf_counter() - start, detail=detail))

    def _record(self, step: Step) -> None:
        self.done.append(step)
        if self._quiet:
            return
        mark = click.style("ok", fg="green") if step.ok else click.style("no", fg="red", bold=True)
        back = "\r" if sys.stdout.isatty() else ""
        click.echo(f"{back}  {mark}  {step.name:<20}{step.seconds:7.2f} s   {step.detail}")


def _sentence(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
