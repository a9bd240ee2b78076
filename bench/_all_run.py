"""Run benches, each in a process of its own with a limit on its time: one that fails does not lose the others."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from bench._all_results import KEPT, ROOT, Result, keep, this_machine, this_moment
from bench.limits import BENCHES

APART: Final = "install"
"""It builds packages and whole machines, and runs when it is named."""
USUAL: Final = tuple(bench.name for bench in BENCHES if bench.name != APART)

QUICK_LIMIT: Final = 240.0
FULL_LIMIT: Final = 1800.0
"""Seconds: some times what the longest takes on a machine with nothing else to do."""
_GRACE: Final = 30.0
"""Seconds to clean up after an interrupt: namespaces, machines, daemons."""


def run_all(names: Iterable[str], *, run: Callable[[str], Result], folder: Path = KEPT) -> list[Result]:
    """Run these benches in turn, keep each result at once, and return them."""
    results = []
    for name in names:
        print(f"== {name}", flush=True)
        result = run(name)
        keep(result, folder=folder)
        print(f"== {name}: {result.error or f'{len(result.figures)} figures'} after {result.seconds:.0f} s", flush=True)
        results.append(result)
    return results


def command(name: str, *, quick: bool) -> list[str]:
    """Return the words that run a bench."""
    return [sys.executable, "-m", f"bench.{name}", *(["--quick"] if quick else [])]


def run_bench(name: str, words: Sequence[str], *, quick: bool, limit: float | None = None) -> Result:
    """Run one by these words; what it prints is passed on, but for its last line, which is its result."""
    moment, began = this_moment(), time.monotonic()
    lines, error = _output(words, limit or (QUICK_LIMIT if quick else FULL_LIMIT))
    figures: dict[str, float] = {}
    if not error:
        figures, error = _read(name, lines)
    return Result(
        bench=name,
        quick=quick,
        figures=figures,
        error=error,
        seconds=round(time.monotonic() - began, 1),
        machine=this_machine(),
        moment=moment,
    )


def _read(name: str, lines: Sequence[str]) -> tuple[dict[str, float], str]:
    """Return the figures of the last line, or why there are none."""
    try:
        last = json.loads(lines[-1])
        if last["bench"] != name:
            return {}, f"its last line is of {last['bench']!r}"
        return {str(figure): float(value) for figure, value in last["figures"].items()}, ""
    except (IndexError, ValueError, TypeError, KeyError, AttributeError):
        return {}, "its last line is no result"


def _output(words: Sequence[str], limit: float) -> tuple[list[str], str]:
    """Return what a program printed, and what went wrong; all that it started has ended then."""
    # In a session of its own, so that its workers can be ended with it.
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints: queue.Queue[str] = queue.Queue()
    lines: list[str] = []
    readers = {
        process.stdout: threading.Thread(target=_pass_on, args=(process.stdout, sys.stdout, lines.append), daemon=True),
        process.stderr: threading.Thread(
            target=_pass_on, args=(process.stderr, sys.stderr, complaints.put), daemon=True
        ),
    }
    for reader in readers.values():
        reader.start()
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=limit)
    finally:
        _end(process)
        for pipe, reader in readers.items():
            # What has a session of its own may hold the pipe for longer; that is waited for no more.
            reader.join(timeout=_GRACE)
            if not reader.is_alive():
                pipe.close()
    if code is None:
        return lines, f"it took more than {limit:.0f} s"
    # Only now has everything been read that it said.
    return lines, (_last_of(complaints) or f"it ended with code {code}") if code else ""


def _pass_on(source: IO[str], out: IO[str], note: Callable[[str], None]) -> None:
    for line in source:
        note(line.rstrip("\n"))
        # The line for programs is this run's to print, once and last.
        if not line.startswith('{"bench"'):
            out.write(line)
            out.flush()


def _last_of(complaints: queue.Queue[str]) -> str:
    """Return what it said last of why, which a traceback says in its last line."""
    said = ""
    while not complaints.empty():
        said = complaints.get().strip(" |+-") or said
    return said.removeprefix("could not measure: ")[:300]


def _end(process: subprocess.Popen[str]) -> None:
    """Have it clean up if it still runs, and end whatever of its session is left."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
