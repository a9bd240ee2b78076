"""docs/performance.md is made of results and limits alone, and no bench is lost for another's sake. (3 s)"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import attrs
import psutil
import pytest

from bench._all_page import PAGE, PLOTS_FOLDER, make_page, tally, write_page
from bench._all_plots import PLOTS, growth_plot, limits_plot
from bench._all_results import ROOT, Result, keep, kept, this_machine, this_moment
from bench._all_run import APART, USUAL, command, run_all, run_bench
from bench._all_words import shown
from bench.limits import BENCHES, BY_NAME
from tests.bench.samples import GROWING, MOMENT, SAMPLE, result

RESULTS = {
    "sample": result("sample", length_m=1.5, strength_ratio=1.25, weight_g=12_345.6, colour=7),
    "growing": result("growing", quick=True, wait_ms_at_10=0.5, wait_ms_at_100=4, wait_ms_ratio=8),
}
GOLDEN = """\
Of 3 figures with a limit, 1 meet it, 1 miss it and 1 were not measured.

Missed:

| bench | figure | measured | limit |
| --- | --- | --- | --- |
| [sample](#sample) | `strength_ratio` | 1.25 × | ≥ 1.5 |

Not measured: `sample.knots`.

## The runs

Machine 1: 1 cores of a Z80, 2 GB, Linux 6.1.0, CPython 3.11.2.

| bench | run | at (UTC) | of commit | load before | took |
| --- | --- | --- | --- | --- | --- |
| [sample](#sample) | full | 2027-01-31 18:05 | `0123456789` | 0.5 | 12 s |
| [growing](#growing) | quick | 2027-01-31 18:05 | `0123456789` | 0.5 | 12 s |

A commit with `+` had changes beside it. The load is that of the minute before, of everything on the machine.

## sample

How long is a piece of string?

![how much of its limit each figure of bench.sample takes](performance/sample.svg)

| figure | measured | limit |  | what it is |
| --- | --- | --- | --- | --- |
| `length_m` | 1.50 m | ≤ 2 | met | from end to end |
| `strength_ratio` | 1.25 × | ≥ 1.5 | **missed** | ÷ that of another |
| `knots` | not measured | ≤ 0 |  | in it |
| `weight_g` | 12,346 g |  |  | all of it |

| figure | measured |
| --- | --- |
| `colour` | 7 |

## growing

How does it grow?

A quick run: fewer and shorter rounds, and less of everything where that is said.

`NAME_at_N` is the figure at that size; `NAME_ratio`, in the last column, is the value at the largest size measured ÷ \
that at the smallest. Of what is told for each of many, work that is done once weighs most where there are few.

### How long one waits (ms)

![How long one waits (ms) by the number of devices or peers](performance/growth-wait.svg)

| figure | of | 10 | 100 | 1,000 | ratio | what it is |
| --- | --- | --- | --- | --- | --- | --- |
| `wait_ms` | ends | 0.5 ms | 4 ms | not with --quick | 8 × | until one is found |
"""


def test_page_is_made_of_results_and_limits_alone() -> None:
    page, plots = make_page(RESULTS, (SAMPLE, GROWING))
    assert page[page.index("Of 3 figures") :] == GOLDEN
    assert plots.keys() == {"sample.svg", "growth-wait.svg"}
    assert make_page(RESULTS, (SAMPLE, GROWING)) == (page, plots)


def test_page_says_what_could_not_be_measured_and_what_was_not_run() -> None:
    page, plots = make_page({"sample": result("sample", error="the string was cut")}, (SAMPLE, GROWING))
    assert "It could not measure: the string was cut" in page
    assert "| [growing](#growing) | not run |" in page
    assert "0 meet it, 0 miss it and 3 were not measured" in page
    assert plots == {}


def test_page_says_that_a_machine_was_busy() -> None:
    busy = attrs.evolve(RESULTS["sample"], moment=attrs.evolve(MOMENT, load=1.5))
    assert "much else to do (load 1.5)" in make_page({"sample": busy}, (SAMPLE,))[0]
    assert "much else to do" not in make_page(RESULTS, (SAMPLE,))[0]


def test_figures_at_their_limits_are_within_them() -> None:
    found = tally({"sample": result("sample", length_m=2, strength_ratio=1.5, knots=1)}, (SAMPLE,))
    assert found.met == ("sample.length_m", "sample.strength_ratio")
    assert [each.figure.name for each in found.missed] == ["knots"]


def test_plots_are_small_readable_and_without_anything_of_the_moment() -> None:
    full = {figure.name: 1.5 for bench in BENCHES for figure in bench.all_figures}
    drawn = [plot for bench in BENCHES if bench.figures if (plot := limits_plot(bench, full))]
    growth = BY_NAME["growth"].series
    drawn += [
        plot for each in PLOTS if (plot := growth_plot(each, [one for one in growth if one.plot == each.key], full))
    ]
    assert len(drawn) == len(BENCHES) - 1 + len(PLOTS)
    for plot in drawn:
        root = ElementTree.fromstring(plot)
        assert root.get("aria-label")
        assert len(plot) < 40_000
        assert "prefers-color-scheme: dark" in plot
        assert not re.search(r"<script|<!--|http://(?!www\.w3\.org)|20[2-9]\d-\d\d", plot)


def test_what_is_missed_has_another_colour() -> None:
    def colours(value: float) -> set[str]:
        return set(
            re.findall(r"#2f7d4f|#c0392b", str(limits_plot(SAMPLE, {"length_m": value})).partition("</defs>")[2])
        )

    assert colours(1) == {"#2f7d4f"}
    assert colours(3) == {"#c0392b"}


def test_page_of_the_docs_holds_every_figure_of_the_limits() -> None:
    text = PAGE.read_text()
    for bench in BENCHES:
        assert f"\n## {bench.name}\n" in text
        names = [figure.name for figure in bench.figures] + [series.name for series in bench.series]
        assert [name for name in names if f"| `{name}` |" not in text] == []


def test_every_bench_is_in_the_table_and_every_series_has_a_plot() -> None:
    reporting = {
        file.stem
        for file in (ROOT / "bench").glob("[a-z]*.py")
        if re.search(rf'^    report\("{file.stem}", ', file.read_text(), re.M)
    }
    assert reporting - {"gate", "reliability"} == {bench.name for bench in BENCHES} == {*USUAL, APART}
    assert {series.plot for bench in BENCHES for series in bench.series} == {plot.key for plot in PLOTS}
    for bench in BENCHES:
        names = [figure.name for figure in bench.all_figures]
        assert len(names) == len(set(names))


def test_old_plots_go_with_their_figures(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    write_page({"rpc": result("rpc", unary50_ratio=2.0)}, page=page)
    assert (tmp_path / PLOTS_FOLDER / "rpc.svg").exists()
    write_page({}, page=page)
    assert not list((tmp_path / PLOTS_FOLDER).iterdir())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (5, "5"), (1234567.8, "1,234,568"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.0123, "0.012")],
)
def test_numbers_have_the_digits_that_say_something(value: float, text: str) -> None:
    assert shown(value) == text


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


SAYS = 'print("for people"); print(\'{"bench": "sample", "figures": {"length_m": 1.5}}\')'


def test_bench_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    codes = {
        "first": SAYS.replace("sample", "first"),
        "second": "import sys; print('could not measure: the string was cut', file=sys.stderr); sys.exit(1)",
        "third": "print('nothing more')",
        "fourth": SAYS,
        "fifth": SAYS.replace("sample", "fifth"),
    }
    run_all(codes, run=lambda name: run_bench(name, python(codes[name]), quick=True), folder=tmp_path)
    found = kept(folder=tmp_path)
    assert {name: each.error for name, each in found.items()} == {
        "first": "",
        "second": "the string was cut",
        "third": "its last line is no result",
        "fourth": "its last line is of 'sample'",
        "fifth": "",
    }
    assert found["fifth"].figures == {"length_m": 1.5}
    assert found["second"].figures == {}


def test_bench_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    found = run_bench("sample", python(code), quick=True, limit=3)
    assert found.error == "it took more than 3 s"
    child, end = int(note.read_text()), time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "a worker outlived its bench"


def test_results_are_read_as_they_were_kept(tmp_path: Path) -> None:
    written = Result(
        bench="sample",
        quick=True,
        figures={"length_m": 1.5},
        seconds=1.0,
        machine=this_machine(),
        moment=this_moment(),
    )
    keep(written, folder=tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"bench": "other"}')
    assert kept(folder=tmp_path) == {"sample": written}


def test_benches_are_run_as_people_run_them() -> None:
    assert command("rpc", quick=True)[1:] == ["-m", "bench.rpc", "--quick"]
    assert command("rpc", quick=False)[1:] == ["-m", "bench.rpc"]
