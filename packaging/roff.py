"""Write man pages in the man(7) macros, of what click prints as help. ASCII comes out, for troff and mandoc alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# Characters that troff takes for its own, or draws as another than the one that a shell wants to be given.
_SPECIAL: Final = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
RAGGED: Final = (".ad l", ".nh")
"""Lines at the left margin only, and no word cut: commands are copied out of a page."""
PREFORMATTED: Final = "\b"
"""On the first line of a paragraph it keeps click from filling it."""


def escape(text: str) -> str:
    """Return text that troff prints as it is; a line that is a request by its first character is none any more."""
    escaped = "".join(_SPECIAL.get(c) or (c if ord(c) < 0x7F else f"\\[u{ord(c):04X}]") for c in text)
    return re.sub(r"^\.", r"\\&.", escaped, flags=re.MULTILINE)


def title(name: str, version: str) -> str:
    """Return the first line: a command's page, with no date, so that equal sources give equal pages."""
    return f'.TH "{escape(name.upper())}" 1 "" "PharosVPN {escape(version)}" "PharosVPN"'


def heading(macro: str, text: str) -> str:
    """Return a section's heading (``.SH``) or a subsection's (``.SS``)."""
    return f'{macro} "{escape(text)}"'


def bold(text: str) -> str:
    """Return text that is typed as it is."""
    return f"\\fB{escape(text)}\\fR"


def item(head: str, text: str) -> str:
    """Return one entry of a list: a head that is escaped already, and what it means."""
    return f".TP\n{head}\n{escape(text)}"


def declaration(text: str) -> str:
    """Return an option's ``-p, --pool NAME`` with the words that are typed in bold and the others in italics."""
    words = []
    for word in text.split():
        if word.startswith("-"):
            words.append(bold(word.rstrip(",")) + ("," if word.endswith(",") else ""))
        elif word == "/":
            words.append(word)
        else:
            words.append(f"\\fI{escape(word)}\\fR")
    return " ".join(words)


def prose(text: str) -> Iterator[str]:
    """Give the paragraphs of a help text; those that click leaves as they are keep their lines."""
    for paragraph in re.split(r"\n[ \t]*\n", text.strip("\n")):
        yield ".PP"
        if not paragraph.startswith(PREFORMATTED):
            yield escape(" ".join(line.strip() for line in paragraph.splitlines()))
            continue
        lines = paragraph.splitlines()[1:]
        if lines and lines[0].endswith(":"):
            yield escape(lines.pop(0))
        yield ".RS 2"
        yield ".nf"
        yield from map(escape, lines)
        yield ".fi"
        yield ".RE"
