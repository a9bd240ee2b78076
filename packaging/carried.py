"""Build the agents' packages that a wheel carries, for helm to put on other machines, of both architectures.

Does nothing when no source and no date has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import share
from deb.errors import PackagingError
from epoch import read_epoch

ROOT: Final = Path(__file__).resolve().parent.parent
OUT: Final = ROOT / "pharos/helm/onboard/_debs"
AGENTS: Final = ("buoy", "beacon")
SWITCH: Final = "PHAROS_DEBS"
"""In the environment: ``no`` has wheels built without the packages, where there is no dpkg-deb; ``fast`` packs the
packages in a sixth of the time, and larger."""


def wanted() -> bool:
    """Return whether the wheel that is built is to carry packages."""
    return os.environ.get(SWITCH) != "no"


def stamp(sources: str) -> str:
    """Return what the packages of these sources are known by: files in them are dated. Raises: PackagingError."""
    return f"{sources} {read_epoch(ROOT)} {os.environ.get(SWITCH, '')}"


def is_fresh(sources: str) -> bool:
    """Return whether the packages are those of these sources; of sources without a date nobody knows."""
    try:
        return share.is_fresh(stamp(sources), OUT)
    except PackagingError:
        return False


def build(sources: str) -> None:
    """Bring the packages up to date. Raises: PackagingError."""
    known_by = stamp(sources)
    if share.is_fresh(known_by, OUT):
        return
    OUT.parent.mkdir(parents=True, exist_ok=True)
    # helm may be looking for a package meanwhile: it finds all of the old ones or all of the new.
    scratch = Path(tempfile.mkdtemp(prefix="_debs.", dir=OUT.parent))
    try:
        _build(scratch)
        (scratch / share.STAMP).write_text(known_by)
        scratch.chmod(0o755)
        shutil.rmtree(OUT, ignore_errors=True)
        scratch.rename(OUT)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build(out: Path) -> None:
    command = [sys.executable, str(ROOT / "packaging/build_deb.py"), *AGENTS, "--all", "--out", str(out)]
    command += ["--level", "0"] if os.environ.get(SWITCH) == "fast" else []
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise PackagingError(
            f"{done.stderr.strip()}\nThe wheel is to carry the agents' packages; {SWITCH}=no builds one without them."
        )
