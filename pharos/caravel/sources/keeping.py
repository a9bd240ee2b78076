"""Links and configurations go into a store together: what cannot be kept whole is not kept in part."""

from __future__ import annotations

from pathlib import Path

from pharos.caravel.errors import LinkNameTakenError
from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.sources.base import Choices


def keep(path: Path, choices: Choices, *, links: tuple[KeptLink, ...] = (), confs: tuple[KeptConf, ...] = ()) -> None:
    """Keep all of them; durable when this returns.

    Raises: LinkNameTakenError — two have one name, or one has that of another which is kept. LinkFormatError,
    ParameterError — they would be too many.
    """
    names = [one.name for one in links] + [one.name for one in confs]
    if len(set(names)) < len(names):
        raise LinkNameTakenError("two of them have one name; import them one by one, with --name")
    kept_links, kept_confs = LinkStore(path, choices.unlocking), ConfStore(path, choices.unlocking)
    # Of the other kind: a name means one of them, and --replace does not make a link of a configuration.
    _check_free(links, {one.name for one in kept_confs.all()}, "configuration")
    _check_free(confs, {one.name for one in kept_links.all()}, "link")
    before = kept_links.all()
    if links:
        kept_links.add(*links, replace=choices.replace)
    if confs:
        try:
            kept_confs.add(*confs, replace=choices.replace)
        except BaseException:
            kept_links.restore(before)
            raise


def _check_free(new: tuple[KeptLink, ...] | tuple[KeptConf, ...], taken: set[str], kind: str) -> None:
    for one in new:
        if one.name in taken:
            raise LinkNameTakenError(f"a {kind} is called {one.name!r} here; choose another name with --name")
