"""The guards of ``conftest.py`` and of the configuration do fail what they have to fail."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import everything_wanted

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("system", "journey", "browser", "sim")

SAMPLE = """
import gc
import logging
import warnings

import pytest
import trio

log = logging.getLogger("sample")


def test_that_logs_an_error():
    log.error("something broke")


def test_that_logs_an_error_in_a_nursery_task():
    async def fail():
        log.error("something broke")

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    trio.run(main)


def test_that_looks_at_its_error(caplog):
    log.error("something broke")
    assert "something broke" in caplog.text
    caplog.clear()


def test_that_logs_a_warning():
    log.warning("only odd")


def test_that_warns():
    warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_that_forgets_to_await():
    trio.sleep(0)
    gc.collect()


async def test_that_is_async():
    await trio.lowlevel.checkpoint()


@pytest.mark.xfail
def test_that_passes_against_its_mark():
    pass
"""
ENDED = {
    # The guard speaks at teardown, where pytest calls a failure an error; either way the run is red.
    "that_logs_an_error": "error",
    "that_logs_an_error_in_a_nursery_task": "error",
    "that_looks_at_its_error": "passed",
    "that_logs_a_warning": "passed",
    "that_warns": "failure",
    "that_forgets_to_await": "failure",
    "that_is_async": "passed",
    "that_passes_against_its_mark": "failure",
}


def lay_down(folder: Path, sample: str, *, guards: bool) -> None:
    folder.mkdir(parents=True)
    (folder / "test_sample.py").write_text(sample)
    if guards:
        (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())


def heavy_sample() -> str:
    return "import pytest\n" + "".join(f"@pytest.mark.{mark}\ndef test_{mark}(): pass\n" for mark in HEAVY)


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Run the tests below ``folder`` under this project's configuration in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "SUITE", "PYTEST_ADDOPTS")}
    return subprocess.Popen(
        [
            *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            *["-c", ROOT / "pyproject.toml", "--rootdir", folder, f"--junitxml={folder}/report.xml", folder],
        ],
        cwd=ROOT,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcomes(folder: Path, run: subprocess.Popen[str], code: pytest.ExitCode) -> dict[str, str]:
    """Wait for a run, and say how each of its tests ended."""
    output, _ = run.communicate(timeout=60)
    assert run.returncode == code, output
    found: dict[str, str] = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        where = case.attrib["classname"].partition(".")[0]
        found[f"{where}: {case.attrib['name'].removeprefix('test_')}"] = kinds[0] if kinds else "passed"
    return found


def test_errors_and_warnings_fail_and_heavy_suites_join_only_when_asked(tmp_path: Path) -> None:
    usual, asked = tmp_path / "usual", tmp_path / "asked"
    lay_down(usual / "guarded", SAMPLE, guards=True)
    # Red proof: without `conftest.py` beside it, an ERROR in the log goes unseen.
    lay_down(usual / "bare", SAMPLE, guards=False)
    for folder in (usual, asked):
        lay_down(folder / "heavy", heavy_sample(), guards=True)
    unseen = {"that_logs_an_error": "passed", "that_logs_an_error_in_a_nursery_task": "passed"}
    # Both at once, for most of the time is the start of an interpreter.
    with start(usual) as usual_run, start(asked, SUITE="all") as asked_run:
        assert outcomes(usual, usual_run, pytest.ExitCode.TESTS_FAILED) == {
            **{f"guarded: {name}": ended for name, ended in ENDED.items()},
            **{f"bare: {name}": ended for name, ended in (ENDED | unseen).items()},
            **{f"heavy: {name}": "skipped" for name in HEAVY},
        }
        assert outcomes(asked, asked_run, pytest.ExitCode.OK) == {f"heavy: {name}": "passed" for name in HEAVY}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"SUITE": "quick"}, False),
        ({"CI": "false"}, False),
        ({"SUITE": "all"}, True),
        ({"CI": "true"}, True),
    ],
)
def test_two_words_ask_for_every_suite(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, wanted: bool
) -> None:
    for name in ("CI", "SUITE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert everything_wanted() is wanted


def test_every_registered_mark_is_a_heavy_suite_or_of_the_table_of_attacks() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {mark.partition(":")[0] for mark in options["markers"]} == {*HEAVY, "row", "red_inside"}
    assert options["filterwarnings"][0] == "error"
    assert options["xfail_strict"] is True
    assert "--strict-markers" in options["addopts"]
