"""What the results of tests say of a row: red, green, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from tests.attacks.rows import Row


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one test."""

    test: str
    """Its node id."""
    rows: frozenset[int]
    red: bool
    """It counts as a red proof."""
    green: bool
    """It counts as a green test."""
    outcome: str
    """passed, failed, skipped or not run."""
    why: str = ""
    """Why it failed or was skipped."""
    seconds: float = 0.0

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Outcome:
        """Read an entry that `tests.attacks.plugin` wrote."""
        return cls(**{**entry, "rows": frozenset(entry["rows"])})


@attrs.frozen(kw_only=True)
class Verdict:
    """What a run says of one row."""

    row: Row
    red: bool
    """Its red proofs were run, and all passed: the attack works against a weakened build."""
    green: bool
    """It is red, and its green tests were run and all passed: the attack fails."""
    tests: int
    """How many were run."""
    seconds: float
    """For all of them; a test of several rows counts for each."""
    why: tuple[str, ...]
    """The reasons of what failed, was skipped or is missing."""

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the closing line."""
        facts = {"row": self.row.number, "red": self.red, "green": self.green, "attack": self.row.attack}
        return {**facts, "tests": self.tests, "seconds": round(self.seconds, 1), "why": list(self.why)}


def verdict_on(row: Row, outcomes: Iterable[Outcome]) -> Verdict:
    """Judge one row by the outcomes of a run; those of other rows are left aside."""
    own = [outcome for outcome in outcomes if row.number in outcome.rows]
    red_proofs, greens = [test for test in own if test.red], [test for test in own if test.green]
    red, red_why = held(red_proofs, "red proof")
    green, green_why = held(greens, "green test")
    ran = [test for test in own if test.outcome in ("passed", "failed")]
    return Verdict(
        row=row,
        red=red,
        green=red and green,
        tests=len(ran),
        seconds=sum(test.seconds for test in own),
        why=tuple(dict.fromkeys([*red_why, *green_why])),
    )


def held(tests: list[Outcome], kind: str) -> tuple[bool, list[str]]:
    """Say whether tests of one kind were run and all passed, and what there is to say against it."""
    reasons = [f"failed: {short(test.test)}: {test.why}" for test in tests if test.outcome == "failed"]
    reasons += [f"not run: {short(test.test)}" for test in tests if test.outcome == "not run"]
    skipped = {test.why for test in tests if test.outcome == "skipped"}
    reasons += [f"skipped {sum(test.why == why for test in tests)}: {why}" for why in sorted(skipped)]
    passed = any(test.outcome == "passed" for test in tests)
    if not passed and not reasons:
        reasons.append(f"no {kind} was run")
    return passed and all(test.outcome in ("passed", "skipped") for test in tests), reasons


def short(nodeid: str) -> str:
    """Return a test's file and name without the folders before them."""
    return nodeid.rpartition("/")[2]


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the lines of the table that people read."""
    lines = [f"{'row':>3}  {'red':3}  {'green':5}  {'tests':>5}  {'s':>6}  attack"]
    for verdict in verdicts:
        red, green = ("yes" if held else "NO" for held in (verdict.red, verdict.green))
        lines.append(
            f"{verdict.row.number:>3}  {red:3}  {green:5}  {verdict.tests:>5}  {verdict.seconds:>6.1f}  "
            f"{verdict.row.attack} -> {verdict.row.answer}"
        )
        lines += [f"{'':31}{reason}" for reason in verdict.why]
    return lines
