"""The test's end of a `Stage`: a process that is asked for things, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class RefusedError(Exception):
    """helm said no; the text is its own."""


class WebFleet:
    """A fleet in a process of its own; what it can be asked for is `tests.support.webfleet.process.Tasks`."""

    def __init__(self, folder: Path) -> None:
        self.address = ""
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.webfleet.process", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._read()

    def ask(self, task: str, **words: Any) -> Any:
        """Have one thing done, and return what came of it.

        Raises: RefusedError.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"task": task, **words}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def make(self, **words: Any) -> str:
        """Make the fleet and start it; return the page's address."""
        self.address = str(self.ask("make", **words))
        return self.address

    def get(self, path: str) -> Any:
        """Return what helm answers below ``/api/v1``."""
        return self.ask("ask", method="GET", path=f"/api/v1{path}")

    def act(self, method: str, path: str, body: Any = None, *, version: int | None = None) -> Any:
        """Do something by the operator's own socket, as from a terminal.

        Raises: RefusedError.
        """
        return self.ask("ask", method=method, path=f"/api/v1{path}", body=body, version=version)

    def find(self, noun: str, name: str) -> dict[str, Any]:
        """Return the record of that name."""
        (found,) = self.get(f"/{noun}?name={name}")["items"]
        return dict(found)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fleet died with code {self._process.wait()}:\n{self._log.read_text()[-4000:]}")
        answer = json.loads(line)
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        return answer["done"]

    def complaints(self) -> list[str]:
        """Return the ERROR lines of its log so far."""
        return [line for line in self._log.read_text().splitlines() if line.startswith(("ERROR", "CRITICAL"))]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def open_web_fleet(folder: Path, *, weak: dict[str, Any] | None = None, **words: Any) -> Iterator[WebFleet]:
    """Run a fleet while the block lasts; ``words`` are those of `WebFleet.make`, ``weak`` of `weaken`."""
    fleet = WebFleet(folder)
    try:
        if weak:
            fleet.ask("weaken", **weak)
        fleet.make(**words)
        yield fleet
    finally:
        fleet.close()
