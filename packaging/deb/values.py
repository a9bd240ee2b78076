"""What is the same for every package of one build, and what templates are filled with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from deb.package import PYTHONS, Package
from deb.wheels import GLIBC
from packaging.version import Version

# An address is part of the format; the project is reached through its repository.
MAINTAINER: Final = "The PharosVPN contributors <packages@pharosvpn.invalid>"
DAEMON_DEPENDS: Final = ("systemd (>= 252)", "init-system-helpers (>= 1.54)")


@attrs.frozen(kw_only=True)
class Build:
    """What is the same for every package of one build."""

    root: Path
    """Of the project."""
    version: str
    """As Python writes it."""
    arch: str
    epoch: int
    """Seconds since 1970: the date of the changelog and of every file."""

    @property
    def templates(self) -> Path:
        """Folder of the files that ``fill`` reads."""
        return self.root / "packaging/deb/templates"


def debian_version(version: str) -> str:
    """Return a Python version in Debian's order: ``1.0rc1`` is older than ``1.0``, so it is ``1.0~rc1`` there."""
    parsed = Version(version)
    pre = "" if parsed.pre is None else f"~{parsed.pre[0]}{parsed.pre[1]}"
    post = "" if parsed.post is None else f"+post{parsed.post}"
    dev = "" if parsed.dev is None else f"~dev{parsed.dev}"
    local = "" if parsed.local is None else f"+{parsed.local}"
    return f"{parsed.base_version}{pre}{post}{dev}{local}"


def put(path: Path, content: str | bytes) -> None:
    """Write a file of a package, and the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def fill(template: Path, values: Mapping[str, str]) -> str:
    """Return a template's text with each ``@name@`` replaced."""
    return re.sub(r"@([a-z]+)@", lambda match: values[match[1]], template.read_text(encoding="utf-8"))


def values_of(package: Package, build: Build) -> dict[str, str]:
    """Return what the templates know of a package."""
    companions = package.companions
    return {
        "package": package.package,
        "command": package.command,
        "module": package.module,
        "environment": "".join(f"os.environ.setdefault({k!r}, {v!r})\n" for k, v in package.environment),
        "users": " ".join([f"{package.package}.conf", *(f"{one.user}.conf" for one in companions if one.user)]),
        "services": " ".join([f"{package.package}.service", *package.oneshots, *(one.running for one in companions)]),
        "restarts": "".join(
            f"        systemctl --system try-restart {one.command}.service >/dev/null || true\n"
            for one in companions
            if one.restarts
        ),
        "farewells": "".join(f"    {one.farewell} || true\n" for one in companions if one.farewell),
        "traces": "".join(f" {folder}" for folder in package.traces),
        "relations": _relations(package),
        "version": debian_version(build.version),
        "arch": build.arch,
        "maintainer": MAINTAINER,
        "oldest": PYTHONS[0],
        "newest": PYTHONS[-1],
    }


def _relations(package: Package) -> str:
    major, minor = PYTHONS[-1].split(".")
    python = f"python3 (>= {PYTHONS[0]})", f"python3 (<< {major}.{int(minor) + 1})"
    glibc = f"libc6 (>= {'.'.join(map(str, GLIBC))})"
    relations = {
        "Depends": (*python, glibc, *(DAEMON_DEPENDS if package.daemon else ()), *package.depends),
        "Recommends": package.recommends,
        "Suggests": package.suggests,
    }
    return "\n".join(f"{name}: {', '.join(others)}" for name, others in relations.items() if others)
