"""docs/attacks.md against the tests: each row is in its table, and each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.attacks.finding import TESTS, rows_in
from tests.attacks.rows import ROWS, Row

PAGE = TESTS.parent / "docs" / "attacks.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAMED_FILE = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`")
NAMED_ROW = re.compile(r"`test_a(\d\d)_…`")


def line_of(row: Row) -> str:
    """Return the rest of a row's line in the table, behind what the table of rows says of it."""
    begin = f"| {row.number} | {row.attack} | {row.answer} | "
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row.number} |")]
    assert line.startswith(begin), f"it should begin with: {begin}"
    return line.removeprefix(begin)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_row_is_in_the_page_with_files_that_hold_tests_of_it(row: Row) -> None:
    files = [TESTS / name for name in NAMED_FILE.findall(line_of(row))]
    assert files
    for file in files:
        assert row.number in rows_in(file.read_text(encoding="utf-8")), file


def test_rows_stand_in_their_order_and_no_others() -> None:
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)]
    assert numbers == [row.number for row in ROWS]


def test_every_file_that_the_page_names_is_there_and_holds_tests() -> None:
    named = set(NAMED_FILE.findall(TEXT))
    assert len(named) > 80
    empty = {name for name in named if "def test_" not in text_of(TESTS / name)}
    assert empty == set()


def text_of(path: Path) -> str:
    """Return the file's text, nothing where there is no file."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_every_row_that_the_text_refers_to_is_in_the_table() -> None:
    referred = {int(number) for number in NAMED_ROW.findall(TEXT)}
    assert referred
    assert referred <= {row.number for row in ROWS}


def test_each_port_of_a_scanner_has_its_test() -> None:
    section = TEXT.partition("## What a scanner learns\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(lines) >= 9
    assert [line for line in lines if not NAMED_FILE.search(line)] == []


def test_page_speaks_of_what_is_there() -> None:
    assert not re.search(r"\b[Ll]ater \(|\bthin fleet\b|\bwill be (built|added)\b", TEXT)
