"""What every bench needs: workers in processes of their own, interleaved rounds, medians, the last line."""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

# A connection costs a descriptor at each end; the soft limit is often 1,024.
_WANTED_FILES: Final = 4096


class Worker:
    """A Python module run in a process of its own, asked for work in JSON, one object a line.

    Its first line, read at the start, says that it is ready; it ends when its standard input does.
    """

    def __init__(self, module: str, *args: str) -> None:
        self.name = " ".join([module, *args[:1]])
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ready = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have one thing done, and return what the worker says of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

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


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios: what disturbed a whole round cancels out."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def raise_file_limit() -> None:
    """Allow this process and its children as many open files as they may have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def report(bench: str, figures: dict[str, float]) -> None:
    """Print the last line."""
    print(json.dumps({"bench": bench, "figures": {name: round(value, 3) for name, value in figures.items()}}))
