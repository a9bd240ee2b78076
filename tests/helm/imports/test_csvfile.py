"""A list of people is read as spreadsheets write it, and each thing wrong with it is said with its line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.errors import InvalidRequestError
from pharos.helm.imports.csvfile import MAX_OCTETS, MAX_PROBLEMS, MAX_ROWS, Parsed, parse_people

HEADER = "name,email,groups,device_limit,quota,expires,note\n"
DAY = 1_830_297_599_000_000
"""The last second of 2027-12-31."""


def wrong(text: str) -> list[str]:
    return [str(problem) for problem in parse_people(text).problems]


def test_every_column_is_read() -> None:
    text = HEADER + 'Ada,ada@example.org,office|eu,3,50GB,2027-12-31,"has two, maybe\nthree telephones"\nBob,,,,,,\n'
    parsed = parse_people(text)
    ada, bob = parsed.people
    assert ada.values == {
        "name": "Ada",
        "email": "ada@example.org",
        "device_limit": 3,
        "quota_bytes": 50 * 10**9,
        "expires_at": DAY,
        "note": "has two, maybe\nthree telephones",
    }
    assert (ada.line, ada.groups, bob.line, bob.groups, bob.values) == (2, ("office", "eu"), 4, (), {"name": "Bob"})
    assert parsed.problems == []


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("part", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_separators_and_line_ends_make_no_difference(mark: str, part: str, end: str) -> None:
    lines = [f"Name{part} EMAIL ", f"Zoë{part}zoe@example.org", "", f'"Smith{part} J"{part}', f"  {part}  "]
    parsed = parse_people(mark + end.join(lines))
    assert [person.values for person in parsed.people] == [
        {"name": "Zoë", "email": "zoe@example.org"},
        {"name": f"Smith{part} J"},
    ]
    assert [person.line for person in parsed.people] == [2, 4]


@pytest.mark.parametrize("cell", ["=1+1", "+49 30 1", "-x", "@SUM(A1)", "\t=1", "  =cmd|' /C calc'!A0"])
@pytest.mark.parametrize("column", ["name", "email", "groups", "note"])
def test_formula_is_refused_in_every_text(column: str, cell: str) -> None:
    row = {"name": "Ada", column: f'"{cell}"'}
    text = f"{','.join(row)}\n{','.join(row.values())}\n"
    (problem,) = wrong(text)
    assert problem.startswith(f"line 2, {column}: begins with ")
    assert "formula" in problem


@pytest.mark.parametrize(
    ("column", "cell", "why"),
    [
        ("name", "", "1 to 64"),
        ("name", "x" * 65, "1 to 64"),
        ("name", "a\x1bb", "printable"),
        ("name", "a\0b", "printable"),
        ("email", "nobody", "mail address"),
        ("email", "a@b@c", "mail address"),
        ("device_limit", "three", "number of devices"),
        ("device_limit", "-1", "number of devices"),
        ("device_limit", "٣", "number of devices"),
        ("device_limit", "9" * 400, "number of devices"),
        ("quota", "0", "50GB"),
        ("quota", "-5GB", "50GB"),
        ("quota", "1e9", "50GB"),
        ("quota", "999999999999999999TiB", "quota_bytes"),
        ("expires", "31.12.2027", "2027-12-31"),
        ("expires", "2027-02-30", "2027-12-31"),
        ("expires", "0000-01-01", "2027-12-31"),
        ("expires", "2027-1-1", "2027-12-31"),
        ("note", "x" * 1001, "1000"),
        ("groups", "office||eu", "1 to 64"),
    ],
)
def test_cell_that_does_not_fit_is_said_with_its_line(column: str, cell: str, why: str) -> None:
    row = {"name": "Ada", "email": "ada@example.org", column: cell}
    (problem,) = wrong(f"{','.join(row)}\n{','.join(row.values())}\n")
    assert problem.startswith(f"line 2, {column}: ")
    assert why in problem


@pytest.mark.parametrize(
    ("cell", "octets"),
    [("1", 1), ("50GB", 50 * 10**9), ("50 GiB", 50 * 2**30), ("2k", 2000), ("3Ki", 3072), ("7B", 7), ("1TB", 10**12)],
)
def test_quota_is_read_with_its_unit(cell: str, octets: int) -> None:
    (person,) = parse_people(f"name,quota\nAda,{cell}\n").people
    assert person.values["quota_bytes"] == octets


def test_whoever_stands_twice_is_said_with_both_lines() -> None:
    text = "name,email\nAda,a@example.org\nBob,b@example.org\nADA,c@example.org\nEve,A@example.org\n"
    assert wrong(text) == [
        "line 4, name: 'ADA' stands in line 2 already",
        "line 5, email: 'A@example.org' stands in line 2 already",
    ]


def test_all_that_is_wrong_is_said_at_once_and_no_more_than_one_can_read() -> None:
    assert wrong("name,email\n=a,b\nAda\nBob,x,y\n") == [
        "line 2, name: begins with '=': a spreadsheet would run it as a formula; write it otherwise",
        "line 2, email: 'b' is not a mail address",
        "line 3: 1 cells, and the header has 2",
        "line 4: 3 cells, and the header has 2",
    ]
    assert len(wrong("name\n" + "=x\n" * MAX_ROWS)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "name the columns"),
        ("Ada,ada@example.org\n", "it has 'ada', 'ada@example.org'"),
        ("email\na@example.org\n", "name has to be there"),
        ("name,Name\nAda,Bob\n", "each once"),
        ("name,colour\nAda,red\n", "it has 'colour'"),
        ("name\tnote\nAda\tx\n", "name the columns"),
        ("name\n", "nobody in the file"),
        ("name\n\n\n", "nobody in the file"),
        ('name\n"Ada\n', "line 2: this is no CSV"),
        ('name\n"Ada"x\n', "line 2: this is no CSV"),
        ("name\n" + "a\n" * (MAX_ROWS + 1), "more than 1000 people"),
        ("name\n" + "x" * MAX_OCTETS, "larger than 128 KiB"),
        ("name\n" + "é" * (MAX_OCTETS // 2), "larger than 128 KiB"),
        ("PK\x03\x04 a spreadsheet itself", "name the columns"),
    ],
)
def test_what_is_no_list_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_people(text)
    assert why in str(caught.value)


@given(st.text(alphabet=st.sampled_from('name,;"\n\r\0=+@é|1 \ufeff'), max_size=80) | st.text(max_size=80))
def test_any_text_is_read_or_refused(rest: str) -> None:
    for begin in ("", "name,note\n", "\ufeffname;groups\r\n"):
        with contextlib.suppress(InvalidRequestError):
            assert isinstance(parse_people(begin + rest), Parsed)
