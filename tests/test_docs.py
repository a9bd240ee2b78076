"""The documentation: every link leads somewhere, every command line is one, and every command is in it."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest

from tests.support.snapshots import PROGRAMS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GUIDE = [page for page in PAGES if page.name == "README.md" or page.parent.name == "guide"]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<words>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_HEADING = re.compile(r"^#+ +(?P<text>.+?) *$", re.M)


@attrs.frozen
class Line:
    """A command line of a page."""

    page: str
    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {' '.join(self.words)}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page without its blocks, where brackets are code."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links, as forges make it of them."""
    headings = (re.sub(r"[`*]", "", found["text"]).lower() for found in _HEADING.finditer(prose(page)))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for found in _LINK.finditer(prose(page)):
        target = (page.parent / found["path"]).resolve() if found["path"] else page
        assert target.exists(), found[0]
        if found["anchor"] is not None:
            assert found["anchor"] in anchors(target), found[0]


def test_every_page_of_the_guide_is_found_from_another() -> None:
    linked = {(page.parent / found["path"]).resolve() for page in PAGES for found in _LINK.finditer(prose(page))}
    named = "\n".join(page.read_text() for page in PAGES)
    for page in GUIDE[1:]:
        assert page in linked or f"docs/guide/{page.name}" in named, page.name


def command_lines() -> Iterator[Line]:
    """Return what the pages tell to type."""
    for page in GUIDE:
        text = page.read_text()
        for found in _FENCE.finditer(text):
            # A picture has daemons in it, and no commands.
            if found["words"].split(" ")[0] not in ("", "sh") or "─" in found["text"]:
                continue
            first = text.count("\n", 0, found.start("text")) + 1
            for number, line in enumerate(found["text"].splitlines(), start=first):
                for words in _commands(line):
                    yield Line(name_of(page), number, words)


def _commands(line: str) -> Iterator[tuple[str, ...]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    current: list[str] = []
    try:
        words = list(lexer)
    except ValueError:
        # A quotation that goes over several lines.
        return
    for word in [*words, ";"]:
        if set(word) <= set("();<>|&"):
            if current and current[0] in PROGRAMS:
                yield tuple(current)
            current = []
        elif word in PROGRAMS and current[:1] == ["ssh"]:
            current = [word]
        else:
            current.append(word)


LINES = tuple(command_lines())


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_line_is_one(program: str) -> None:
    main: click.Group = importlib.import_module(PROGRAMS[program]).main
    wrong = []
    for line in LINES:
        if line.words[0] == program:
            try:
                check(main, line.words)
            except click.UsageError as error:
                wrong.append(f"{line}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)


def check(main: click.Group, words: tuple[str, ...]) -> None:
    """Find the command, and have it read its options. Raises: click.UsageError."""
    command: click.Command = main
    # A command keeps the option for help that its first context asks for, and what that is called is said above it.
    parent = click.Context(main, info_name=words[0], **main.context_settings)
    rest = list(words[1:])
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(parent, rest.pop(0))
        if found is None:
            raise click.UsageError("there is no such command")
        command, parent = found, click.Context(found, info_name=found.name, parent=parent)
    if "…" in rest:
        rest = rest[: rest.index("…")]
    with command.make_context(words[0], [], parent=parent, resilient_parsing=True) as context:
        # Made so, for nothing is required of it; what stands there is not passed over.
        context.resilient_parsing = False
        command.make_parser(context).parse_args(rest)


def test_the_lines_are_there_to_be_checked() -> None:
    assert len(LINES) > 200
    assert {line.words[0] for line in LINES} >= {"helm", "buoy", "caravel"}
    with pytest.raises(click.UsageError, match="No such option"):
        check(
            importlib.import_module(PROGRAMS["helm"]).main, ("helm", "users", "add", "ada", "--mail", "ada@example.org")
        )
    with pytest.raises(click.UsageError, match="no such command"):
        check(importlib.import_module(PROGRAMS["helm"]).main, ("helm", "people", "add"))
