"""The table of attacks has tests: each row a red proof and a green test, and each test here a row."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.attacks.__main__ import closing_line, main
from tests.attacks.finding import OWN, TESTS, files_of, rows_in
from tests.attacks.rows import CLAIMED, ROWS, TABLE, chosen_rows, rows_named, rows_of
from tests.attacks.verdicts import Outcome, table, verdict_on


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Return every test of every row, as pytest itself collects them, and of this folder those of none besides."""
    results = tmp_path_factory.mktemp("rows") / "results.json"
    files = {*files_of(TABLE), *TESTS.glob("attacks/test_*.py")} - {OWN, TESTS / "attacks" / "test_document.py"}
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "tests.attacks.plugin"]
    command += ["--attack-results", str(results), *map(str, sorted(files))]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    found = json.loads(results.read_text(encoding="utf-8"))
    assert found["broken"] == []
    return [Outcome.read(entry) for entry in found["tests"]]


def test_table_has_each_claimed_row_once_and_others_behind_them() -> None:
    numbers = [row.number for row in ROWS]
    assert numbers[: len(CLAIMED)] == list(CLAIMED)
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_row_has_a_red_proof_and_a_green_test(collected: list[Outcome]) -> None:
    red = {row for test in collected if test.red for row in test.rows}
    green = {row for test in collected if test.green for row in test.rows}
    assert TABLE.keys() - red == set(), "no red proof"
    assert TABLE.keys() - green == set(), "no green test"


def test_every_test_here_belongs_to_a_row_of_the_table(collected: list[Outcome]) -> None:
    assert [test.test for test in collected if not test.rows and test.test.startswith("tests/attacks/")] == []
    assert {row for test in collected for row in test.rows} <= TABLE.keys()


def test_what_is_found_by_text_is_what_pytest_collects(collected: list[Outcome]) -> None:
    for path in {test.test.partition("::")[0] for test in collected}:
        rows = {row for test in collected if test.test.startswith(f"{path}::") for row in test.rows}
        assert rows_in((TESTS.parent / path).read_text(encoding="utf-8")) == rows, path


# -- names and choices


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("test_a07_edges_are_to_the_second", [7]),
        ("test_a35_to_a38_floods", [35, 36, 37, 38]),
        ("test_a7_short", []),
        ("test_something_of_a07", []),
    ],
)
def test_name_says_the_rows(name: str, rows: list[int]) -> None:
    assert list(rows_named(name)) == rows


def test_marks_come_to_the_name() -> None:
    assert rows_of("test_a07_edges", [62, 7]) == (7, 62)


@pytest.mark.parametrize(("text", "rows"), [("11", {11}), ("11,12-14", {11, 12, 13, 14}), ("1-74", set(CLAIMED))])
def test_choice_of_rows_is_read(text: str, rows: set[int]) -> None:
    assert chosen_rows(text) == rows


@pytest.mark.parametrize("text", ["", "0", "1-", "a", "3-2", "1,999"])
def test_choice_of_no_rows_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        chosen_rows(text)
    with pytest.raises(SystemExit):
        main(["--rows", text])


# -- verdicts


def outcome(kind: str, outcome: str, why: str = "") -> Outcome:
    """Return a test of row 7: red, green or both."""
    red, green = kind in ("red", "both"), kind in ("green", "both")
    return Outcome(test="a::b", rows=frozenset({7}), red=red, green=green, outcome=outcome, why=why, seconds=2.0)


