"""Runs workers side by side, each with its share of the seeds."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parent.parent.parent


async def stories(
    seeds: Sequence[int], told: Callable[[dict[str, Any]], None], workers: int = 1, more: Sequence[str] = ()
) -> None:
    """Have the stories of these seeds told, in so many processes; ``told`` hears of each as soon as it has ended.

    Raises: subprocess.CalledProcessError — a worker broke down.
    """
    async with trio.open_nursery() as nursery:
        for number in range(workers):
            if share := seeds[number::workers]:
                nursery.start_soon(_work, share, told, more)


async def _work(seeds: Sequence[int], told: Callable[[dict[str, Any]], None], more: Sequence[str]) -> None:
    command = [sys.executable, "-m", "tests.sim.worker", *map(str, seeds), *more]
    # Sets of strings have the same order in each process, and with it whatever is done one after the other.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    run = functools.partial(trio.run_process, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run, command)
        assert process.stdout is not None
        pending = b""
        async for piece in process.stdout:
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                told(json.loads(line))


def tell_all(seeds: Sequence[int], *, workers: int = 1, more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Have them told, and return how each ended, in the order of the seeds."""
    endings: list[dict[str, Any]] = []
    trio.run(stories, seeds, endings.append, workers, more)
    return sorted(endings, key=lambda ending: int(ending["seed"]))
