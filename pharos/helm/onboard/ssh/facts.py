"""What a machine answered to the probe, read: everything in it may be an enemy's words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from pharos.helm.onboard.errors import RemoteAnswerError
from pharos.helm.onboard.remote import MAX_PORT, Facts
from pharos.helm.onboard.ssh.plain import plain
from pharos.helm.onboard.ssh.probe import SECTION
from pharos.wire.units import KIB

MAX_WORD: Final = 64
"""Characters of a name or version; of Debian's own none is half as long."""
MAX_PACKAGES: Final = 32
"""Pharos has four."""
_PYTHON: Final = re.compile(r"Python (\d+\.\d+(?:\.\d+)?)")

Sections = dict[str, list[str]]


def read_sections(printed: bytes) -> Sections:
    """Return the lines of each section."""
    sections: Sections = {}
    lines: list[str] = []
    for line in printed.decode(errors="replace").split("\n"):
        if line.startswith(SECTION):
            lines = sections.setdefault(line.removeprefix(SECTION), [])
        elif line.strip():
            lines.append(line)
    return sections


def word(lines: Sequence[str]) -> str:
    """Return what a section of one line says."""
    return plain(lines[0], MAX_WORD) if lines else ""


def read_facts(sections: Sections, root: str) -> Facts:
    """Read the answers to both probes; ``root`` is how root is got there.

    Raises: RemoteAnswerError — it is no Linux of the kind that has packages.
    """
    system = dict(_assignments(sections.get("os-release", [])))
    arch = word(sections.get("arch", []))
    if "ID" not in system or not arch:
        raise RemoteAnswerError("the machine does not say what it runs; it has no /etc/os-release, or it is no Linux")
    python = _PYTHON.match(word(sections.get("python", [])))
    return Facts(
        distribution=system["ID"],
        release=system.get("VERSION_ID", ""),
        arch=arch,
        python=python[1] if python else None,
        root=root,
        free=dict(_free(sections.get("free", []))),
        taken=_taken(sections.get("listeners", []), sections.get("holders", [])),
        packages=dict(_packages(sections.get("packages", []))),
        apt_lock=next(_locks(sections.get("locks", [])), ""),
    )


def _assignments(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Read os-release(5): assignments as a shell reads them, without expansion."""
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        yield name.strip(), plain(words[0], MAX_WORD) if words else ""


def _free(lines: Sequence[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        match line.split():
            case [("/usr" | "/var" | "/tmp") as path, blocks] if blocks.isascii() and blocks.isdecimal():  # noqa: S108
                yield path, int(blocks[:MAX_WORD]) * KIB
            case _:
                pass


def _taken(listeners: Sequence[str], holders: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for line in holders:
        socket, _, name = line.partition(" ")
        # Whoever began to listen has handed it down to its workers: any of them names it.
        names.setdefault(socket, plain(name, MAX_WORD))
    taken: dict[str, str] = {}
    for line in listeners:
        match line.split():
            case [("tcp" | "udp") as kind, port, socket] if (
                re.fullmatch("[0-9A-F]{4}", port) and len(taken) < 2 * MAX_PORT
            ):
                key = f"{kind}/{int(port, 16)}"
                taken[key] = taken.get(key) or names.get(socket, "")
            case _:
                pass
    return taken


def _packages(lines: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for line in lines[:MAX_PACKAGES]:
        # A package that is known and not there has no version.
        match [plain(word, MAX_WORD) for word in line.split(" ")]:
            case [name, version, state] if name.startswith("pharos-"):
                yield name, (version, state)
            case _:
                pass


def _locks(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        pid, _, name = line.partition(" ")
        yield f"{plain(name, MAX_WORD)} (process {plain(pid, MAX_WORD)})"
