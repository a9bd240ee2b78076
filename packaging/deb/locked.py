"""What is pinned of a source tree: its version, and the wheels of its locks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deb.errors import PackagingError
from deb.package import PYTHONS
from deb.wheels import Lock, Target, fetch_wheels
from packaging.utils import NormalizedName

Wheels = Mapping[Target, Mapping[NormalizedName, Path]]
"""For each interpreter, its wheels by distribution."""


def read_version(root: Path) -> str:
    """Return the version that ``pharos/__init__.py`` states, without importing it."""
    match = re.search(r'^__version__ = "(.+)"$', (root / "pharos/__init__.py").read_text(), re.MULTILINE)
    if match is None:
        raise PackagingError("pharos/__init__.py states no __version__")
    return match[1]


def wheels_for(root: Path, lock: str, arch: str, *, cache: Path, offline: bool) -> Wheels:
    """Return the wheels of one of the locks, for each interpreter. Raises: PackagingError."""
    pins = Lock.read(root / f"requirements/{lock}.txt")
    targets = [Target(python, arch) for python in PYTHONS]
    with ThreadPoolExecutor() as pool:
        fetched = pool.map(lambda target: fetch_wheels(pins, target, cache=cache, offline=offline), targets)
        return dict(zip(targets, fetched, strict=True))
