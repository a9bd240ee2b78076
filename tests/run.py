"""`make test`: run what this machine can run, say what is missing in one line each, and count at the end.

Suites that need root, Chromium or minutes join with ``CI=true`` or ``SUITE=all``. With ``CI=true`` only a fixed list of
absent peers may be skipped; any other skip fails the run.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.suites import HEAVY
from tests.support.vectors import vectors_folder

ROOT = Path(__file__).resolve().parent.parent
# How an absent peer says so: all that CI accepts as a reason to skip. What a test may wait for that the set-up does
# not bring is named here and nowhere else.
ABSENT_PEERS = (
    "published test vectors are not at",
    "amneziawg-go is not on the PATH",
    "xray is not on the PATH",
)
# Two, as the machines have cores. Tests share nothing; the tests of one file, which may share a fixture, stay together.
# In the order of their names, so that the long ones of few tests, attacks and fleets, are not what comes last.
IN_TWO = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
SIDE_BY_SIDE = ("system",)
"""The heavy suites that run in two processes as well: labs have names of their own. The others, which measure how long
a person or a fleet waits or take both cores by themselves, have the machine for themselves; stories of the lab have
slack enough, and are marked as both."""
# Exit codes of pytest: all passed, some failed, none was there to run.
ORDINARY = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: list[str]) -> int:
    """Run the quick tests, and the heavy ones if they are wanted, and print the closing line."""
    strict = os.environ.get("CI") == "true"
    heavy, together = " or ".join(HEAVY), " or ".join(SIDE_BY_SIDE)
    runs = [["-m", f"not ({heavy})", *IN_TWO]]
    if strict or os.environ.get("SUITE") == "all":
        runs += [["-m", together, *IN_TWO], ["-m", f"({heavy}) and not ({together})"]]
    passed = failed = 0
    skips: collections.Counter[str] = collections.Counter()
    for run in [arguments] if arguments else runs:
        counts = run_pytest(run)
        passed += counts["passed"]
        failed += counts["failed"]
        skips.update(counts["skips"])
    print("absent peers:", "; ".join(absent_peers()) or "none")
    for reason, count in sorted(skips.items()):
        print(f"skipped {count}: {reason}")
        if strict and not any(text in reason for text in ABSENT_PEERS):
            failed += count
            print("  with CI=true this counts as a failure: only absent peers may be skipped")
    if len(runs) == 1 and not arguments:
        print(f"not run: the suites {', '.join(HEAVY)} (SUITE=all, after .ci/deps as root)")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def run_pytest(arguments: list[str]) -> dict[str, int]:
    """Run pytest once and return its counts; a run that broke down counts as one failure more."""
    with tempfile.TemporaryDirectory() as scratch:
        tally = Path(scratch) / "tally.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.tally", "--tally", str(tally), *arguments]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        counts = json.loads(tally.read_text()) if tally.exists() else {"passed": 0, "failed": 0, "skips": {}}
    if code not in ORDINARY or (code == pytest.ExitCode.TESTS_FAILED and not counts["failed"]):
        counts["failed"] += 1
    return dict(counts)


def absent_peers() -> list[str]:
    """Return what each absent peer says of itself."""
    absent = []
    try:
        vectors_folder()
    except pytest.skip.Exception as reason:
        absent.append(str(reason))
    if shutil.which("amneziawg-go") is None:
        absent.append("amneziawg-go is not on the PATH")
    if shutil.which(os.environ.get("PHAROS_XRAY", "xray")) is None:
        absent.append("xray is not on the PATH")
    return absent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
