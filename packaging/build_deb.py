"""Build the Debian packages: ``make deb``. No root, no compiler; the registry is asked only the first time.

Each package carries its libraries for every Python that Debian 12, Debian 13 and Ubuntu 24.04 bring, as the wheels of
a lock in ``requirements``. Equal sources and an equal SOURCE_DATE_EPOCH (default: the time of the last commit) give
equal packages, byte for byte.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import spa
from deb.agents import AGENTS
from deb.errors import PackagingError
from deb.locked import Wheels, read_version, wheels_for
from deb.package import Package
from deb.programs import PACKAGES
from deb.stage import stage
from deb.values import Build, debian_version
from deb.wheels import MACHINES
from epoch import read_epoch

ROOT = Path(__file__).resolve().parent.parent
BY_COMMAND = {package.command: package for package in PACKAGES}

XZ_LEVEL = 3
"""dpkg's own 6 takes twice as long, for packages that are a tenth smaller."""


def build_package(
    package: Package, build: Build, wheels: Wheels, out: Path, *, level: int, carried: Sequence[Path] = ()
) -> Path:
    """Write one package into ``out`` and return its path. Raises: PackagingError."""
    deb = out / f"{package.package}_{debian_version(build.version)}_{build.arch}.deb"
    with tempfile.TemporaryDirectory(prefix="pharos-deb-") as scratch:
        tree = Path(scratch) / package.package
        stage(package, build, wheels, tree, carried=carried)
        out.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zxz", f"-z{level}", "--build", str(tree), str(deb)],
            # xz cuts its input in another way when it has several threads.
            env={**os.environ, "SOURCE_DATE_EPOCH": str(build.epoch), "DPKG_DEB_THREADS_MAX": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise PackagingError(f"dpkg-deb refused {package.package}: {done.stderr.strip()}")
    return deb


def host_arch() -> str | None:
    """Return Debian's name for the machine we run on, if packages are made for it."""
    machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return next((arch for arch, name in MACHINES.items() if name == machine), None)


def build_packages(
    packages: Sequence[Package],
    arch: str,
    out: Path,
    *,
    cache: Path,
    offline: bool,
    level: int = XZ_LEVEL,
    carried: Sequence[Path] = (),
) -> list[Path]:
    """Build packages for one architecture; ``carried`` go inside those that carry others. Raises: PackagingError."""
    if shutil.which("dpkg-deb") is None:
        raise PackagingError("dpkg-deb is missing: build on Debian or Ubuntu, or install dpkg")
    build = Build(root=ROOT, version=read_version(ROOT), arch=arch, epoch=read_epoch(ROOT))
    locks = sorted({package.lock for package in packages})
    wheels = {lock: wheels_for(ROOT, lock, arch, cache=cache, offline=offline) for lock in locks}

    def make(package: Package) -> Path:
        inside = carried if package.carries_agents else ()
        deb = build_package(package, build, wheels[package.lock], out, level=level, carried=inside)
        print(f"deb: {deb.name} ({deb.stat().st_size / 1e6:.1f} MB)", flush=True)
        return deb

    # dpkg-deb compresses in one thread, for the same bytes everywhere; the packages do not wait for each other.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(make, packages))


def build_all(
    packages: Sequence[Package], archs: Sequence[str], out: Path, *, cache: Path, offline: bool, level: int = XZ_LEVEL
) -> list[Path]:
    """Build packages for some architectures, and first the agents that go inside one of them, for every architecture.

    Raises: PackagingError.
    """
    carriers = [package for package in packages if package.carries_agents]
    others = [package for package in packages if not package.carries_agents]
    hidden = [agent for agent in AGENTS if carriers and agent not in others]
    built: list[Path] = []
    carried: list[Path] = []
    make = functools.partial(build_packages, cache=cache, offline=offline, level=level)
    with tempfile.TemporaryDirectory(prefix="pharos-carried-") as scratch, ThreadPoolExecutor() as pool:

        def of(arch: str) -> tuple[list[Path], list[Path]]:
            """Return what was asked for, and what is in that or was made for the carriers alone."""
            asked = make(others if arch in archs else [], arch, out)
            inside = hidden if arch in archs else AGENTS if carriers else ()
            return asked, make(inside, arch, Path(scratch))

        for asked, inside in pool.map(of, MACHINES):
            built += asked
            names = tuple(f"{agent.package}_" for agent in AGENTS)
            carried += [*(deb for deb in asked if deb.name.startswith(names)), *inside]
        for arch in archs:
            built += make(carriers, arch, out, carried=sorted(carried))
    return built


def build_page() -> None:
    """Bring the admin page up to date, where its sources are. Raises: PackagingError."""
    if not spa.FRONTEND.is_dir():
        return
    try:
        spa.build()
    except spa.SpaError as error:
        raise PackagingError(str(error)) from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"{', '.join(BY_COMMAND)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the packages (default: dist)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--arch", choices=sorted(MACHINES), default=host_arch(), help="default: this machine's")
    which.add_argument("--all", action="store_true", help="for every architecture")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/deb", help="folder that keeps the wheels")
    parser.add_argument("--offline", action="store_true", help="ask no registry: fail if a wheel is not in the cache")
    parser.add_argument(
        "--level", type=int, choices=range(10), default=XZ_LEVEL, help=f"xz's, from fast to small (default: {XZ_LEVEL})"
    )
    args = parser.parse_args()
    unknown = sorted(set(args.packages) - BY_COMMAND.keys())
    if unknown:
        parser.error(f"there is no package {unknown[0]!r}")
    packages = [BY_COMMAND[command] for command in args.packages or BY_COMMAND]
    started = time.monotonic()
    try:
        if args.arch is None and not args.all:
            raise PackagingError(f"there are no packages for {platform.machine()}: say --arch")
        if any(package.carries_page for package in packages):
            build_page()
        archs = list(MACHINES) if args.all else [args.arch]
        built = build_all(packages, archs, args.out, cache=args.cache, offline=args.offline, level=args.level)
    except PackagingError as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    print(f"deb: {len(built)} packages are in {args.out} ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
