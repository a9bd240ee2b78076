"""The agents' packages, built once for all tests, and unpacked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.packaging.built import AGENTS, Package, build, copy_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what the packages are made from."""
    folder = tmp_path_factory.mktemp("sources")
    copy_sources(folder)
    return folder


@pytest.fixture(scope="session")
def packages(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Package]:
    """Return both packages by their commands."""
    out = tmp_path_factory.mktemp("packages")
    build(sources, out)
    built = {}
    for command in AGENTS:
        (deb,) = out.glob(f"pharos-{command}_*.deb")
        built[command] = Package(command, deb, out / command)
        subprocess.run(["dpkg-deb", "--extract", str(deb), str(out / command)], check=True)
    return built


@pytest.fixture(params=AGENTS)
def package(request: pytest.FixtureRequest, packages: Mapping[str, Package]) -> Package:
    """Return one package, and then the other."""
    return packages[request.param]


@pytest.fixture
def rebuild(sources: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that builds a package again: elsewhere, by somebody with another umask."""

    def again(command: str) -> Path:
        shutil.copytree(sources, tmp_path / "elsewhere")
        build(tmp_path / "elsewhere", tmp_path / "out", command, umask=0o077)
        (deb,) = (tmp_path / "out").iterdir()
        return deb

    return again
