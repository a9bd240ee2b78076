"""`pharos demo`."""

from __future__ import annotations

import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import trio

from pharos.demo.errors import DemoError
from pharos.demo.processes import open_crew
from pharos.demo.site import open_site
from pharos.demo.steps import Steps
from pharos.demo.story import Story
from pharos.wire.console import Exit, reports_errors
from pharos.wire.files import open_state_directory

log = logging.getLogger(__name__)


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the last step; the exit code says whether every step held.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, and nothing else.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Keep states and logs here (default: nowhere).")
@reports_errors
def main(folder: Path | None, *, once: bool, as_json: bool) -> None:
    """Run a whole fleet on this machine: helm, a beacon, two buoys and a device, over real sockets, without root.

    \b
    Example:
      pharos demo
      pharos demo --once --json
    """
    steps = Steps(quiet=as_json)
    stay = not (once or as_json) and sys.stdout.isatty()
    with _folder(folder) as home:
        if not as_json:
            click.echo(f"A Pharos fleet on this machine, in {home}\n")
        start = time.perf_counter()
        trio.run(_run, home, steps, stay)
        seconds = time.perf_counter() - start
    if as_json:
        click.echo(json.dumps({"ok": steps.ok, "steps": [step.as_json() for step in steps.done]}))
    else:
        held = sum(step.ok for step in steps.done)
        click.echo(f"\n{held} of {len(steps.done)} steps held, in {seconds:.1f} s")
    sys.exit(Exit.DONE if steps.ok else Exit.FAILED)


async def _run(home: Path, steps: Steps, stay: bool) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop_on_signal)
            async with open_site() as site, open_crew(home) as crew:
                await _tell(Story(home, crew, steps, site), stay=stay)
            nursery.cancel_scope.cancel()


async def _tell(story: Story, *, stay: bool) -> None:
    try:
        await story.tell()
    except Exception as error:
        # The step's own line has said it in a sentence; the rest is for who looks closer.
        log.debug("the demo ended early", exc_info=error)
        return
    if stay:
        await story.restart_helm()
        click.echo(f"\nhelm is back, and lets you in once: {await story.admin_link()}\nCtrl-C ends the fleet")
        await trio.sleep_forever()


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        if wanted.exists() and any(wanted.iterdir()):
            raise DemoError(f"{wanted} is not empty; a demo begins with nothing")
        yield open_state_directory(wanted)
        return
    # A short path: a Unix socket's name has room for about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="pharos-") as scratch:
        yield Path(scratch)
