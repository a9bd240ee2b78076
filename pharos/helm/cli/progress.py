"""Showing an onboarding as it goes: a bar and a line a step on a terminal, plain lines elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pharos.helm.onboard.join.events import Event
    from pharos.helm.onboard.remote import Destination
    from pharos.helm.onboard.ssh.pins import HostKey
    from pharos.helm.onboard.ssh.prompts import Prompts

_WIDTH = 9
"""Of the longest step's name."""


class Printer:
    """Told of every event."""

    def __init__(self, *, as_json: bool, bars: Progress | None) -> None:
        self._as_json = as_json
        self._bars = bars
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        from pharos.helm.onboard.join import events

        if self._as_json:
            click.echo(json.dumps(events.event_json(event), ensure_ascii=False))
            return
        match event:
            case events.StepBegun():
                self._begin(event.step.value, event.says)
            case events.StepProgress():
                self._go_on(event.step.value, event.done, event.total, event.says)
            case events.StepDone():
                self._line(event.step.value, event.says, f"{event.seconds:.1f} s")
            case events.StepFailed():
                # What is to be done about it is in the command's own last line.
                self._line(event.step.value, "failed", f"{event.seconds:.1f} s")
            case events.StepUndone():
                self._line(event.step.value, event.says)
            case events.Planned():
                self._line(event.step.value, event.says if event.changes else f"({event.says})")
            case events.Joined():
                ids = ", ".join(f"{noun.removesuffix('s')} {one}" for noun, one in event.members.items())
                self._line("", f"it belongs to the fleet: {ids}", f"{event.seconds:.0f} s in all")
            case events.Stopped() if event.undone:
                self._line("", "all of it is undone")
            case events.Asked() | events.Stopped():
                pass

    def quiet(self, prompts: Prompts) -> Prompts:
        """Return somebody to ask in whose way no bar is."""
        return _Quiet(self, prompts)

    def pause(self) -> None:
        """Take the bar away, until the next event."""
        if self._bars is not None:
            self._bars.stop()

    def resume(self) -> None:
        """Put it back."""
        if self._bars is not None:
            self._bars.start()

    def _begin(self, step: str, says: str) -> None:
        if self._bars is not None:
            self._drop()
            self._task = self._bars.add_task(f"{step:{_WIDTH}} {says}", total=None)

    def _go_on(self, step: str, done: int | None, total: int | None, says: str) -> None:
        if self._bars is None:
            if says and not done:
                self._line(step, f"… {says}")
            return
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)
            if says:
                self._bars.update(self._task, description=f"{step:{_WIDTH}} {plain(says)}")

    def _line(self, step: str, says: str, more: str = "") -> None:
        text = f"{step:{_WIDTH}} {plain(says)}" + (f"  ({more})" if more else "")
        if self._bars is None:
            click.echo(text)
        else:
            from rich.text import Text

            self._drop()
            self._bars.console.print(Text(text), soft_wrap=True)

    def _drop(self) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


class _Quiet:
    """Somebody to ask, on a terminal where a bar moves."""

    def __init__(self, printer: Printer, prompts: Prompts) -> None:
        self._printer = printer
        self._prompts = prompts

    @property
    def answers(self) -> bool:
        return self._prompts.answers

    async def confirm_host_key(self, destination: Destination, key: HostKey) -> bool:
        with self._still():
            return await self._prompts.confirm_host_key(destination, key)

    async def ask(self, question: str, *, hidden: bool) -> str | None:
        with self._still():
            return await self._prompts.ask(question, hidden=hidden)

    async def tell(self, text: str) -> None:
        with self._still():
            await self._prompts.tell(text)

    @contextmanager
    def _still(self) -> Iterator[None]:
        self._printer.pause()
        try:
            yield
        finally:
            self._printer.resume()


@contextmanager
def printing(*, as_json: bool) -> Iterator[Printer]:
    """Show what happens while the block runs."""
    if as_json or not sys.stdout.isatty():
        yield Printer(as_json=as_json, bars=None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Octets(DownloadColumn):
        """Of a step that has any."""

        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task)

    columns: list[Any] = [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        Octets(binary_units=True),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=Console(), transient=True) as bars:
        yield Printer(as_json=False, bars=bars)


def plain(text: str) -> str:
    """Return text of which nothing moves the cursor: a machine may have said some of it."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)
