"""A pytest plugin that writes what became of a run: ``-p tests.support.tally --tally FILE``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tally", type=Path, help="write the counts of this run here, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers report to the process that started them, which counts for all.
    path = config.getoption("--tally")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally(path), "tally-writer")


class Tally:
    """Counts outcomes and collects the reasons of skips."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed = 0
        self._failed = 0
        self._skips: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed += 1
        elif report.skipped:
            # A skip is told as a triple of path, line and reason.
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            self._skips[reason] = self._skips.get(reason, 0) + 1
        elif report.when == "call":
            self._passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._failed += report.failed
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self._skips[reason] = self._skips.get(reason, 0) + 1

    def pytest_sessionfinish(self) -> None:
        counts = {"passed": self._passed, "failed": self._failed, "skips": self._skips}
        self._path.write_text(json.dumps(counts))
