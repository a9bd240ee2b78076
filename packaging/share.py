"""Put into ``build/share`` what a wheel gives a system beside the commands: man pages, shells' completions, units.

Does nothing when no source has changed. What a page is made of is the commands' own help, so this imports them all.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
OUT: Final = ROOT / "build/share"
STAMP: Final = ".digest"
"""Beside what was made: the hash of what it was made from."""

MADE_OF: Final = (
    "LICENSE",
    "docs/guide/packages.md",
    "packaging",
    "pharos",
    "pyproject.toml",
    "requirements",
)
"""Of pages and of the agents' packages. More than either needs, for what is left out by mistake would go stale."""
NOT_SOURCES: Final = frozenset({"__pycache__", "_spa", "_debs"})
# The same places as in a package of Debian, but for zsh, which looks below its prefix in this one.
ZSH: Final = {"zsh/vendor-completions": "zsh/site-functions"}


def digest(root: Path = ROOT) -> str:
    """Return the hash of all sources."""
    total = hashlib.sha256()
    for place in MADE_OF:
        start = root / place
        for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
            if path.is_file() and NOT_SOURCES.isdisjoint(path.relative_to(root).parts):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def is_fresh(sources: str, out: Path) -> bool:
    """Return whether ``out`` was made from sources of this hash."""
    stamp = out / STAMP
    return stamp.is_file() and stamp.read_text() == sources


def build(sources: str) -> None:
    """Bring ``build/share`` up to date."""
    if is_fresh(sources, OUT):
        return
    # Only now: they import the programs, which whoever takes finished pages need not be able to do.
    from completions import completions
    from manpages import pages, programs

    from pharos.caravel.system import unit

    shutil.rmtree(OUT, ignore_errors=True)
    for program in programs():
        for name, page in pages(program).items():
            _put(OUT / "man/man1" / name, page.encode())
        for path, script in completions(program).items():
            place = path.removeprefix("usr/share/")
            for debians, ours in ZSH.items():
                place = place.replace(debians, ours)
            _put(OUT / place, script)
    # As `caravel` puts them in place itself, to be read before.
    _put(OUT / "pharos" / unit.UP, unit.up_unit(["/usr/bin/caravel", "up"]).encode())
    _put(OUT / "pharos" / unit.BOOT, unit.boot_unit("/usr/sbin/nft", Path("/") / unit.BOOT_TABLE).encode())
    # Last, so that what was cut short is done again.
    (OUT / STAMP).write_text(sources)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
