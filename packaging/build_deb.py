"""Build the agents' Debian packages: ``make deb``. No root, no compiler; the registry is asked only the first time.

Each package carries the libraries of its agent for every Python that Debian 12, Debian 13 and Ubuntu 24.04 bring, as
the wheels of ``requirements/agent.txt``. Equal sources and an equal SOURCE_DATE_EPOCH (default: the time of the last
commit) give equal packages, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deb.agents import AGENTS, PYTHONS, Agent
from deb.errors import PackagingError
from deb.stage import Build, Wheels, debian_version, stage
from deb.wheels import MACHINES, Lock, Target, fetch_wheels

ROOT = Path(__file__).resolve().parent.parent
BY_COMMAND = {agent.command: agent for agent in AGENTS}

XZ_LEVEL = 1
"""dpkg's own 6 takes five times as long, for a package that is a sixth smaller."""


def build_package(agent: Agent, build: Build, wheels: Wheels, out: Path) -> Path:
    """Write one package into ``out`` and return its path. Raises: PackagingError."""
    package = out / f"{agent.package}_{debian_version(build.version)}_{build.arch}.deb"
    with tempfile.TemporaryDirectory(prefix="pharos-deb-") as scratch:
        tree = Path(scratch) / agent.package
        stage(agent, build, wheels, tree)
        out.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zxz", f"-z{XZ_LEVEL}", "--build", str(tree), str(package)],
            # xz cuts its input in another way when it has several threads.
            env={**os.environ, "SOURCE_DATE_EPOCH": str(build.epoch), "DPKG_DEB_THREADS_MAX": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise PackagingError(f"dpkg-deb refused {agent.package}: {done.stderr.strip()}")
    return package


def read_version(root: Path) -> str:
    """Return the version that ``pharos/__init__.py`` states, without importing it."""
    match = re.search(r'^__version__ = "(.+)"$', (root / "pharos/__init__.py").read_text(), re.MULTILINE)
    if match is None:
        raise PackagingError("pharos/__init__.py states no __version__")
    return match[1]


def read_epoch(root: Path) -> int:
    """Return the date of the build, in seconds since 1970: SOURCE_DATE_EPOCH, or the time of the last commit."""
    stated = os.environ.get("SOURCE_DATE_EPOCH")
    if stated is None:
        command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
        try:
            stated = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            raise PackagingError("this is no git checkout to take a date from: set SOURCE_DATE_EPOCH") from None
    try:
        return int(stated)
    except ValueError:
        raise PackagingError(f"SOURCE_DATE_EPOCH={stated.strip()!r} is no number of seconds") from None


def host_arch() -> str | None:
    """Return Debian's name for the machine we run on, if packages are made for it."""
    machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return next((arch for arch, name in MACHINES.items() if name == machine), None)


def build_packages(agents: Sequence[Agent], arch: str, out: Path, *, cache: Path, offline: bool) -> list[Path]:
    """Build the packages of ``agents`` for one architecture. Raises: PackagingError."""
    if shutil.which("dpkg-deb") is None:
        raise PackagingError("dpkg-deb is missing: build on Debian or Ubuntu, or install dpkg")
    build = Build(root=ROOT, version=read_version(ROOT), arch=arch, epoch=read_epoch(ROOT))
    lock = Lock.read(ROOT / "requirements/agent.txt")
    targets = [Target(python, arch) for python in PYTHONS]
    wheels = {target: fetch_wheels(lock, target, cache=cache, offline=offline) for target in targets}
    # dpkg-deb compresses in one thread, for the same bytes everywhere; the packages do not wait for each other.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda agent: build_package(agent, build, wheels, out), agents))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", nargs="*", metavar="AGENT", help=f"{', '.join(BY_COMMAND)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the packages (default: dist)")
    parser.add_argument("--arch", choices=sorted(MACHINES), default=host_arch(), help="default: this machine's")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/deb", help="folder that keeps the wheels")
    parser.add_argument("--offline", action="store_true", help="ask no registry: fail if a wheel is not in the cache")
    args = parser.parse_args()
    unknown = sorted(set(args.agents) - BY_COMMAND.keys())
    if unknown:
        parser.error(f"there is no agent {unknown[0]!r}")
    agents = [BY_COMMAND[command] for command in args.agents or BY_COMMAND]
    started = time.monotonic()
    try:
        if args.arch is None:
            raise PackagingError(f"there are no packages for {platform.machine()}: say --arch")
        packages = build_packages(agents, args.arch, args.out, cache=args.cache, offline=args.offline)
    except PackagingError as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    for package in packages:
        print(f"deb: {package} ({package.stat().st_size / 1e6:.1f} MB)")
    print(f"deb: built ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