@pytest.mark.parametrize(
    ("outcomes", "red", "green"),
    [
        ([("red", "passed"), ("green", "passed")], True, True),
        ([("both", "passed")], True, True),
        ([("both", "passed"), ("green", "skipped")], True, True),
        # Its green says nothing where the attack was never seen to work, or was not in this run.
        ([("green", "passed")], False, False),
        ([("red", "failed"), ("green", "passed")], False, False),
        ([("red", "skipped"), ("green", "passed")], False, False),
        ([("red", "passed"), ("red", "failed"), ("green", "passed")], False, False),
        ([("red", "passed"), ("green", "failed")], True, False),
        ([("red", "passed"), ("green", "passed"), ("green", "failed")], True, False),
        ([("red", "passed"), ("green", "skipped")], True, False),
        ([("red", "passed"), ("green", "not run")], True, False),
        ([("red", "passed")], True, False),
        ([("both", "failed")], False, False),
        ([("both", "skipped")], False, False),
        ([], False, False),
    ],
)
def test_green_counts_only_beside_its_red(outcomes: list[tuple[str, str]], red: bool, green: bool) -> None:
    verdict = verdict_on(TABLE[7], [outcome(*one) for one in outcomes])
    assert (verdict.red, verdict.green) == (red, green)
    # What is not red and green says why.
    assert bool(verdict.why) or (red and green)


def test_reasons_stand_in_the_table_and_in_the_closing_line() -> None:
    verdicts = [verdict_on(TABLE[row], [outcome("both", "skipped", "no root here")]) for row in (7, 8, 75)]
    assert "skipped 1: no root here" in "\n".join(table(verdicts))
    closing = json.loads(closing_line(verdicts))
    assert [(row["row"], row["red"], row["green"]) for row in closing["rows"]] == [(7, False, False), (8, False, False)]
    assert closing["rows"][0]["why"] == ["skipped 1: no root here"]
    assert [row["row"] for row in closing["further"]] == [75]


# -- the plugin


SAMPLE = """
import pytest

def test_a07_holds(): pass
@pytest.mark.row(8)
def test_a07_turns_red_without(): pass
@pytest.mark.red_inside
@pytest.mark.parametrize("value", [1, 2])
def test_a08_both(value): assert value == 1, "two is too many"
def test_a09_is_not_asked_for(): assert False
def test_of_no_row(): assert False
@pytest.fixture
def absent(): pytest.skip("the peer is absent")
def test_a08_with_a_peer(absent): pass
"""


def results_of(folder: Path, *arguments: str) -> tuple[list[Outcome], list[str]]:
    """Run the sample with the plugin, for rows 7 and 8."""
    (folder / "test_sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), "-c", "/dev/null"]
    command += ["-p", "tests.attacks.plugin", "--attack-rows", "7-8", "--attack-results", str(folder / "results.json")]
    subprocess.run([*command, *arguments, str(folder)], cwd=TESTS.parent, capture_output=True, check=False)
    found = json.loads((folder / "results.json").read_text())
    return [Outcome.read(entry) for entry in found["tests"]], found["broken"]


def by_name(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    return {test.test.rpartition("::")[2]: test for test in outcomes}


def test_plugin_tells_what_became_of_the_tests_of_the_chosen_rows(tmp_path: Path) -> None:
    """In workers, whose reports are all that the process sees which writes."""
    outcomes, broken = results_of(tmp_path, "-n", "2")
    tests = by_name(outcomes)
    assert broken == []
    assert {name: test.outcome for name, test in tests.items()} == {
        "test_a07_holds": "passed",
        "test_a07_turns_red_without": "passed",
        "test_a08_both[1]": "passed",
        "test_a08_both[2]": "failed",
        "test_a08_with_a_peer": "skipped",
    }
    assert (tests["test_a07_holds"].red, tests["test_a07_holds"].green) == (False, True)
    assert (tests["test_a07_turns_red_without"].red, tests["test_a07_turns_red_without"].green) == (True, False)
    assert tests["test_a07_turns_red_without"].rows == {7, 8}
    assert (tests["test_a08_both[1]"].red, tests["test_a08_both[1]"].green) == (True, True)
    assert "two is too many" in tests["test_a08_both[2]"].why
    assert tests["test_a08_with_a_peer"].why == "the peer is absent"


def test_module_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\n")
    outcomes, broken = results_of(tmp_path, "--continue-on-collection-errors")
    assert by_name(outcomes)["test_a07_holds"].outcome == "passed"
    assert len(broken) == 1
    assert "nothing_of_that_name" in broken[0]
