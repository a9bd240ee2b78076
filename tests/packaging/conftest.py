"""The packages, built once for all tests, and unpacked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.packaging.built import AGENTS, QUICK, ROOT, Package, build, built, shared, shared_sources, unpack


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what the packages are made from."""
    return shared_sources(tmp_path_factory)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Package]:
    """Return the packages by their commands, helm's apart."""
    out = built(tmp_path_factory, *QUICK)
    return {command: unpack(out, command) for command in QUICK}


@pytest.fixture(scope="session")
def helm_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Return helm's package, with an admin page that is up to date."""
    with shared(tmp_path_factory, "page"):
        subprocess.run([sys.executable, str(ROOT / "packaging/spa.py")], check=True)
    return unpack(built(tmp_path_factory, "helm", copy="helm-sources"), "helm")


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest, packages: Mapping[str, Package]) -> Package:
    """Return one agent's package, and then the other's."""
    return packages[request.param]


@pytest.fixture(params=[*QUICK, pytest.param("helm", marks=pytest.mark.system)])
def package(request: pytest.FixtureRequest) -> Package:
    """Return each package in its turn."""
    if request.param == "helm":
        helm: Package = request.getfixturevalue("helm_package")
        return helm
    packages: Mapping[str, Package] = request.getfixturevalue("packages")
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
