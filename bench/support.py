"""What every bench needs: workers in processes of their own, interleaved rounds, medians, the last line."""

import functools
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeAlias

# A connection costs a descriptor at each end; the soft limit is often 1,024.
_WANTED_FILES: Final = 4096
_SCHED_CLOCK: Final = 2
"""CPUCLOCK_SCHED of Linux: the clock of a process by its pid, to the nanosecond, threads that have ended included."""


class Worker:
    """A Python module run in a process of its own, asked for work in JSON, one object a line.

    Its first line, ``ready``, is waited for when it is needed, so that several can start at once; the process ends when
    its standard input does.
    """

    def __init__(self, module: str, *args: str) -> None:
        self.name = " ".join([module, *args[:1]])
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @functools.cached_property
    def ready(self) -> dict[str, Any]:
        """What the worker says of itself when it can work."""
        return self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have one thing done, and return what the worker says of it."""
        assert self.ready
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def cpu(self) -> float:
        """Return the seconds of CPU that the process has used."""
        return cpu_seconds(self._process.pid)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} died with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def workers() -> Iterator[Callable[..., Worker]]:
    """Give a function that starts workers; they are closed with the block, the last one first."""
    started: list[Worker] = []

    def start(module: str, *args: str) -> Worker:
        worker = Worker(module, *args)
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in reversed(started):
            worker.close()


def interleave(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run every measure once per round, in turn and in changing order, so that a disturbance hits all."""
    results: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(measures[name]())
    return results


class Measured(Protocol):
    """What one transfer gave: its rate, and the seconds of CPU for so much of it."""

    @property
    def rate(self) -> float: ...
    @property
    def cpu(self) -> float: ...


Rounds: TypeAlias = dict[str, list[float]]


def rates_and_cpu(
    rounds: int, transfers: Mapping[str, Callable[[], Measured]], *, rate: str, cpu: str
) -> tuple[Rounds, Rounds]:
    """Return rate and CPU of every transfer in every round, and show them by these titles, CPU in milliseconds."""
    results: dict[str, list[Measured]] = {name: [] for name in transfers}

    def measure(name: str) -> float:
        result = transfers[name]()
        results[name].append(result)
        return result.rate

    measures: dict[str, Callable[[], float]] = {name: functools.partial(measure, name) for name in transfers}
    interleave(1, measures)  # warm up
    for found in results.values():
        found.clear()
    rates = interleave(rounds, measures)
    used = {name: [result.cpu for result in found] for name, found in results.items()}
    show(rate, rates)
    show(cpu, {name: [1000 * each for each in found] for name, found in used.items()})
    return rates, used


def cpu_seconds(pid: int) -> float:
    """Return the seconds of CPU that a process has used so far, exactly. Raises: OSError — there is none."""
    return time.clock_gettime((~pid << 3) | _SCHED_CLOCK)


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios: what disturbed a whole round cancels out."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of ``values`` that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def raise_file_limit() -> None:
    """Allow this process and its children as many open files as they may have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def show(title: str, results: Mapping[str, Sequence[float]]) -> None:
    """Print medians, and between what values they lie, for people to read."""
    shown = ", ".join(
        f"{name} {statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"
        for name, values in results.items()
    )
    print(f"{title}: {shown}", flush=True)


def report(bench: str, figures: dict[str, float]) -> None:
    """Print the last line."""
    print(json.dumps({"bench": bench, "figures": {name: round(value, 3) for name, value in figures.items()}}))
