"""Lay out the file tree of an agent's package."""

from __future__ import annotations

import email.parser
import email.utils
import gzip
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from deb.agents import PYTHONS, Agent
from deb.errors import PackagingError
from deb.imports import Closure, import_closure
from deb.wheels import GLIBC, Target, unpack_wheel
from packaging.utils import NormalizedName
from packaging.version import Version

# An address is part of the format; the project is reached through its repository.
MAINTAINER: Final = "The PharosVPN contributors <packages@pharosvpn.invalid>"
ANY: Final = "any"
"""The folder of what serves every interpreter."""

SCRIPTS: Final = ("postinst", "prerm", "postrm")

Wheels = Mapping[Target, Mapping[NormalizedName, Path]]
"""For each interpreter, its wheels by distribution."""


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


def debian_version(version: str) -> str:
    """Return a Python version in Debian's order: ``1.0rc1`` is older than ``1.0``, so it is ``1.0~rc1`` there."""
    parsed = Version(version)
    pre = "" if parsed.pre is None else f"~{parsed.pre[0]}{parsed.pre[1]}"
    post = "" if parsed.post is None else f"+post{parsed.post}"
    dev = "" if parsed.dev is None else f"~dev{parsed.dev}"
    local = "" if parsed.local is None else f"+{parsed.local}"
    return f"{parsed.base_version}{pre}{post}{dev}{local}"


def stage(agent: Agent, build: Build, wheels: Wheels, tree: Path) -> None:
    """Make ``tree`` hold what dpkg-deb packs. Raises: PackagingError — the agent imports what is not there."""
    closure = import_closure(build.root, "pharos", agent.module)
    for companion in agent.companions:
        if companion.module is None:
            continue
        more = import_closure(build.root, "pharos", companion.module)
        closure = Closure(files=tuple(sorted({*closure.files, *more.files})), external=closure.external | more.external)
    for path in closure.files:
        _put(tree / "usr/lib" / agent.package / "app" / path, (build.root / path).read_bytes())
    _put_libraries(agent, closure, wheels, tree / "usr/lib" / agent.package / "site")
    _put_system_files(agent, build, tree)
    _put_documents(agent, build, tree)
    _put_control(agent, build, tree)
    scripts = {tree / "DEBIAN" / name for name in SCRIPTS}
    # Nothing of the umask or the clock of the machine that built it stays.
    for path in (tree, *tree.rglob("*")):
        executable = path.is_dir() or path.parent == tree / "usr/bin" or path in scripts
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (build.epoch, build.epoch))


def _put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _fill(template: Path, values: Mapping[str, str]) -> str:
    return re.sub(r"@([a-z]+)@", lambda match: values[match[1]], template.read_text(encoding="utf-8"))


def _values(agent: Agent, build: Build) -> dict[str, str]:
    major, minor = PYTHONS[-1].split(".")
    return {
        "package": agent.package,
        "command": agent.command,
        "module": agent.module,
        "users": " ".join([f"{agent.package}.conf", *(f"{one.user}.conf" for one in agent.companions if one.user)]),
        "services": " ".join([f"{agent.package}.service", *agent.oneshots, *(one.running for one in agent.companions)]),
        "restarts": "".join(
            f"        systemctl --system try-restart {one.command}.service >/dev/null || true\n"
            for one in agent.companions
            if one.restarts
        ),
        "farewells": "".join(f"    {one.farewell} || true\n" for one in agent.companions if one.farewell),
        "traces": "".join(f" {folder}" for folder in agent.traces),
        "depends": "".join(f", {package}" for package in agent.depends),
        "version": debian_version(build.version),
        "arch": build.arch,
        "maintainer": MAINTAINER,
        "oldest": PYTHONS[0],
        "newest": PYTHONS[-1],
        "beyond": f"{major}.{int(minor) + 1}",
        "glibc": ".".join(map(str, GLIBC)),
    }


def _put_libraries(agent: Agent, closure: Closure, wheels: Wheels, site: Path) -> None:
    """Unpack each wheel once for all interpreters where one serves all, else once for each."""
    modules: set[str] = set()
    oldest, *_ = wheels
    for target, of_target in wheels.items():
        # The launcher takes the folder as the sign that an interpreter is served, so it is there even if empty.
        (site / target.tag).mkdir(parents=True)
        for name, wheel in of_target.items():
            serves_all = all(name in other and other[name].name == wheel.name for other in wheels.values())
            if target == oldest or not serves_all:
                modules |= unpack_wheel(wheel, site / (ANY if serves_all else target.tag))
    missing = closure.external - modules
    if missing:
        raise PackagingError(
            f"{agent.module} imports {', '.join(sorted(missing))}, which {agent.package} would not hold: "
            "add it to requirements/agent.in and compile that anew, or import less"
        )


