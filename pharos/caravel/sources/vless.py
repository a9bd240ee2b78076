"""``vless://`` links: one, a list of them, or a subscription, which is such a list in base64."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from pharos.caravel.errors import SourceError
from pharos.caravel.profiles.links import MAX_LINKS, MAX_NAME, SCHEME, KeptLink
from pharos.caravel.sources.base import Choices, Preview, SourceKind, Taken
from pharos.caravel.sources.joining import check_managed
from pharos.caravel.sources.keeping import keep
from pharos.wire.errors import LinkFormatError
from pharos.wire.reality.sharelink import ShareLink

MAX_LINES: Final = 10_000
"""Of a list, notes and other programs' links included."""
MAX_WARNINGS: Final = 8
_LINK: Final = re.compile(r"[a-z][a-z0-9+.-]{1,20}://", re.ASCII)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")


@attrs.frozen(kw_only=True)
class LinksSource:
    """One link or many."""

    links: tuple[ShareLink, ...]
    warnings: tuple[str, ...] = ()
    """Of lines that were passed over."""
    subscribed: bool = False
    """Nobody has written this list by hand: names that it has twice are numbered."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the links are called if nobody says otherwise."""
        names = tuple(map(name_of, self.links))
        return tuple(_numbered(names)) if self.subscribed else names

    @property
    def kind(self) -> SourceKind:
        return SourceKind.LINKS

    def preview(self) -> Preview:
        count = len(self.links)
        return Preview(
            kind=self.kind,
            title="a link into a node" if count == 1 else f"{count} links into nodes",
            items=tuple(
                f"{name}  {link.address} as {link.server_name}"
                for name, link in zip(self.names, self.links, strict=True)
            ),
            does="They would be kept under these names. Nothing is connected by that, and no fleet is joined.",
            warnings=self.warnings,
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        check_managed(choices, self.kind)
        if choices.name is not None and len(self.links) > 1:
            raise SourceError("a name is for one link, and there are several")
        kept = tuple(
            KeptLink(name=choices.name or name, link=link, options=choices.dial_options())
            for name, link in zip(self.names, self.links, strict=True)
        )
        keep(path, choices, links=kept)
        return Taken(kind=self.kind, links=kept)


def name_of(link: ShareLink) -> str:
    """Return what a link calls itself, as far as it can be a name here; else its host."""
    name = link.name.lstrip("- ")[:MAX_NAME].strip()
    return link.address.host if not name or "://" in name else name


def _numbered(names: tuple[str, ...]) -> Iterator[str]:
    taken: set[str] = set()
    for name in names:
        number, made = 1, name
        while made in taken:
            number += 1
            end = f" ({number})"
            made = name[: MAX_NAME - len(end)].rstrip() + end
        taken.add(made)
        yield made


def read_links(text: str, *, subscribed: bool = False) -> LinksSource:
    """Read one link, or a list: a line each, with blank ones and notes after # between.

    Of a list, what is another program's or is damaged is passed over with a warning, as long as one link is good.

    Raises: LinkFormatError — none is; the error never quotes a secret.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise LinkFormatError("there is no link in it")
    if len(lines) > MAX_LINES:
        raise LinkFormatError(f"a list of links has at most {MAX_LINES} lines")
    links, troubles = _sort(lines)
    if not links:
        raise troubles[0][1]
    if len(links) > MAX_LINKS:
        raise LinkFormatError(f"a device keeps {MAX_LINKS} links at most, and this list has {len(links)}")
    warnings = [f"line {number} was passed over: {trouble}" for number, trouble in troubles[:MAX_WARNINGS]]
    if len(troubles) > MAX_WARNINGS:
        warnings.append(f"{len(troubles) - MAX_WARNINGS} more lines were passed over")
    return LinksSource(links=tuple(links), warnings=tuple(warnings), subscribed=subscribed)


def _sort(lines: Iterable[tuple[int, str]]) -> tuple[list[ShareLink], list[tuple[int, LinkFormatError]]]:
    links: list[ShareLink] = []
    troubles: list[tuple[int, LinkFormatError]] = []
    for number, line in lines:
        try:
            if not line.startswith(SCHEME):
                raise LinkFormatError(_stranger(line))
            links.append(ShareLink.parse(line))
        except LinkFormatError as error:
            troubles.append((number, error))
    return links, troubles


def _stranger(line: str) -> str:
    scheme = _LINK.match(line)
    if scheme is None:
        return f"it is no link; one begins with {SCHEME}"
    return f"{scheme[0]} is not spoken here; caravel speaks VLESS with REALITY, and AmneziaWG"


def looks_like_links(text: str) -> bool:
    """Whether some line of a text is a link of any program's."""
    return any(_LINK.match(line.strip()) for line in text.split("\n", MAX_LINES)[:MAX_LINES])


def subscription_text(data: bytes) -> str | None:
    """Return the list of links that base64 hides, as subscriptions do; None where it does not."""
    packed = b"".join(data.split())
    if len(packed) < len(SCHEME) or not _BASE64.fullmatch(packed):
        return None
    try:
        raw = base64.b64decode(packed.rstrip(b"=") + b"=" * (-len(packed.rstrip(b"=")) % 4), altchars=_altchars(packed))
        text = raw.decode()
    except (binascii.Error, ValueError):
        return None
    return text if looks_like_links(text) else None


def _altchars(packed: bytes) -> bytes:
    return b"-_" if set(packed) & set(b"-_") else b"+/"
