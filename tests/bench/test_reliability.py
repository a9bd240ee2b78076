"""docs/reliability.md says of each fault what was measured, and plainly where nothing was. (1 s)"""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from bench._all_results import ROOT
from bench._reliability_page import PAGE, Run, make_page
from bench.promises import PROMISES
from bench.reliability import harness, recording_files
from tests.bench.samples import MACHINE, MOMENT
from tests.support.figures import Fault, Figure

FILE = "tests/helm/test_kills.py"


def figure(fault: Fault, name: str, value: float, unit: str = "") -> Figure:
    return Figure(fault=fault, name=name, value=value, unit=unit, test=f"{FILE}::test_of_it[{value}]")


RUN = Run(
    figures=(
        figure(Fault.KILLED_HELM, "acknowledged changes lost", 0, "of 500"),
        figure(Fault.KILLED_HELM, "until it serves again", 1.25, "s"),
        figure(Fault.KILLED_HELM, "until it serves again", 0.75, "s"),
        figure(Fault.CONTENTION, "changes lost", 0),
    ),
    passed=3,
    failed=0,
    seconds=65.4,
    machine=MACHINE,
    moment=MOMENT,
)
SECTION = """\
## kill -9 of helm at each write point

What was acknowledged is durable; nothing is half done; work goes on where it was.

Target: 0 lost of 10,000 acknowledged changes, integrity_check ok.

Shown by a kill at each commit, fsync and rename in turn, and kills at random moments.

Tests: `tests/helm/test_kills.py`.

| what | measured | target |  | by |
| --- | --- | --- | --- | --- |
| acknowledged changes lost | 0 of 500 |  |  | `tests/helm/test_kills.py` |
| until it serves again | 0.75 – 1.25 s (2 times) |  |  | `tests/helm/test_kills.py` |

"""
ROW = (
    "| [kill -9 of helm at each write point](#kill--9-of-helm-at-each-write-point) "
    "| What was acknowledged is durable; nothing is half done; work goes on where it was. "
    "| 0 lost of 10,000 acknowledged changes, integrity_check ok "
    "| acknowledged changes lost: 0 of 500; until it serves again: 0.75 – 1.25 s (2 times) |\n"
)
STATE = (
    "The last run: 2027-01-31 18:05 UTC, commit `0123456789`, 1 cores of a Z80, 2 GB, Linux 6.1.0, CPython 3.11.2, "
    "load 0.5 before. In 65 s 3 tests passed and 0 failed. 2 of 17 rows have a figure.\n"
)


def test_page_is_made_of_promises_and_figures_alone() -> None:
    page = make_page(RUN, {Fault.KILLED_HELM: [FILE]})
    assert STATE in page
    assert ROW in page
    assert SECTION in page
    assert make_page(RUN, {Fault.KILLED_HELM: [FILE]}) == page


def test_row_without_a_figure_says_so() -> None:
    page = make_page(RUN, {Fault.LOCKED: [FILE]})
    assert page.count("| **no figure** |") == len(Fault) - 2
    assert "There is no figure of this row: the last run gave none." in page
    assert "There is no figure of this row: no test shows it." in page
    assert "No run was kept: nothing was measured." in make_page(None, {})


def test_of_a_small_and_a_large_sample_the_summary_tells_the_large_one() -> None:
    lost = [figure(Fault.CORRUPT, "bits taken for something else", 0, f"of {count}") for count in (150, 1000, 93)]
    page = make_page(attrs.evolve(RUN, figures=tuple(lost)), {})
    assert "| bits taken for something else: 0 of 1000 |" in page
    for count in (150, 1000, 93):
        assert f"| bits taken for something else | 0 of {count} |" in page


def test_figure_beyond_its_target_is_told() -> None:
    name = "until it serves again"
    for value, verdict in ((3, "met"), (3.01, "**missed**")):
        page = make_page(attrs.evolve(RUN, figures=(figure(Fault.KILLED_BUOY, name, value, "s"),)), {})
        assert re.search(rf"\| {name} \| 3(\.01)? s \| ≤ 3 \| {re.escape(verdict)} \|", page)


def test_failure_is_told() -> None:
    page = make_page(attrs.evolve(RUN, failed=2), {})
    assert "3 tests passed and 2 failed" in page
    assert "Of a test that failed" in page


def test_every_fault_has_one_promise_in_the_order_of_the_table() -> None:
    assert [promise.fault for promise in PROMISES] == list(Fault)
    assert len(PROMISES) == 17


def test_run_is_read_as_it_was_kept() -> None:
    assert Run.from_json(RUN.to_json()) == RUN


def test_tests_that_record_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "helm"
    folder.mkdir(parents=True)
    said = (
        "from tests.support.figures import Fault, record\nrecord(Fault.LOCKED, 'x', 1)\nrecord(Fault.CORRUPT, 'x', 1)\n"
    )
    (folder / "test_one.py").write_text(said)
    (folder / "test_two.py").write_text("from tests.support.figures import Fault, read\n")
    found = recording_files(tmp_path / "tests")
    assert found == {"tests/helm/test_one.py": [Fault.LOCKED, Fault.CORRUPT]}
    assert "tests/helm/test_one.py" in harness(found)[Fault.CORRUPT]
    assert "tests/helm/test_one.py" not in harness(found)[Fault.POWER_CUT]


def test_files_that_are_named_are_there() -> None:
    assert not [file for promise in PROMISES for file in promise.tests if not (ROOT / file).exists()]


def test_some_tests_of_the_house_record() -> None:
    assert recording_files(ROOT / "tests")


def test_page_of_the_docs_holds_every_row() -> None:
    text = PAGE.read_text()
    for promise in PROMISES:
        assert f"\n## {promise.fault.value}\n" in text
        assert f"\n{promise.promise}\n" in text
