"""Build the packages as `make deb` does, from a copy of the sources."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[2]
# The builder's modules are no part of the project's package. Last, so that they hide nobody else's.
sys.path.append(str(ROOT / "packaging"))

AGENTS = ("buoy", "beacon")
QUICK = (*AGENTS, "caravel")
"""Those that take seconds; helm's has the agents' inside, of every architecture."""
SOURCES = ("pharos", "packaging", "requirements", "LICENSE", "pyproject.toml", "docs/guide/packages.md")
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "_debs", "_debs.*")
LEVEL = "0"
"""xz's fastest: what is tested is what lies in the packages."""
EPOCH = 1_790_000_000


@attrs.frozen
class Package:
    """A built package."""

    command: str
    deb: Path
    tree: Path
    """Its files, unpacked by dpkg-deb."""

    @property
    def name(self) -> str:
        """Its name in Debian's sense."""
        return f"pharos-{self.command}"

    def files(self) -> set[str]:
        """Return the paths of its files and links, relative to the root of a system."""
        return {str(path.relative_to(self.tree)) for path in self.tree.rglob("*") if not path.is_dir()}


def copy_sources(to: Path) -> None:
    """Copy what a package is made from, so that nobody edits it between two builds."""
    for source in SOURCES:
        (to / source).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to / source, ignore=NOT_SOURCES)
        else:
            shutil.copy(ROOT / source, to / source)


def build(sources: Path, out: Path, *commands: str, umask: int = 0o022) -> None:
    """Run the builder of ``sources``; skip the test where its tools or wheels are missing, except in CI."""
    must = os.environ.get("CI") == "true"
    if not must and shutil.which("dpkg-deb") is None:
        pytest.skip("packages are built with dpkg-deb, which is not here")
    command = [sys.executable, str(sources / "packaging/build_deb.py"), *commands, "--out", str(out), "--level", LEVEL]
    command += ["--cache", str(ROOT / ".cache/deb"), *([] if must else ["--offline"])]
    done = subprocess.run(
        command,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if not must and "run `make deb`" in done.stderr:
        pytest.skip("the wheels for the packages are not cached: run `make deb` once")
    assert done.returncode == 0, done.stderr


@contextmanager
def shared(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Open a folder that all processes of this test run share; one at a time is in here."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def shared_sources(factory: pytest.TempPathFactory, name: str = "sources") -> Path:
    """Return the copy of the sources that packages of this test run are made from; it is only read."""
    with shared(factory, name) as folder:
        if not (whole := folder / "whole").exists():
            copying = Path(tempfile.mkdtemp(dir=folder))
            copy_sources(copying)
            copying.rename(whole)
    return whole


def built(factory: pytest.TempPathFactory, *commands: str, copy: str = "sources") -> Path:
    """Return a new folder with the packages of ``commands``, each built once in a test run; skips as ``build`` does.

    ``copy`` names that of the sources: helm's has the admin page in it, and is made when that is built.
    """
    sources, out = shared_sources(factory, copy), factory.mktemp("debs")
    with shared(factory, "built") as folder:
        for command in commands:
            if not (ready := folder / command).exists():
                building = Path(tempfile.mkdtemp(dir=folder))
                build(sources, building, command)
                building.rename(ready)
            shutil.copytree(ready, out, dirs_exist_ok=True)
    return out


def unpack(out: Path, command: str) -> Package:
    """Return the package of a command that is in ``out``, its files laid out beside it."""
    (deb,) = out.glob(f"pharos-{command}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(out / command)], check=True)
    return Package(command, deb, out / command)
