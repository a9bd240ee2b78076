"""What others have written of a thing that we hand out: the wheels of libraries, and the page's packages."""

from __future__ import annotations

import base64
import email.parser
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import Final

import attrs
from deb.errors import PackagingError
from packaging.utils import canonicalize_name, parse_wheel_filename
from supply import licences

_IMPORTED: Final = re.compile(
    r"""(?:\b(?:import|export)\s+(?P<type>type\s)?[^"';]*?|\bimport\(|\bresolve\()["'](?P<name>@[\w.-]+/[\w.-]+|[$\w.-]+)"""
)
_KIT: Final = "@sveltejs/kit"
"""Whose parts are imported by names with a dollar, such as ``$app/state``."""
_SOURCES: Final = ("*.ts", "*.js", "*.svelte")
_TESTS: Final = (".test.ts", "i18n/setup.ts")


@attrs.frozen(kw_only=True, order=True)
class Part:
    """One package at one version."""

    kind: str
    """``pypi`` or ``npm``, as in a package URL."""
    name: str
    """With its scope, if npm gives it one."""
    version: str
    licence: str
    """An SPDX expression."""
    files: tuple[tuple[str, str, str], ...] = ()
    """What was locked: a file's name, the hash's kind (``SHA-256``) and the hash in hexadecimal."""


def python_parts(wheels: Iterable[Path]) -> list[Part]:
    """Return the distributions of some wheels, each once with all of its files. Raises: PackagingError."""
    files: dict[tuple[str, str], dict[str, Path]] = {}
    for path in wheels:
        name, version, _, _ = parse_wheel_filename(path.name)
        files.setdefault((name, str(version)), {})[path.name] = path
    known = {of: licences.of_python(read_metadata(next(iter(paths.values())))) for of, paths in files.items()}
    _refuse({f"{name} {version}": licence for (name, version), licence in known.items()})
    return sorted(
        Part(kind="pypi", name=name, version=version, licence=known[name, version] or "", files=_hashed(paths))
        for (name, version), paths in files.items()
    )


def read_metadata(wheel: Path) -> Message:
    """Return what a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        return email.parser.Parser().parsestr(archive.read(path).decode(), headersonly=True)


def _hashed(paths: dict[str, Path]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, "SHA-256", hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in sorted(paths.items())
    )


def page_parts(frontend: Path) -> list[Part]:
    """Return the npm packages of which the page may hold something: what its sources import, and what those depend on.

    That is more than is in it, for a bundler leaves out what nobody calls. Raises: PackagingError.
    """
    lock: dict[str, dict[str, object]] = json.loads((frontend / "package-lock.json").read_text())["packages"]
    wanted = sorted(f"node_modules/{name}" for name in imported(frontend) if f"node_modules/{name}" in lock)
    reached: dict[str, dict[str, object]] = {}
    while wanted:
        place = wanted.pop()
        if place not in reached:
            reached[place] = lock[place]
            needed = lock[place].get("dependencies", {})
            assert isinstance(needed, dict)
            wanted += [inside for name in needed if (inside := _resolve(place, name, lock)) is not None]
    found = {
        (_name(place), str(entry["version"])): licences.of_node(_name(place), _text(entry.get("license")))
        for place, entry in reached.items()
    }
    _refuse({f"{name} {version}": licence for (name, version), licence in found.items()})
    hashes = {(_name(place), str(entry["version"])): str(entry["integrity"]) for place, entry in reached.items()}
    return sorted(
        Part(
            kind="npm",
            name=name,
            version=version,
            licence=licence or "",
            files=((f"{name.rpartition('/')[2]}-{version}.tgz", "SHA-512", _hexadecimal(hashes[name, version])),),
        )
        for (name, version), licence in found.items()
    )


def imported(frontend: Path) -> set[str]:
    """Return the names of the packages that the page's sources import, but for types, which leave nothing behind."""
    found = [match for path in _sources(frontend) for match in _IMPORTED.finditer(path.read_text(encoding="utf-8"))]
    return {_KIT if match["name"].startswith("$") else match["name"] for match in found if not match["type"]}


def _sources(frontend: Path) -> Iterator[Path]:
    for folder in ("src", "kit"):
        for pattern in _SOURCES:
            yield from (path for path in (frontend / folder).rglob(pattern) if not str(path).endswith(_TESTS))


def _resolve(place: str, name: str, lock: dict[str, dict[str, object]]) -> str | None:
    """Return where Node finds a package that one at this place asks for: in its own folder first, then further out."""
    while True:
        if (inside := f"{place}/node_modules/{name}".removeprefix("/")) in lock:
            return inside
        if not place:
            return None
        place = place.rpartition("/node_modules/")[0] if "/node_modules/" in place else ""


def _name(place: str) -> str:
    return place.rpartition("node_modules/")[2]


def _hexadecimal(integrity: str) -> str:
    """Return npm's ``sha512-…`` as others write a hash."""
    return base64.b64decode(integrity.removeprefix("sha512-"), validate=True).hex()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def locked_packages(frontend: Path) -> dict[str, str | None]:
    """Return the licence of every package of the front end's lock, tools too, by name and version."""
    lock = json.loads((frontend / "package-lock.json").read_text())["packages"]
    return {
        f"{_name(place)} {entry['version']}": licences.of_node(_name(place), entry.get("license"))
        for place, entry in lock.items()
        if place
    }


def _refuse(found: dict[str, str | None]) -> None:
    if refused := licences.refusals(found):
        raise PackagingError("\n".join(refused))


def installed_licence(metadata: Message) -> tuple[str, str | None]:
    """Return the name by which locks know a distribution, and its licence."""
    return canonicalize_name(metadata["Name"]), licences.of_python(metadata)
