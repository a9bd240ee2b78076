"""The commands of a page of documentation, as they stand there.

A block that somebody is to type says where, behind its language::

    ```sh laptop           one line after the other
    ```sh laptop stays     a command that goes on until the end of the story

Readers do not see these words; other blocks are none of a story's business.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).resolve().parents[2]
STAYS: Final = "stays"

_BLOCK: Final = re.compile(r"^(?P<indent> *)```sh (?P<words>[^\n]+)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)


@attrs.frozen(kw_only=True)
class Block:
    """What somebody types at one place."""

    who: str
    text: str
    line: int
    """Of its first command in the page."""
    stays: bool

    def filled(self, **blanks: str) -> str:
        """Return the text with what a reader puts in the place of what only he can know, each by its keyword.

        Raises: KeyError — a blank of the page is not among them.
        """
        return _BLANK.sub(lambda found: blanks[found["kind"]], self.text)


# The one thing that no page can know: a link with a secret in it.
_BLANK: Final = re.compile(r"pharosvpn://(?P<kind>[a-z]+)\?…")


def read_story(page: str) -> list[Block]:
    """Return the blocks of a page, by its path in the sources, in their order.

    Raises: ValueError — it has a block with words that say nothing.
    """
    markdown = (ROOT / page).read_text()
    story = []
    for found in _BLOCK.finditer(markdown):
        who, *more = found["words"].split()
        if more not in ([], [STAYS]):
            raise ValueError(f"{page}: {found['words']!r} is not said of a block")
        line = markdown.count("\n", 0, found.start("text")) + 1
        text = textwrap.dedent(found["text"])
        story.append(Block(who=who, text=text, line=line, stays=bool(more)))
    return story
