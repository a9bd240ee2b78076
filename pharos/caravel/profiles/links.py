"""Share links that this device keeps: ways into nodes of anybody's, with the secret in them, without a fleet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.caravel.errors import LinkNameTakenError, NoSuchLinkError
from pharos.caravel.profiles.layout import split
from pharos.caravel.profiles.sealedfile import SealedFile
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.profiles.vault import Vault
from pharos.wire.errors import LinkFormatError, StateFileError, WireError
from pharos.wire.reality.options import DEFAULT_OPTIONS, DialOptions, parse_version, render_version
from pharos.wire.reality.sharelink import ShareLink

MAX_LINKS: Final = 1000
"""Of 4 KiB at most: 4 MiB, far below what a state file may have. Lists that people share have some hundreds."""
MAX_NAME: Final = 64
"""Characters, as many as a table shows beside other columns."""
SCHEME: Final = "vless://"
"""Of a link where a name may stand as well."""


@attrs.frozen(kw_only=True)
class KeptLink:
    """Raises: LinkFormatError — the name is none."""

    name: str
    """Unique among this device's links."""
    link: ShareLink
    options: DialOptions = DEFAULT_OPTIONS

    def __attrs_post_init__(self) -> None:
        check_name(self.name)


def check_name(name: str) -> str:
    """Return what somebody calls a link or a configuration, if it can be shown and typed.

    Whatever moves the cursor, turns the direction of writing or is not seen at all is not printable to Python; it is
    never a part of a path.

    Raises: LinkFormatError.
    """
    if not (0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()):
        raise LinkFormatError(f"a name has 1 to {MAX_NAME} printable characters; choose one with --name")
    if name.startswith("-") or "://" in name:
        raise LinkFormatError("a name begins with no - and is no link; choose one with --name")
    return name


class LinkStore:
    """The links in a device's directory, which need not be enrolled. One process writes at a time."""

    def __init__(self, path: Path, unlocking: Unlocking | None = None) -> None:
        vault = Vault(split(path)[0], unlocking)
        self.path = vault.root
        remedy = "restore it from a copy, or remove it and import the links again"
        self._file = SealedFile(vault, self.path / "links.json", "pharos/device-links/v1", remedy)

    def all(self) -> tuple[KeptLink, ...]:
        """Return the links in the order of their import.

        Raises: LockedStoreError. StateFileError — the file is damaged; it was left as it is.
        """
        body = self._file.load()
        if body is None:
            return ()
        try:
            return tuple(map(_link_from, body["links"]))
        except (KeyError, TypeError, ValueError, WireError) as error:
            # The error's own text could quote the secret.
            raise StateFileError(
                f"{self.path / 'links.json'} is damaged ({type(error).__name__}); it was left as it is"
            ) from None

    def find(self, name: str) -> KeptLink:
        """Raises: NoSuchLinkError."""
        kept = self.all()
        found = [one for one in kept if one.name == name]
        if not found:
            known = ", ".join(one.name for one in kept) or "none"
            raise NoSuchLinkError(f"there is no link {name!r} here; there are: {known}")
        return found[0]

    def add(self, *links: KeptLink, replace: bool = False) -> None:
        """Keep all of them, or none; the same one again changes nothing. Durable when this returns.

        Raises: LinkNameTakenError — another link has that name, and ``replace`` was not said. LinkFormatError — they
        would be too many.
        """
        kept = {one.name: one for one in self.all()}
        for one in links:
            if not replace and kept.get(one.name, one) != one:
                raise LinkNameTakenError(f"another link is called {one.name!r}; choose --name, or --replace it")
            kept[one.name] = one
        if len(kept) > MAX_LINKS:
            raise LinkFormatError(f"a device keeps {MAX_LINKS} links at most; forget some: caravel profiles --forget")
        self._save(kept.values())

    def restore(self, links: tuple[KeptLink, ...]) -> None:
        """Keep these and no others: those of before a change that could not be completed."""
        self._save(links)

    def remove(self, name: str) -> None:
        """Forget a link. Raises: NoSuchLinkError."""
        gone = self.find(name)
        self._save(one for one in self.all() if one.name != gone.name)

    def _save(self, links: Iterable[KeptLink]) -> None:
        self._file.save({"links": [_link_to(one) for one in links]})


def _link_to(kept: KeptLink) -> dict[str, Any]:
    return {
        "name": kept.name,
        "link": kept.link.render(),
        "post_quantum": kept.options.post_quantum,
        "version": render_version(kept.options.version),
    }


def _link_from(body: dict[str, Any]) -> KeptLink:
    options = DialOptions(post_quantum=bool(body["post_quantum"]), version=parse_version(body["version"]))
    return KeptLink(name=str(body["name"]), link=ShareLink.parse(body["link"]), options=options)
