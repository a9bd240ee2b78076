"""Run the tests that record a figure of a promise, and make docs/reliability.md of what they measured.

    python -m bench.reliability [--page]

All suites join; as root, for some need namespaces or machines. The run is kept in ``.cache/reliability``; ``--page``
makes the page of it anew and runs nothing. The last line is one JSON object: how many rows have a figure, and how many
tests passed and failed. Exit code 1 means that a test failed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench._all_results import ROOT, this_machine, this_moment
from bench._reliability_page import Run, write_page
from bench.promises import PROMISES
from bench.support import report
from tests.run import run_pytest
from tests.support.figures import VARIABLE, Fault, read

KEPT: Final = ROOT / ".cache" / "reliability" / "run.json"
_RECORDS: Final = re.compile(r"^from tests\.support\.figures import (\([^)]*|[^\n(]*)\brecord\b", re.M)
_FAULT: Final = re.compile(r"\bFault\.([A-Z_]+)\b")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="make the page of what was kept, and run nothing")
    asked = parser.parse_args(arguments)
    faults = recording_files(ROOT / "tests")
    if asked.page:
        run = Run.from_json(KEPT.read_text()) if KEPT.exists() else None
    else:
        run = run_tests(sorted(faults))
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(run.to_json())
    write_page(run, harness(faults))
    figures = run.figures if run is not None else ()
    rows = {figure.fault for figure in figures}
    for promise in PROMISES:
        if promise.fault not in rows:
            print(f"no figure: {promise.fault.value}")
    counts = {"rows": len(PROMISES), "rows_with_figures": len(rows), "figures": len(figures)}
    if run is not None:
        counts |= {"passed": run.passed, "failed": run.failed}
    report("reliability", {name: float(count) for name, count in counts.items()})
    return 1 if run is not None and run.failed else 0


def recording_files(tests: Path) -> dict[str, list[Fault]]:
    """Return the test files that record figures, by their paths from the root, and of which faults they speak."""
    found = {}
    for file in sorted(tests.rglob("test_*.py")):
        text = file.read_text()
        if _RECORDS.search(text):
            named = dict.fromkeys(_FAULT.findall(text))
            found[file.relative_to(tests.parent).as_posix()] = [Fault[name] for name in named]
    return found


def harness(faults: dict[str, list[Fault]]) -> dict[Fault, list[str]]:
    """Return the files of each fault: those that record a figure of it, and those that show it without one."""
    found = {fault: [file for file, named in faults.items() if fault in named] for fault in Fault}
    for promise in PROMISES:
        found[promise.fault] = sorted({*found[promise.fault], *promise.tests})
    return found


def run_tests(files: list[str]) -> Run:
    """Run them all, in one process, and gather what they record."""
    moment, began = this_moment(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.jsonl"
        path.touch()
        os.environ |= {"SUITE": "all", VARIABLE: str(path)}
        counts = run_pytest(files)
        figures = tuple(read(path))
    return Run(
        figures=figures,
        passed=counts["passed"],
        failed=counts["failed"],
        seconds=round(time.monotonic() - began, 1),
        machine=this_machine(),
        moment=moment,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
