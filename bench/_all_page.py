"""docs/performance.md and its plots, made of kept results and of the table of limits, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from bench._all_plots import PLOTS, growth_plot, limits_plot
from bench._all_results import ROOT, Result
from bench._all_words import shown, table, with_unit
from bench.limits import BENCHES, Bench, Figure, Series

PAGE: Final = ROOT / "docs" / "performance.md"
PLOTS_FOLDER: Final = "performance"
"""Beside the page; its files are all the page's own."""

_INTRODUCTION: Final = """\
# Performance

`make bench` makes this page of what the benches measure; nobody edits it. What a figure shall be is written in
`bench/limits.py`, from the issues. How a bench measures is said at the head of `bench/NAME.py`, and how to run one in
[hacking](guide/hacking.md#benches). A ratio is of two things measured in the same run, so it depends little on the
machine; milliseconds and megabytes are of the machine below."""
_SERIES: Final = (
    "`NAME_at_N` is the figure at that size; `NAME_ratio`, in the last column, is the value at the largest size "
    "measured ÷ that at the smallest. Of what is told for each of many, work that is done once weighs most where "
    "there are few."
)
_QUICK: Final = "A quick run: fewer and shorter rounds, and less of everything where that is said."


@attrs.frozen
class Missed:
    """A figure that is not within its limit."""

    bench: str
    figure: Figure
    value: float


@attrs.frozen
class Tally:
    """How figures with limits fare."""

    met: tuple[str, ...]
    missed: tuple[Missed, ...]
    unmeasured: tuple[str, ...]
    """As ``NAME.figure``."""


def tally(results: Mapping[str, Result], benches: Iterable[Bench] = BENCHES) -> Tally:
    """Compare results with the limits."""
    met, missed, unmeasured = [], [], []
    for bench in benches:
        figures = results[bench.name].figures if bench.name in results else {}
        for figure in bench.figures:
            if figure.limit is None:
                continue
            if (value := figures.get(figure.name)) is None:
                unmeasured.append(f"{bench.name}.{figure.name}")
            elif figure.meets(value):
                met.append(f"{bench.name}.{figure.name}")
            else:
                missed.append(Missed(bench.name, figure, value))
    return Tally(tuple(met), tuple(missed), tuple(unmeasured))


def make_page(results: Mapping[str, Result], benches: tuple[Bench, ...] = BENCHES) -> tuple[str, dict[str, str]]:
    """Return the page, and its plots by the names of their files."""
    plots: dict[str, str] = {}
    lines = [_INTRODUCTION, "", *_summary(results, benches), *_runs(results, benches)]
    for bench in benches:
        lines += ["", f"## {bench.name}", "", bench.asks, "", *_state(results.get(bench.name))]
        figures = results[bench.name].figures if bench.name in results else {}
        if bench.figures:
            if plot := limits_plot(bench, figures):
                plots[f"{bench.name}.svg"] = plot
                alternative = f"how much of its limit each figure of bench.{bench.name} takes"
                lines += [f"![{alternative}]({PLOTS_FOLDER}/{bench.name}.svg)", ""]
            lines += table(("figure", "measured", "limit", "", "what it is"), _rows(bench, figures))
        if bench.series:
            lines += _growth(bench, figures, plots)
        lines += _unknown(bench, figures)
    return "\n".join(lines) + "\n", plots


