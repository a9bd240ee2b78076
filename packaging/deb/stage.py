"""Lay out the file tree of a package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from deb.control import put_control, put_documents, scripts_of
from deb.errors import PackagingError
from deb.imports import Closure, import_closure
from deb.locked import Wheels
from deb.manual import put_manual
from deb.package import Package
from deb.values import Build, fill, put, values_of
from deb.wheels import unpack_wheel

ANY: Final = "any"
"""The folder of what serves every interpreter."""
PAGE: Final = Path("pharos/helm/web/_spa")
"""The built admin page, below the sources."""
CARRIED: Final = Path("pharos/helm/onboard/_debs")
"""Where helm looks for the packages that it installs elsewhere."""


def stage(package: Package, build: Build, wheels: Wheels, tree: Path, *, carried: Sequence[Path] = ()) -> None:
    """Make ``tree`` hold what dpkg-deb packs; ``carried`` are packages that go inside this one.

    Raises: PackagingError — the package imports what is not there, or the admin page is not built.
    """
    closure = _closure(package, build.root)
    app = tree / "usr/lib" / package.package / "app"
    for path in closure.files:
        put(app / path, (build.root / path).read_bytes())
    _put_libraries(package, closure, wheels, tree / "usr/lib" / package.package / "site")
    for path in _page(build.root) if package.carries_page else ():
        put(app / path, (build.root / path).read_bytes())
    for deb in carried:
        put(app / CARRIED / deb.name, deb.read_bytes())
    _put_system_files(package, build, tree)
    put_manual(package, tree)
    put_documents(package, build, tree)
    put_control(package, build, tree)
    scripts = {tree / "DEBIAN" / name for name in scripts_of(package)}
    # Nothing of the umask or the clock of the machine that built it stays.
    for path in (tree, *tree.rglob("*")):
        executable = path.is_dir() or path.parent == tree / "usr/bin" or path in scripts
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (build.epoch, build.epoch))


def _closure(package: Package, root: Path) -> Closure:
    """Return what the package's commands import; of its whole folders, what any of their modules does."""
    entries = [module for _, module in package.commands]
    for folder in package.whole:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            entries.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return import_closure(root, "pharos", *entries)


def _page(root: Path) -> Iterator[Path]:
    if not (root / PAGE / "index.html").is_file():
        raise PackagingError("the admin page is not built: run `make spa`")
    for path in sorted((root / PAGE).rglob("*")):
        # A file with a dot says what the page was built from, and is never served.
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(root)


def _put_libraries(package: Package, closure: Closure, wheels: Wheels, site: Path) -> None:
    """Unpack each wheel once for all interpreters where one serves all, else once for each."""
    modules: set[str] = set()
    oldest, *_ = wheels
    for target, of_target in wheels.items():
        # The launcher takes the folder as the sign that an interpreter is served, so it is there even if empty.
        (site / target.tag).mkdir(parents=True)
        for name, wheel in of_target.items():
            if name in package.left_out:
                continue
            serves_all = all(name in other and other[name].name == wheel.name for other in wheels.values())
            if target == oldest or not serves_all:
                modules |= unpack_wheel(wheel, site / (ANY if serves_all else target.tag))
    missing = closure.external - modules - package.does_without
    if missing:
        raise PackagingError(
            f"{package.module} imports {', '.join(sorted(missing))}, which {package.package} would not hold: "
            f"add it to requirements/{package.lock}.in and compile that anew, or import less"
        )


def _put_system_files(package: Package, build: Build, tree: Path) -> None:
    values = values_of(package, build)
    for command, module in package.commands:
        launcher = fill(build.templates / "launcher", values | {"command": command, "module": module})
        put(tree / "usr/bin" / command, launcher)
    put(tree / "usr/share/lintian/overrides" / package.package, fill(build.templates / "lintian-overrides", values))
    if package.daemon:
        _put_daemon(package, build.root / "packaging", tree)


def _put_daemon(package: Package, source: Path, tree: Path) -> None:
    units = [f"{package.package}.service", *package.oneshots]
    users = [package.package]
    for companion in package.companions:
        units += companion.units
        users += [] if companion.user is None else [companion.user]
    for unit in units:
        put(tree / "usr/lib/systemd/system" / unit, (source / "systemd" / unit).read_bytes())
    for user in users:
        put(tree / "usr/lib/sysusers.d" / f"{user}.conf", (source / "sysusers.d" / f"{user}.conf").read_bytes())
    folders = f"{package.package}.conf"
    put(tree / "usr/lib/tmpfiles.d" / folders, (source / "tmpfiles.d" / folders).read_bytes())
    conffile = f"{package.command}.toml"
    put(tree / "etc/pharos" / conffile, (source / "deb/conffiles" / conffile).read_bytes())
