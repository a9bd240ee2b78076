"""A pytest plugin that keeps the tests of chosen rows and writes what became of each.

``-p tests.attacks.plugin --attack-rows 1-74 --attack-results FILE``; with ``--collect-only`` it writes what there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.rows import chosen_rows, rows_of

PROPERTY = "attack"
"""Under this name a test's rows travel with its reports, also out of a worker of xdist."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attack-rows", help="run the tests of these rows only: 11,12-16")
    parser.addoption("--attack-results", type=Path, help="write what became of each test here, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers report to the process that started them, which writes for all.
    path = config.getoption("--attack-results")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(path), "attack-results")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    text = config.getoption("--attack-rows")
    chosen = None if text is None else chosen_rows(text)
    kept, dropped = [], []
    for item in items:
        share = share_of(item)
        if chosen is None or chosen.intersection(share["rows"]):
            item.user_properties.append((PROPERTY, share))
            kept.append(item)
        else:
            dropped.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


def share_of(item: pytest.Item) -> dict[str, Any]:
    """Return a test's rows, and whether it counts for their red, their green or both."""
    marked = [row for mark in item.iter_markers("row") for row in mark.args]
    name = item.name.partition("[")[0]
    turns_red, both = "turns_red" in name, item.get_closest_marker("red_inside") is not None
    return {"rows": rows_of(name, marked), "red": turns_red or both, "green": both or not turns_red}


class Results:
    """Collects the outcome of each test, the worst of its phases."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tests: dict[str, dict[str, Any]] = {}
        self._broken: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            share = dict(item.user_properties).get(PROPERTY)
            if isinstance(share, dict):
                self._tests[item.nodeid] = entry_of(item.nodeid, share)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        share = dict(report.user_properties).get(PROPERTY)
        if not isinstance(share, dict):
            # A worker that died reports the name only.
            name = report.nodeid.rpartition("::")[2].partition("[")[0]
            share = {"rows": rows_of(name, ()), "red": True, "green": True}
        test = self._tests.setdefault(report.nodeid, entry_of(report.nodeid, share))
        test["seconds"] += report.duration
        if report.failed:
            test.update(outcome="failed", why=reason_of(report))
        elif report.skipped and test["outcome"] != "failed":
            test.update(outcome="skipped", why=reason_of(report))
        elif report.when == "call" and test["outcome"] == "not run":
            test.update(outcome="passed")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed or report.skipped:
            self._broken.append(f"{report.nodeid}: {reason_of(report)}")

    def pytest_sessionfinish(self) -> None:
        results = {"tests": list(self._tests.values()), "broken": self._broken}
        self._path.write_text(json.dumps(results), encoding="utf-8")


def entry_of(nodeid: str, share: dict[str, Any]) -> dict[str, Any]:
    return {"test": nodeid, "outcome": "not run", "why": "", "seconds": 0.0, **share}


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return in one line why something failed or was skipped."""
    told = report.longrepr
    if isinstance(told, tuple):
        # A skip is told as a triple of path, line and reason.
        return told[2].removeprefix("Skipped: ")
    crash = getattr(told, "reprcrash", None)
    lines = str(told if crash is None else crash.message).strip().splitlines()
    if not lines:
        return "no reason given"
    return lines[0] if crash is not None else lines[-1]