def write_page(results: Mapping[str, Result], *, page: Path = PAGE) -> None:
    """Put the page and its plots in the place of the last ones."""
    text, plots = make_page(results)
    folder = page.with_name(PLOTS_FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        if old.name not in plots:
            old.unlink()
    for name, plot in plots.items():
        (folder / name).write_text(plot)
    page.write_text(text)


def _summary(results: Mapping[str, Result], benches: tuple[Bench, ...]) -> list[str]:
    found = tally(results, benches)
    count = len(found.met) + len(found.missed) + len(found.unmeasured)
    text = (
        f"Of {count} figures with a limit, {len(found.met)} meet it, {len(found.missed)} miss it and "
        f"{len(found.unmeasured)} were not measured."
    )
    lines = [text]
    if found.missed:
        rows = [
            (f"[{each.bench}](#{each.bench})", f"`{each.figure.name}`", *_value(each.figure, each.value))
            for each in found.missed
        ]
        lines += ["", "Missed:", "", *table(("bench", "figure", "measured", "limit"), rows)]
    if found.unmeasured:
        lines += ["", "Not measured: " + ", ".join(f"`{name}`" for name in found.unmeasured) + "."]
    return lines


def _runs(results: Mapping[str, Result], benches: tuple[Bench, ...]) -> list[str]:
    machines = list(dict.fromkeys(str(result.machine) for result in results.values()))
    rows = []
    for bench in benches:
        link = f"[{bench.name}](#{bench.name})"
        if (result := results.get(bench.name)) is None:
            rows.append((link, "not run", "", "", "", ""))
            continue
        how = "quick" if result.quick else "full"
        if len(machines) > 1:
            how += f", machine {machines.index(str(result.machine)) + 1}"
        moment = result.moment
        took = f"{result.seconds:,.0f} s"
        rows.append((link, how, moment.date, f"`{moment.commit}`" if moment.commit else "", str(moment.load), took))
    lines = ["", "## The runs", ""]
    lines += [f"Machine {number}: {text}." for number, text in enumerate(machines, start=1)]
    head = ("bench", "run", "at (UTC)", "of commit", "load before", "took")
    note = (
        "A commit with `+` had changes beside it. The load is that of the minute before, of everything on the machine."
    )
    return [*lines, "", *table(head, rows), "", note]


def _state(result: Result | None) -> list[str]:
    if result is None:
        return ["Not run.", ""]
    if result.error:
        return [f"It could not measure: {result.error}", ""]
    lines = [_QUICK] if result.quick else []
    if result.moment.load > result.machine.cores:
        lines.append(f"The machine had much else to do (load {result.moment.load}): times and rates are not its best.")
    return [" ".join(lines), ""] if lines else []


def _value(figure: Figure, value: float | None) -> tuple[str, str]:
    """Return what was measured, and the limit, as they are shown."""
    limit = "" if figure.limit is None else f"{'≥' if figure.at_least else '≤'} {figure.limit:,g}"
    if value is None:
        return f"not measured ({figure.when})" if figure.when else "not measured", limit
    return with_unit(value, figure.unit), limit


def _rows(bench: Bench, figures: Mapping[str, float]) -> Iterable[tuple[str, ...]]:
    for figure in bench.figures:
        value = figures.get(figure.name)
        verdict = {True: "met", False: "**missed**", None: ""}[None if value is None else figure.meets(value)]
        yield f"`{figure.name}`", *_value(figure, value), verdict, figure.words


def _growth(bench: Bench, figures: Mapping[str, float], plots: dict[str, str]) -> list[str]:
    """Return the lines of a bench's series, plot by plot, and add the plots."""
    lines = [_SERIES]
    for plot in PLOTS:
        series = [each for each in bench.series if each.plot == plot.key]
        if not series:
            continue
        lines += ["", f"### {plot.title}", ""]
        if drawn := growth_plot(plot, series, figures):
            plots[f"growth-{plot.key}.svg"] = drawn
            lines += [f"![{plot.title} by the number of {plot.across}]({PLOTS_FOLDER}/growth-{plot.key}.svg)", ""]
        sizes = sorted({size for each in series for size in each.sizes})
        head = ("figure", "of", *(f"{size:,}" for size in sizes), "ratio", "what it is")
        lines += table(head, [_series_row(each, sizes, figures) for each in series])
    return lines


def _series_row(series: Series, sizes: list[int], figures: Mapping[str, float]) -> tuple[str, ...]:
    def cell(size: int) -> str:
        if size not in series.sizes:
            return ""
        value = figures.get(series.at(size))
        if value is None:
            return "not with --quick" if size in series.full else "not measured"
        return with_unit(value, series.unit)

    ratio = figures.get(series.ratio)
    shown_ratio = "not measured" if ratio is None else f"{shown(ratio)} ×"
    return f"`{series.name}`", series.of, *map(cell, sizes), shown_ratio, series.words


def _unknown(bench: Bench, figures: Mapping[str, float]) -> list[str]:
    """Return the figures that the table of limits does not know: they are not to be lost."""
    known = {figure.name for figure in bench.all_figures}
    rest = {name: value for name, value in figures.items() if name not in known}
    if not rest:
        return []
    return ["", *table(("figure", "measured"), [(f"`{name}`", shown(value)) for name, value in rest.items()])]
