"""Build the agents' packages as `make deb` does, from a copy of the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[2]
# The builder's modules are no part of the project's package. Last, so that they hide nobody else's.
sys.path.append(str(ROOT / "packaging"))

AGENTS = ("buoy", "beacon")
SOURCES = ("pharos/__init__.py", "pharos/buoy", "pharos/beacon", "pharos/wire", "packaging", "requirements", "LICENSE")
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
    for source in (*SOURCES, "docs/guide/packages.md"):
        (to / source).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to / source)
        else:
            shutil.copy(ROOT / source, to / source)


def build(sources: Path, out: Path, *agents: str, umask: int = 0o022) -> None:
    """Run the builder of ``sources``; skip the test where its tools or wheels are missing, except in CI."""
    must = os.environ.get("CI") == "true"
    if not must and shutil.which("dpkg-deb") is None:
        pytest.skip("packages are built with dpkg-deb, which is not here")
    command = [sys.executable, str(sources / "packaging/build_deb.py"), *agents, "--out", str(out)]
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
