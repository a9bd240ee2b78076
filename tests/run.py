"""`make test`: run what this machine can run, say what is missing in one line each, and count at the end.

Suites that need root, Chromium or minutes join with ``CI=true`` or ``SUITE=all``. With ``CI=true`` only a fixed list of
absent peers may be skipped; any other skip fails the run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.vectors import vectors_folder

# What a test may wait for that the set-up does not bring, and how to get it: all that CI accepts as a reason to skip.
ABSENT_PEERS = {"vectors": "published test vectors are not at"}


class Tally:
    """Counts outcomes and collects the reasons of skips."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.skips: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one report."""
        if report.failed:
            self.failed += 1
        elif report.skipped:
            # A skip is told as a triple of path, line and reason.
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            self.skips[reason] = self.skips.get(reason, 0) + 1
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a module that does not even import."""
        self.failed += report.failed


def main(arguments: list[str]) -> int:
    """Run pytest with ``arguments`` and print the closing line."""
    tally = Tally()
    code = pytest.main([*arguments], plugins=[tally])
    strict = os.environ.get("CI") == "true"
    print("absent peers:", "; ".join(absent_peers()) or "none")
    for reason, count in sorted(tally.skips.items()):
        allowed = any(text in reason for text in ABSENT_PEERS.values())
        print(f"skipped {count}: {reason}")
        if strict and not allowed:
            tally.failed += count
            print("  with CI=true this counts as a failure: only absent peers may be skipped")
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        tally.failed = max(tally.failed, 1)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


def absent_peers() -> list[str]:
    """Return what each absent peer says of itself."""
    absent = []
    try:
        vectors_folder()
    except pytest.skip.Exception as reason:
        absent.append(str(reason))
    return absent


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    sys.exit(main(sys.argv[1:]))
