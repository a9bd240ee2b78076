"""Which files below ``tests/`` have tests of which rows, by their text: collecting the whole suite takes longer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.attacks.rows import rows_named

TESTS = Path(__file__).resolve().parent.parent
OWN = TESTS / "attacks" / "test_rows.py"
"""The runner's own tests, with samples in them of what is looked for here."""

_DEFINED = re.compile(r"^\s*(?:async )?def (test_a\d\d\w*)", re.MULTILINE)
_MARKED = re.compile(r"mark\.row\(([\d,\s]+)\)")


def rows_in(text: str) -> set[int]:
    """Return the rows that the tests of a module belong to."""
    rows = {row for name in _DEFINED.findall(text) for row in rows_named(name)}
    rows.update(int(number) for numbers in _MARKED.findall(text) for number in re.findall(r"\d+", numbers))
    return rows


def files_of(chosen: Iterable[int]) -> list[Path]:
    """Return the files with tests of any of these rows, in their order."""
    wanted = set(chosen)
    paths = sorted({*TESTS.rglob("test_*.py")} - {OWN})
    return [path for path in paths if wanted & rows_in(path.read_text(encoding="utf-8"))]
