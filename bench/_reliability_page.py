"""docs/reliability.md, made of promises and of what tests recorded, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs

from bench._all_results import ROOT, Machine, Moment
from bench._all_words import shown, table
from bench.promises import PROMISES, Promise
from tests.support.figures import Fault, Figure

PAGE: Final = ROOT / "docs" / "reliability.md"

_INTRODUCTION: Final = """\
# Reliability

What is promised for each fault, how it is shown, and what was measured. `make reliability` runs the tests that record a
figure of a promise and makes this page of what they said; nobody edits it. The promises are written in
`bench/promises.py`; a test says what it measured with `tests.support.figures.record`. How the faults are made is told
in the tests named here: each fails if its promise is broken."""
_NONE: Final = "no figure"


@attrs.frozen(kw_only=True)
class Run:
    """One run of the tests that record figures."""

    figures: tuple[Figure, ...]
    passed: int
    failed: int
    seconds: float
    machine: Machine
    moment: Moment

    def to_json(self) -> str:
        """Return it as it is kept."""
        entry = attrs.asdict(self)
        entry["figures"] = [{**attrs.asdict(each), "fault": each.fault.name} for each in self.figures]
        return json.dumps(entry, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read one that was kept. Raises: ValueError, TypeError, KeyError — it is none."""
        entry: dict[str, Any] = json.loads(text)
        figures = tuple(Figure(**{**each, "fault": Fault[each["fault"]]}) for each in entry["figures"])
        machine, moment = Machine(**entry["machine"]), Moment(**entry["moment"])
        return cls(**{**entry, "figures": figures, "machine": machine, "moment": moment})


@attrs.frozen
class Measured:
    """What all tests of one file said of one thing."""

    name: str
    unit: str
    file: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        text = shown(low) if low == high else f"{shown(low)} – {shown(high)}"
        text = f"{text} {self.unit}".rstrip()
        return text if len(self.values) == 1 else f"{text} ({len(self.values)} times)"


def make_page(run: Run | None, harness: Mapping[Fault, Sequence[str]]) -> str:
    """Return the page of a run, or of none; ``harness`` are the files that record figures of a fault."""
    figures = run.figures if run is not None else ()
    found = {promise.fault: _gather(figures, promise.fault) for promise in PROMISES}
    lines = [_INTRODUCTION, "", *_state(run, sum(1 for each in found.values() if each)), ""]
    lines += table(("fault", "promise", "target", "measured"), [_row(each, found[each.fault]) for each in PROMISES])
    for promise in PROMISES:
        lines += ["", *_section(promise, found[promise.fault], harness.get(promise.fault, ()))]
    return "\n".join(lines) + "\n"


def write_page(run: Run | None, harness: Mapping[Fault, Sequence[str]], *, page: Path = PAGE) -> None:
    """Put the page in the place of the last one."""
    page.write_text(make_page(run, harness))


def _gather(figures: Iterable[Figure], fault: Fault) -> list[Measured]:
    """Return the figures of a fault, those of one file and one name together, in the order in which they came."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for each in figures:
        if each.fault is fault:
            values.setdefault((each.name, each.unit, each.test.partition("::")[0]), []).append(each.value)
    return [Measured(*key, tuple(several)) for key, several in values.items()]


def _state(run: Run | None, rows: int) -> list[str]:
    if run is None:
        return ["No run was kept: nothing was measured."]
    moment = run.moment
    commit = f", commit `{moment.commit}`" if moment.commit else ""
    text = (
        f"The last run: {moment.date} UTC{commit}, {run.machine}, load {moment.load} before. In {run.seconds:,.0f} s "
        f"{run.passed} tests passed and {run.failed} failed. {rows} of {len(PROMISES)} rows have a figure."
    )
    lines = [text]
    if run.failed:
        lines += [
            "",
            "**Of a test that failed figures may be missing, and those that are here may be of its failure.**",
        ]
    return lines


def _verdict(promise: Promise, measured: Measured) -> tuple[str, str]:
    """Return the most that a figure shall be, as far as the target says so, and whether it is within that."""
    most = promise.most.get(measured.name)
    if most is None:
        return "", ""
    return f"≤ {most:,g}", "**missed**" if max(measured.values) > most else "met"


def _row(promise: Promise, found: Sequence[Measured]) -> tuple[str, ...]:
    told = [f"{each.name}: {each} {_verdict(promise, each)[1]}".rstrip() for each in _largest(found)]
    measured = "; ".join(told) or f"**{_NONE}**"
    return _link(promise.fault.value), promise.promise, promise.target, measured


def _largest(found: Sequence[Measured]) -> list[Measured]:
    """Return one of those that a test took of few and of many under one name: that of the most."""

    def sample(each: Measured) -> int:
        of, _, rest = each.unit.partition(" ")
        count = rest.partition(" ")[0]
        return int(count) if of == "of" and count.isdigit() else 0

    best: dict[tuple[str, str], Measured] = {}
    for each in found:
        known = best.get((each.name, each.file))
        if known is None or sample(each) > sample(known):
            best[each.name, each.file] = each
    return list(best.values())


def _link(heading: str) -> str:
    """Return a link to a heading of this page, as forges name it."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return f"[{heading}](#{kept.replace(' ', '-')})"


def _section(promise: Promise, found: Sequence[Measured], files: Sequence[str]) -> list[str]:
    lines = [f"## {promise.fault.value}", "", promise.promise]
    lines += ["", f"Target: {promise.target}."] if promise.target else []
    lines += ["", f"Shown by {promise.harness}."]
    if files:
        lines += ["", "Tests: " + ", ".join(f"`{file}`" for file in files) + "."]
    if found:
        rows = [(each.name, str(each), *_verdict(promise, each), f"`{each.file}`") for each in found]
        return [*lines, "", *table(("what", "measured", "target", "", "by"), rows)]
    why = "the last run gave none" if files else "no test shows it"
    return [*lines, "", f"There is {_NONE} of this row: {why}."]