def _put_system_files(agent: Agent, build: Build, tree: Path) -> None:
    source = build.root / "packaging"
    templates = source / "deb/templates"
    _put(tree / "usr/bin" / agent.command, _fill(templates / "launcher", _values(agent, build)))
    for folder, place, suffix in (
        ("systemd", "usr/lib/systemd/system", "service"),
        ("sysusers.d", "usr/lib/sysusers.d", "conf"),
        ("tmpfiles.d", "usr/lib/tmpfiles.d", "conf"),
    ):
        name = f"{agent.package}.{suffix}"
        _put(tree / place / name, (source / folder / name).read_bytes())
    for unit in agent.oneshots:
        _put(tree / "usr/lib/systemd/system" / unit, (source / "systemd" / unit).read_bytes())
    for companion in agent.companions:
        if companion.module is not None:
            values = _values(agent, build) | {"command": companion.command, "module": companion.module}
            _put(tree / "usr/bin" / companion.command, _fill(templates / "launcher", values))
        for unit in companion.units:
            _put(tree / "usr/lib/systemd/system" / unit, (source / "systemd" / unit).read_bytes())
        if companion.user is not None:
            user = f"{companion.user}.conf"
            _put(tree / "usr/lib/sysusers.d" / user, (source / "sysusers.d" / user).read_bytes())
    conffile = f"{agent.command}.toml"
    _put(tree / "etc/pharos" / conffile, (source / "deb/conffiles" / conffile).read_bytes())
    _put(
        tree / "usr/share/lintian/overrides" / agent.package,
        _fill(templates / "lintian-overrides", _values(agent, build)),
    )


def _put_documents(agent: Agent, build: Build, tree: Path) -> None:
    templates = build.root / "packaging/deb/templates"
    documents = tree / "usr/share/doc" / agent.package
    values = _values(agent, build) | {
        "date": email.utils.formatdate(build.epoch),
        "libraries": _libraries(tree / "usr/lib" / agent.package / "site"),
        "licence": (build.root / "LICENSE").read_text(encoding="utf-8").rstrip(),
    }
    _put(documents / "changelog.gz", gzip.compress(_fill(templates / "changelog", values).encode(), mtime=0))
    _put(documents / "copyright", _fill(templates / "copyright", values))
    _put(documents / "packages.md", (build.root / "docs/guide/packages.md").read_bytes())


def _libraries(site: Path) -> str:
    """Return a line for each vendored distribution: its name, its version and its licence."""
    lines = set()
    for path in site.glob("*/*.dist-info/METADATA"):
        metadata = email.parser.Parser().parsestr(path.read_text(encoding="utf-8"), headersonly=True)
        classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier", []) if c.startswith("License")]
        licence = metadata["License-Expression"] or ", ".join(classifiers) or metadata["License"]
        lines.add(f"{metadata['Name']} {metadata['Version']}: {licence}")
    return "\n".join(sorted(lines, key=str.lower))


def _put_control(agent: Agent, build: Build, tree: Path) -> None:
    templates = build.root / "packaging/deb/templates"
    contents = sorted(path for path in tree.rglob("*"))
    # Debian policy 5.6.20: KiB, each file rounded up, one for each folder.
    size = sum(-(-path.stat().st_size // 1024) if path.is_file() else 1 for path in contents)
    sums = "".join(
        # MD5 is what dpkg --verify reads; it guards against accidents only.
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in contents
        if path.is_file() and not path.is_relative_to(tree / "etc")
    )
    values = _values(agent, build) | {
        "size": str(size),
        "summary": agent.summary,
        "description": "\n".join(f" {line}" for line in agent.description),
    }
    _put(tree / "DEBIAN/control", _fill(templates / "control", values))
    _put(tree / "DEBIAN/conffiles", f"/etc/pharos/{agent.command}.toml\n")
    _put(tree / "DEBIAN/md5sums", sums)
    for script in SCRIPTS:
        _put(tree / "DEBIAN" / script, _fill(templates / script, values))
