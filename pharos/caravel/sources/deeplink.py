"""Links that a browser or another program hands over. They come from anybody, and do nothing before a person agreed.

One link is one act, and one that a person can judge: join a fleet, whose words are shown, or keep a link. Nothing is
connected by it, and no file of this machine is read for it.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

from pharos.caravel.errors import SourceError, UnconfirmedError
from pharos.caravel.profiles.links import SCHEME
from pharos.caravel.sources.base import Asks, Choices, Preview, Source, Taken
from pharos.caravel.sources.read import FLEET, TICKET, read_source

MAX_DEEP_LINK: Final = 4096
"""Characters: of the longest share link."""
SCHEMES: Final = ("pharosvpn", "vless")
"""What a desktop is told that caravel opens."""
DESKTOP_FILE: Final = "pharos-caravel-open.desktop"


def parse_deep_link(text: str) -> Source:
    """Read a link that came from outside.

    Raises: SourceError — it is no such link. LinkFormatError — it is damaged.
    """
    if len(text) > MAX_DEEP_LINK or not text.isprintable() or not text.startswith((TICKET, FLEET, SCHEME)):
        raise SourceError("this is no link that caravel opens; it opens pharosvpn:// and vless:// links")
    return read_source(text)


def check_words(preview: Preview, words: str) -> None:
    """See that somebody has repeated the words of the fleet that a link leads to; of a link without a fleet, its place.

    Raises: UnconfirmedError — they are other words.
    """
    wanted = expected_words(preview)
    if not hmac.compare_digest(" ".join(words.split()).encode(), wanted.encode()):
        raise UnconfirmedError("these are not the words of what the link leads to; nothing was done")


def expected_words(preview: Preview) -> str:
    """Return what repeats a confirmation: the fleet's words, or the place that a link without a fleet leads to."""
    return " ".join((preview.words or preview.items[0]).split())


async def open_deep_link(text: str, path: Path, choices: Choices, *, confirm: Asks) -> Taken:
    """Show a link by ``confirm`` and take it if that says so.

    A fleet that this device is in is never replaced: another one is joined beside it.

    Raises: UnconfirmedError — it did not. Else as `parse_deep_link` and `Source.take`.
    """
    source = parse_deep_link(text)
    if not await confirm(source.preview()):
        raise UnconfirmedError("nothing was done: nobody has confirmed it")
    return await source.take(path, choices)


def desktop_entry(command: str) -> str:
    """Return the entry by which a desktop opens links with ``command``, an absolute path (freedesktop.org, 1.5).

    It opens a terminal, in which a person is asked.

    Raises: SourceError — the path could not stand in one.
    """
    if not command.startswith("/") or not command.isprintable() or set(command) & set("\"'\\><~|&;$*?#()`% \t="):
        raise SourceError(f"{command!r} cannot stand in a desktop entry; install caravel at a plain path")
    types = "".join(f"x-scheme-handler/{scheme};" for scheme in SCHEMES)
    return (
        "[Desktop Entry]\n"
        "Type=Application\n"
        "Version=1.5\n"
        "Name=Pharos caravel\n"
        "Comment=Look at a link, and join a fleet or keep it\n"
        f"TryExec={command}\n"
        f"Exec={command} open --hold -- %u\n"
        "Terminal=true\n"
        "NoDisplay=true\n"
        f"MimeType={types}\n"
    )
