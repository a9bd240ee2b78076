"""``make attacks``: run the tests of the attacks' rows, and say of each whether it is red and green.

All suites are run, those that need root, namespaces or Chromium too; what cannot be run here says so in its row. Exit
code 1 if a row is not red and green.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.finding import files_of
from tests.attacks.rows import CLAIMED, TABLE, chosen_rows
from tests.attacks.verdicts import Outcome, Verdict, table, verdict_on
from tests.run import IN_TWO, ORDINARY, ROOT, SIDE_BY_SIDE
from tests.support.suites import HEAVY

ALONE = tuple(suite for suite in HEAVY if suite not in SIDE_BY_SIDE)
TOGETHER = " or ".join(SIDE_BY_SIDE)


def main(arguments: Sequence[str]) -> int:
    """Run what was chosen, print the table, and the closing line if it was asked for."""
    asked = read_arguments(arguments)
    chosen = asked.rows or frozenset(TABLE)
    outcomes, broken = run_rows(chosen)
    verdicts = [verdict_on(TABLE[number], outcomes) for number in sorted(chosen)]
    print("\n".join(table(verdicts)))
    for reason in broken:
        print(f"broken: {reason}")
    good = [verdict for verdict in verdicts if verdict.red and verdict.green]
    print(f"{len(good)} of {len(verdicts)} rows are red and green")
    if asked.json:
        print(closing_line(verdicts))
    return 0 if len(good) == len(verdicts) and not broken else 1


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make attacks", description=__doc__)
    parser.add_argument("--rows", type=chosen_rows, metavar="11,12-16", help="these rows only")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args(arguments)


def closing_line(verdicts: Sequence[Verdict]) -> str:
    """Return the line that programs read; rows of our own beyond the claimed ones stand apart in it."""
    claimed = [verdict.as_json() for verdict in verdicts if verdict.row.number in CLAIMED]
    further = [verdict.as_json() for verdict in verdicts if verdict.row.number not in CLAIMED]
    return json.dumps({"rows": claimed, "further": further})


def run_rows(chosen: frozenset[int]) -> tuple[list[Outcome], list[str]]:
    """Run the tests of these rows; return what became of each, and what broke down."""
    outcomes: list[Outcome] = []
    broken: list[str] = []
    files = [*map(str, files_of(chosen))]
    # As tests.run does: the quick ones in two processes, then the suites with what each needs for itself.
    for options in (
        ("-m", f"not ({' or '.join(HEAVY)})", *IN_TWO),
        ("-m", TOGETHER, *IN_TWO),
        ("-m", f"({' or '.join(ALONE)}) and not ({TOGETHER})"),
    ):
        results = run_pytest(chosen, [*options, *files])
        outcomes += map(Outcome.read, results["tests"])
        broken += results["broken"]
    return outcomes, broken


def run_pytest(chosen: frozenset[int], arguments: Sequence[str]) -> dict[str, list[Any]]:
    """Run pytest once with the plugin, and return what it wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "results.json"
        rows = ",".join(map(str, sorted(chosen)))
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "tests.attacks.plugin"]
        command += ["--attack-rows", rows, "--attack-results", str(path), *arguments]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "SUITE": "all"}, check=False).returncode
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tests": [], "broken": []}
    if code not in ORDINARY or (code == pytest.ExitCode.TESTS_FAILED and not anything_failed(results)):
        results["broken"].append(f"pytest ended with code {code}")
    return dict(results)


def anything_failed(results: dict[str, list[Any]]) -> bool:
    return bool(results["broken"]) or any(test["outcome"] == "failed" for test in results["tests"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
