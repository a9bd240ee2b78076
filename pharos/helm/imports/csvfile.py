"""People out of a CSV file (RFC 4180), as spreadsheets write it. Sans-IO.

Every complaint names its line, and all of them come at once: whoever mends a list mends it once.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from pharos.helm.accounts.users import check_name, check_note, check_user
from pharos.helm.errors import InvalidRequestError
from pharos.wire.units import KIB

# One transaction of a thousand users takes a second, for which other changes wait. A line has some 60 octets.
MAX_ROWS: Final = 1_000
MAX_OCTETS: Final = 128 * KIB
# A file that is another one altogether has something wrong in each of its lines.
MAX_PROBLEMS: Final = 50
COLUMNS: Final = ("name", "email", "groups", "device_limit", "quota", "expires", "note")
GROUP_SEPARATOR: Final = "|"
"""Between groups in one cell: no name that was ever exported from a directory has it, unlike commas and blanks."""
# What spreadsheets take for a formula at the beginning of a cell (OWASP, "CSV injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_TEXTS: Final = frozenset({"name", "email", "groups", "note"})
_QUOTA: Final = re.compile(r"([1-9][0-9]{0,17}) ?(|[kKMGT]i?B?|B)")
_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", 1)
    for suffix, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
}


@attrs.frozen(kw_only=True)
class Problem:
    """What is wrong with one cell, or one line."""

    line: int
    """From 1, as editors count them; where a cell has line ends in it, that of its row's beginning."""
    column: str
    """Empty: the line as a whole."""
    says: str

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"line {self.line}{', ' + self.column if self.column else ''}: {self.says}"


@attrs.frozen(kw_only=True)
class Person:
    """One line that fits."""

    line: int
    values: Mapping[str, Any]
    """Of a user, as the record keeps them."""
    groups: tuple[str, ...]
    """Names."""


@attrs.frozen(kw_only=True)
class Parsed:
    """What a file holds."""

    people: Sequence[Person]
    problems: Sequence[Problem]


def parse_people(text: str) -> Parsed:
    """Read a file's text, with a byte order mark or without, parted by commas or semicolons.

    Raises: InvalidRequestError — it is no list of people at all, or too long.
    """
    if len(text.encode("utf-8", "replace")) > MAX_OCTETS:
        raise InvalidRequestError(f"the file is larger than {MAX_OCTETS // KIB} KiB; split it")
    text = text.removeprefix("\ufeff")
    rows = _rows(text, _delimiter_of(text))
    header = _header(next(rows, (1, []))[1])
    people: list[Person] = []
    problems: list[Problem] = []
    count = 0
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        count += 1
        if count > MAX_ROWS:
            raise InvalidRequestError(f"there are more than {MAX_ROWS} people in the file; split it")
        if len(cells) != len(header):
            problems.append(Problem(line=line, column="", says=f"{len(cells)} cells, and the header has {len(header)}"))
            continue
        found = _person(line, dict(zip(header, cells, strict=True)))
        if isinstance(found, Person):
            people.append(found)
        else:
            problems += found
    if not count:
        raise InvalidRequestError(
            "there is nobody in the file: its first line is a header, and each other one a person"
        )
    return Parsed(people=people, problems=[*problems, *_repeated(people)][:MAX_PROBLEMS])


def _delimiter_of(text: str) -> str:
    """Return what parts the cells: whichever makes known columns of the header."""
    begin = text.partition("\n")[0]
    return ";" if begin.count(";") > begin.count(",") else ","


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Give each row and the line at which it begins. Raises: InvalidRequestError — a quotation mark is not closed."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InvalidRequestError(f"line {line}: this is no CSV ({error}); look at its quotation marks") from error
        yield line, cells


def _header(cells: Sequence[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    unknown = [cell for cell in header if cell not in COLUMNS]
    if "name" not in header or unknown or len(set(header)) != len(header):
        said = f"; it has {', '.join(map(repr, unknown[:5]))}" if unknown else ""
        raise InvalidRequestError(
            f"the first line has to name the columns, each once: {', '.join(COLUMNS)}; name has to be there{said}"
        )
    return header


def _person(line: int, cells: Mapping[str, str]) -> Person | list[Problem]:
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for column, cell in cells.items():
        try:
            if column in _TEXTS and cell.lstrip(" ").startswith(_FORMULA):
                raise InvalidRequestError(
                    f"begins with {cell.lstrip(' ')[0]!r}: a spreadsheet would run it as a formula; write it otherwise"
                )
            if column == "name" or cell.strip():
                values |= _READ[column](cell.strip())
        except InvalidRequestError as error:
            problems.append(Problem(line=line, column=column, says=str(error)))
    if problems:
        return problems
    return Person(line=line, groups=values.pop("groups", ()), values=values)


def _name(cell: str) -> dict[str, Any]:
    return {"name": check_name(cell, "user")}


def _email(cell: str) -> dict[str, Any]:
    return check_user({"email": cell})


def _groups(cell: str) -> dict[str, Any]:
    names = [check_name(name.strip(), "group") for name in cell.split(GROUP_SEPARATOR)]
    return {"groups": tuple(dict.fromkeys(names))}


def _device_limit(cell: str) -> dict[str, Any]:
    if not re.fullmatch(r"[0-9]{1,6}", cell):
        raise InvalidRequestError(f"{cell[:40]!r} is not a number of devices")
    return {"device_limit": int(cell)}


def _quota(cell: str) -> dict[str, Any]:
    match = _QUOTA.fullmatch(cell)
    if match is None:
        raise InvalidRequestError(f"{cell[:40]!r} is not an amount such as 50GB, 50GiB or 50000000000")
    return check_user({"quota_bytes": int(match[1]) * _UNITS[match[2].lower()]})


def _expires(cell: str) -> dict[str, Any]:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cell):
            raise ValueError("not so written")
        # The whole of that day, as `helm users add --expires` has it.
        end = datetime.datetime.fromisoformat(f"{cell}T23:59:59+00:00")
    except ValueError as error:
        raise InvalidRequestError(f"{cell[:40]!r} is not a day such as 2027-12-31") from error
    return {"expires_at": (end - _EPOCH) // datetime.timedelta(microseconds=1)}


def _note(cell: str) -> dict[str, Any]:
    return {"note": check_note(cell.replace("\r\n", "\n"))}


_READ: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "name": _name,
    "email": _email,
    "groups": _groups,
    "device_limit": _device_limit,
    "quota": _quota,
    "expires": _expires,
    "note": _note,
}
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _repeated(people: Sequence[Person]) -> Iterator[Problem]:
    """Give who stands twice. Case is no difference: two people whom nobody can tell apart are one by mistake."""
    for column in ("name", "email"):
        first: dict[str, int] = {}
        for person in people:
            value = person.values.get(column)
            if value is None:
                continue
            line = first.setdefault(value.casefold(), person.line)
            if line != person.line:
                yield Problem(line=person.line, column=column, says=f"{value!r} stands in line {line} already")
